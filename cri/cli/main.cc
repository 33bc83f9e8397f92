// gantry: the command line. One file per group of commands; this one parses, runs and says what
// failed.
#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/cli/client.h"
#include "cri/cli/command.h"
#include "cri/cli/format.h"
#include "cri/config/config_keys.h"

namespace gantry::cli {

void AddSocketOption(CLI::App& command, CommandContext& context) {
  command.add_option(
      "--socket", context.socket,
      absl::StrCat("Socket of gantryd (GANTRY_SOCKET; default ", kDefaultSocket, ")"));
}

StatusOr<std::vector<std::string>> TrailingWords(const CLI::App& command,
                                                 const std::string& object) {
  std::vector<std::string> words = command.remaining();
  const std::string name = command.get_name();
  if (words.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", object, " is missing; see gantry ", name, " --help"));
  }
  if (absl::StartsWith(words[0], "-")) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": unknown option ", words[0], "; see gantry ", name, " --help"));
  }
  return words;
}

namespace {

int Fail(absl::string_view message, int code) {
  fflush(stdout);
  fprintf(stderr, "gantry: %s\n", Printable(message).c_str());
  return code;
}

void AddCommands(CLI::App& app, CommandContext& context) {
  AddSocketOption(app, context);
  app.require_subcommand(1);
  app.set_version_flag("--version", absl::StrCat("gantry ", GANTRY_VERSION));
  AddRunCommand(app, context);
  AddPullCommand(app, context);
  AddImageCommands(app, context);
  AddContainerCommands(app, context);
  AddLogsCommand(app, context);
  AddExecCommand(app, context);
  AddAttachCommand(app, context);
  AddConfigCommands(app, context);
  AddVersionCommand(app, context);
  app.footer(
      "Examples:\n"
      "  gantry run --rm busybox echo hello\n"
      "  gantry pull nginx\n"
      "  gantry ps -a\n"
      "Each command has its own help: gantry run --help");
}

// What was typed when no subcommand was recognised.
std::string UnknownCommand(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == argv[1]) return "";
    names.push_back(command->get_name());
  }
  return absl::StrCat("unknown command \"", argv[1], "\"", cri::Suggest(argv[1], names));
}

int Main(int argc, char** argv) {
  CommandContext context;
  const char* socket = getenv("GANTRY_SOCKET");
  context.socket = socket != nullptr && *socket != '\0' ? socket : kDefaultSocket;
  CLI::App app("Containers and images of this node, by gantryd", "gantry");
  // CLI11 reports by exceptions: they end here.
  try {
    AddCommands(app, context);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version come this way too.
    if (error.get_exit_code() == 0) return app.exit(error);
    const std::string unknown = UnknownCommand(app, argc, argv);
    return Fail(absl::StrCat(unknown.empty() ? error.what() : unknown, "; see gantry --help"),
                kOwnFailure);
  } catch (const CLI::Error& error) {
    return Fail(error.what(), kOwnFailure);
  }
  const StatusOr<int> code = context.action();
  if (!code.ok()) return Fail(code.status().message(), ExitCodeOf(code.status()));
  if (fflush(stdout) != 0) return Fail("standard output cannot be written", kOwnFailure);
  return *code;
}

}  // namespace
}  // namespace gantry::cli

int main(int argc, char** argv) { return gantry::cli::Main(argc, argv); }
