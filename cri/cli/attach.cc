// gantry attach: the standard streams of a running container.
#include "cri/cli/attach.h"

#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "cri/cli/command.h"
#include "cri/cli/interrupts.h"
#include "cri/cli/lookup.h"

namespace gantry::cli {
namespace {

struct Streams {
  bool stdin = false;
  bool tty = false;
};

// As the container was created: CRI has no field for it, the verbose status has.
StatusOr<Streams> StreamsOf(Client& client, const std::string& container_id) {
  api::ContainerStatusRequest request;
  request.set_container_id(container_id);
  request.set_verbose(true);
  ASSIGN_OR_RETURN(const api::ContainerStatusResponse response,
                   Call<api::ContainerStatusResponse>(
                       "ask for the container's streams", [&](auto* context, auto* answer) {
                         return client.runtime().ContainerStatus(context, request, answer);
                       }));
  const auto found = response.info().find("info");
  if (found == response.info().end()) return Streams();
  const auto info = nlohmann::json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  Streams streams;
  if (!info.is_object()) return streams;
  if (info.contains("stdin")) streams.stdin = info["stdin"] == true;
  if (info.contains("process") && info["process"].is_object() &&
      info["process"].contains("terminal"))
    streams.tty = info["process"]["terminal"] == true;
  return streams;
}

StatusOr<int> Attach(const CommandContext& context, bool no_stdin, const CLI::App& command) {
  ASSIGN_OR_RETURN(const std::vector<std::string> words, TrailingWords(command, "CONTAINER"));
  if (words.size() > 1) return absl::InvalidArgumentError("attach: one container at a time");
  Interrupts interrupts;
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  ASSIGN_OR_RETURN(const api::Container container, FindContainer(*client, words[0]));
  ASSIGN_OR_RETURN(const Streams streams, StreamsOf(*client, container.id()));
  const AttachRequest request = {container.id(), streams.stdin && !no_stdin,
                                 streams.tty && !no_stdin};
  ASSIGN_OR_RETURN(const std::string url, AskToAttach(*client, request));
  const StreamSession session = {url, request.stdin, request.tty, interrupts.fd()};
  ASSIGN_OR_RETURN(const SessionResult result, RelayStreams(session));
  if (result.end == SessionEnd::kDetached) fprintf(stderr, "\r\ngantry: detached\n");
  return result.end == SessionEnd::kGivenUp ? kInterrupted : result.exit_code;
}

}  // namespace

StatusOr<std::string> AskToAttach(Client& client, const AttachRequest& request) {
  api::AttachRequest attach;
  attach.set_container_id(request.container_id);
  attach.set_stdin(request.stdin);
  attach.set_stdout(true);
  attach.set_stderr(!request.tty);
  attach.set_tty(request.tty);
  ASSIGN_OR_RETURN(const api::AttachResponse response,
                   Call<api::AttachResponse>("attach", [&](auto* context, auto* answer) {
                     return client.runtime().Attach(context, attach, answer);
                   }));
  return response.url();
}

void AddAttachCommand(CLI::App& app, CommandContext& context) {
  auto no_stdin = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(
      "attach", "Watch and type into a running container: gantry attach [OPTIONS] CONTAINER");
  AddSocketOption(*command, context);
  command->add_flag("--no-stdin", *no_stdin, "Watch only");
  command->prefix_command();
  command->footer(
      "What the container says from now on is shown; what it said before is in gantry logs.\n"
      "Ctrl-P Ctrl-Q leaves a container with a terminal and lets it run; without one Ctrl-C "
      "does.\n\n"
      "Examples:\n"
      "  gantry attach web\n"
      "  gantry run -dit --name shell busybox sh && gantry attach shell");
  command->callback([&context, no_stdin, command] {
    context.action = [&context, no_stdin, command] { return Attach(context, *no_stdin, *command); };
  });
}

}  // namespace gantry::cli
