// What the commands of `gantry` share: each file adds its commands to the command line and leaves
// in the context what is to be done.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace CLI {
class App;
}

namespace gantry::cli {

struct CommandContext {
  std::string socket;       // as given; filled in before the action runs
  std::string config_path;  // of gantryd, for `gantry config`
  std::function<StatusOr<int>()>
      action;  // returns the exit code; an error ends with 125 (ExitCodeOf)
};

// Each lives until the action has run, as do the app and the context.
void AddRunCommand(CLI::App& app, CommandContext& context);         // run.cc
void AddPullCommand(CLI::App& app, CommandContext& context);        // pull.cc
void AddImageCommands(CLI::App& app, CommandContext& context);      // image_commands.cc
void AddContainerCommands(CLI::App& app, CommandContext& context);  // container_commands.cc
void AddLogsCommand(CLI::App& app, CommandContext& context);        // logs.cc
void AddExecCommand(CLI::App& app, CommandContext& context);        // exec.cc
void AddAttachCommand(CLI::App& app, CommandContext& context);      // attach.cc
void AddConfigCommands(CLI::App& app, CommandContext& context);     // config_commands.cc
void AddVersionCommand(CLI::App& app, CommandContext& context);     // version.cc

// To `gantry image`: image_check_commands.cc.
void AddImageCheckCommands(CLI::App& group, CommandContext& context);

// --socket (GANTRY_SOCKET) on a command that talks to the daemon.
void AddSocketOption(CLI::App& command, CommandContext& context);

// For commands that end in OBJECT [COMMAND…], where all from OBJECT on is the container's:
// kInvalidArgument when there is no object, or an unknown option before it. `usage` is shown in the
// message.
StatusOr<std::vector<std::string>> TrailingWords(const CLI::App& command,
                                                 const std::string& object);

}  // namespace gantry::cli
