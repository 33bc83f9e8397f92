#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "cri/cli/command.h"
#include "cri/cli/interrupts.h"
#include "cri/cli/lookup.h"
#include "cri/cli/stream_client.h"

namespace gantry::cli {
namespace {

constexpr absl::Duration kNoLimit = absl::Hours(24 * 365);

struct ExecArguments {
  bool stdin = false;
  bool tty = false;
  int64_t timeout = 0;
};

// A session: input and output as they come.
StatusOr<int> Interact(Client& client, const std::string& container_id,
                       const ExecArguments& arguments, const std::vector<std::string>& words) {
  Interrupts interrupts;
  api::ExecRequest request;
  request.set_container_id(container_id);
  request.mutable_cmd()->Assign(words.begin() + 1, words.end());
  request.set_stdin(arguments.stdin);
  request.set_tty(arguments.tty);
  request.set_stdout(true);
  request.set_stderr(!arguments.tty);
  ASSIGN_OR_RETURN(const api::ExecResponse response,
                   Call<api::ExecResponse>(absl::StrCat("exec in \"", words[0], "\""),
                                           [&](auto* call, auto* answer) {
                                             return client.runtime().Exec(call, request, answer);
                                           }));
  const StreamSession session = {response.url(), arguments.stdin, arguments.tty, interrupts.fd()};
  ASSIGN_OR_RETURN(const SessionResult result, RelayStreams(session));
  return result.end == SessionEnd::kGivenUp ? kInterrupted : result.exit_code;
}

// ExecSync: the output comes when the command has ended.
StatusOr<int> Exec(const CommandContext& context, const ExecArguments& arguments,
                   const CLI::App& command) {
  ASSIGN_OR_RETURN(const std::vector<std::string> words,
                   TrailingWords(command, "CONTAINER COMMAND"));
  if (words.size() < 2) {
    return absl::InvalidArgumentError(
        "exec: a command is missing: gantry exec CONTAINER COMMAND...");
  }
  if ((arguments.stdin || arguments.tty) && arguments.timeout > 0)
    return absl::InvalidArgumentError("exec: --timeout does not go with -i and -t");
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  ASSIGN_OR_RETURN(const api::Container container, FindContainer(*client, words[0]));
  if (arguments.stdin || arguments.tty) return Interact(*client, container.id(), arguments, words);
  api::ExecSyncRequest request;
  request.set_container_id(container.id());
  request.mutable_cmd()->Assign(words.begin() + 1, words.end());
  request.set_timeout(arguments.timeout);
  const absl::Duration limit =
      arguments.timeout > 0 ? absl::Seconds(arguments.timeout) + kQueryLimit : kNoLimit;
  ASSIGN_OR_RETURN(const api::ExecSyncResponse response,
                   Call<api::ExecSyncResponse>(
                       absl::StrCat("exec in \"", words[0], "\""),
                       [&](auto* call, auto* answer) {
                         return client->runtime().ExecSync(call, request, answer);
                       },
                       limit));
  fwrite(response.stdout().data(), 1, response.stdout().size(), stdout);
  fwrite(response.stderr().data(), 1, response.stderr().size(), stderr);
  return response.exit_code();
}

}  // namespace

void AddExecCommand(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<ExecArguments>();
  CLI::App* command = app.add_subcommand(
      "exec", "Run a command in a running container: gantry exec [OPTIONS] CONTAINER COMMAND...");
  AddSocketOption(*command, context);
  command->add_flag("-i,--interactive", arguments->stdin, "Standard input goes to the command");
  command->add_flag("-t,--tty", arguments->tty, "Give the command a terminal");
  command->add_option("--timeout", arguments->timeout, "Kill the command after so many seconds");
  command->prefix_command();
  command->footer(
      "The exit code is the command's.\n\n"
      "Examples:\n"
      "  gantry exec web cat /etc/hosts\n"
      "  gantry exec -it web sh\n"
      "  gantry exec -i web tar -x -C /data <data.tar\n"
      "  gantry exec --timeout 5 web sh -c 'ps | wc -l'");
  command->callback([&context, arguments, command] {
    context.action = [&context, arguments, command] { return Exec(context, *arguments, *command); };
  });
}

}  // namespace gantry::cli
