#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"

#include "cri/cli/client.h"
#include "cri/cli/command.h"

namespace gantry::cli {
namespace {

// The client's own version is printed whether or not a daemon answers.
StatusOr<int> Version(const CommandContext& context) {
  printf("gantry   %s\n", GANTRY_VERSION);
  fflush(stdout);
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(context.socket));
  const api::VersionRequest request;
  ASSIGN_OR_RETURN(const api::VersionResponse cri,
                   Call<api::VersionResponse>("ask for the version", [&](auto* call, auto* answer) {
                     return client->runtime().Version(call, request, answer);
                   }));
  const own::InfoRequest info_request;
  ASSIGN_OR_RETURN(const own::InfoResponse info,
                   Call<own::InfoResponse>("ask gantryd", [&](auto* call, auto* answer) {
                     return client->gantry().Info(call, info_request, answer);
                   }));
  printf("%s  %s (CRI %s, pid %d)\nroot     %s\nstate    %s\n", "gantryd", info.version().c_str(),
         cri.runtime_api_version().c_str(), info.pid(), info.root().c_str(), info.state().c_str());
  return 0;
}

}  // namespace

void AddVersionCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = app.add_subcommand("version", "Print the versions of gantry and of gantryd");
  AddSocketOption(*command, context);
  command->footer("Example:\n  gantry version");
  command->callback([&context] { context.action = [&context] { return Version(context); }; });
}

}  // namespace gantry::cli
