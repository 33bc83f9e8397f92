// gantry-oci: the runtime as a command, with runc's commands and options.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/linux/file.h"
#include "runtime/oci_arguments.h"
#include "runtime/oci_commands.h"

namespace gantry::runtime {
namespace {

constexpr char kUsage[] =
    R"(gantry-oci runs containers as the OCI runtime specification describes them.

  gantry-oci [OPTIONS] COMMAND ...

Life       create [-b BUNDLE] [--pid-file F] [--console-socket S] ID   make a container; it waits
           start ID                 run its program
           run [-d] [--keep] ...    create, start, wait and delete in one
           kill [-a] ID [SIGNAL]    send a signal (TERM); -a: to all its processes
           delete [-f] ID           remove a stopped container; -f: any
More       exec [-d] [-t] [-e K=V] [-u UID[:GID]] [--cwd D] [-p FILE] ID COMMAND...
           update [-r FILE|-] ID    change its limits
           pause ID, resume ID
Questions  state ID, list, ps ID, features, spec [-b BUNDLE], version

Options    --root DIR               state folder (/run/gantry-oci)
           --log FILE, --log-format text|json, --debug

Example    mkdir -p demo/rootfs/bin && cp /bin/busybox demo/rootfs/bin/sh
           gantry-oci spec -b demo && gantry-oci run -b demo demo1
)";

using Command = StatusOr<int> (*)(const OciGlobals&, OciArguments);

Command FindCommand(absl::string_view name) {
  if (name == "create") return CreateCommand;
  if (name == "start") return StartCommand;
  if (name == "run") return RunCommand;
  if (name == "kill") return KillCommand;
  if (name == "delete") return DeleteCommand;
  if (name == "exec") return ExecCommand;
  if (name == "update") return UpdateCommand;
  if (name == "pause") return PauseCommand;
  if (name == "resume") return ResumeCommand;
  if (name == "state") return StateCommand;
  if (name == "list") return ListCommand;
  if (name == "ps") return PsCommand;
  if (name == "features") return FeaturesCommand;
  if (name == "spec") return SpecCommand;
  return nullptr;
}

const OptionTable kGlobalOptions = {.flags = {"debug", "version", "help", "systemd-cgroup"},
                                    .with_value = {"root", "log", "log-format", "rootless", "criu"},
                                    .short_names = {{'v', "version"}, {'h', "help"}}};

// For callers that read the last line of a log (containerd, conmon) instead of standard error. Best
// effort: the error itself has been printed.
void AppendToLog(const Options& options, const std::string& message) {
  if (!options.Has("log")) return;
  const std::string now = absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::LocalTimeZone());
  const nlohmann::json quoted = message;
  std::string line;
  if (options.Get("log-format") == "json") {
    line = DumpJson({{"level", "error"}, {"msg", message}, {"time", now}}) + "\n";
  } else {
    line = absl::StrCat("time=\"", now, "\" level=error msg=", DumpJson(quoted), "\n");
  }
  const auto file = OpenAt(AT_FDCWD, options.Get("log"), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (file.ok()) WriteAll(file->get(), line, "log").IgnoreError();
}

StatusOr<int> Dispatch(const Options& options) {
  const std::string& name = options.positional.front();
  const Command command = FindCommand(name);
  if (command == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("unknown command \"", name, "\""));
  if (options.Has("systemd-cgroup"))
    return absl::UnimplementedError("--systemd-cgroup: the systemd driver is not implemented");
  OciGlobals globals;
  if (options.Has("root")) globals.root = options.Get("root");
  const OciArguments arguments = OciArguments(options.positional).subspan(1);
  const StatusOr<int> code = command(globals, arguments);
  if (code.ok()) return code;
  // The container's name tells a log's reader which of many it was.
  return Annotate(code.status(), absl::StrCat(name, arguments.empty() ? "" : " ",
                                              arguments.empty() ? "" : arguments.back()));
}

int Main(const std::vector<std::string>& arguments) {
  const StatusOr<Options> options = ParseOptions(kGlobalOptions, arguments);
  if (!options.ok()) {
    fprintf(stderr, "gantry-oci: %s\n", std::string(options.status().message()).c_str());
    return 1;
  }
  const bool no_command = options->positional.empty();
  if (options->Has("version") || (!no_command && options->positional.front() == "version")) {
    printf("gantry-oci version %s\nspec: 1.2.0\n", GANTRY_VERSION);
    return 0;
  }
  if (options->Has("help") || no_command || options->positional.front() == "help") {
    fputs(kUsage, options->Has("help") || !no_command ? stdout : stderr);
    return no_command && !options->Has("help") ? 1 : 0;
  }
  const StatusOr<int> code = Dispatch(*options);
  if (code.ok()) return *code;
  const std::string message(code.status().message());
  fprintf(stderr, "gantry-oci: %s\n", message.c_str());
  AppendToLog(*options, message);
  // An exec's own exit codes start at 0: 255 is what callers of runc expect for "did not run".
  return options->positional.front() == "exec" ? 255 : 1;
}

}  // namespace
}  // namespace gantry::runtime

int main(int argc, char** argv) {
  return gantry::runtime::Main(std::vector<std::string>(argv + 1, argv + argc));
}
