#include "cri/cli/pull.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "cri/cli/command.h"
#include "cri/cli/format.h"
#include "cri/cli/progress.h"

namespace gantry::cli {
namespace {

int TerminalWidth() {
  winsize size = {};
  if (isatty(STDERR_FILENO) == 0) return 0;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void Show(const std::string& text) {
  fwrite(text.data(), 1, text.size(), stderr);
  fflush(stderr);
}

struct PullArguments {
  PullOptions options;
  bool password_stdin = false;
};

StatusOr<int> Pull(const CommandContext& context, PullArguments arguments) {
  if (arguments.password_stdin) std::getline(std::cin, arguments.options.password);
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  grpc::ClientContext call;
  ASSIGN_OR_RETURN(const std::string id, PullWithProgress(*client, arguments.options, &call));
  printf("%s\n", Printable(id).c_str());
  return 0;
}

}  // namespace

StatusOr<bool> HasImage(Client& client, const std::string& image) {
  api::ImageStatusRequest request;
  request.mutable_image()->set_image(image);
  ASSIGN_OR_RETURN(const api::ImageStatusResponse response,
                   Call<api::ImageStatusResponse>(
                       absl::StrCat("image \"", image, "\""), [&](auto* context, auto* answer) {
                         return client.images().ImageStatus(context, request, answer);
                       }));
  return response.has_image();
}

StatusOr<std::string> PullWithProgress(Client& client, const PullOptions& options,
                                       grpc::ClientContext* context) {
  own::PullImageRequest request;
  request.set_image(options.image);
  if (!options.username.empty()) {
    request.mutable_credentials()->set_username(options.username);
    request.mutable_credentials()->set_password(options.password);
  }
  const auto reader = client.gantry().PullImage(context, request);
  ProgressView view(TerminalWidth(), absl::Now());
  std::string id;
  own::PullImageResponse progress;
  while (reader->Read(&progress)) {
    if (!progress.image_id().empty()) id = progress.image_id();
    if (!options.quiet) Show(view.Update(progress, absl::Now()));
  }
  RETURN_IF_ERROR(FromRpc(reader->Finish(), absl::StrCat("pull \"", options.image, "\"")));
  if (id.empty()) {
    return absl::InternalError(
        absl::StrCat("pull \"", options.image, "\": gantryd ended the pull without an image"));
  }
  if (!options.quiet) {
    Show(absl::StrCat("pulled ", Printable(options.image), ": ", view.Summary(absl::Now()), "\n"));
  }
  return id;
}

void AddPullCommand(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<PullArguments>();
  CLI::App* command = app.add_subcommand("pull", "Pull an image from a registry, with progress");
  AddSocketOption(*command, context);
  command->add_option("IMAGE", arguments->options.image, "Name, with tag or digest")->required();
  command->add_option("-u,--username", arguments->options.username, "User at the registry");
  command->add_flag("--password-stdin", arguments->password_stdin,
                    "Read the password (or token) from standard input");
  command->add_flag("-q,--quiet", arguments->options.quiet, "Print the image's id alone");
  command->footer(
      "Examples:\n"
      "  gantry pull busybox:1.36\n"
      "  gantry pull registry.example.com/team/app@sha256:...\n"
      "  gantry pull -u me --password-stdin registry.example.com/app < token");
  command->callback([&context, arguments] {
    context.action = [&context, arguments] { return Pull(context, *arguments); };
  });
}

}  // namespace gantry::cli
