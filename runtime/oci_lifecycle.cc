#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "runtime/hooks.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/oci_arguments.h"
#include "runtime/oci_commands.h"
#include "runtime/oci_container.h"
#include "runtime/oci_keeper.h"
#include "runtime/oci_terminal.h"

namespace gantry::runtime {
namespace {

// What runc's callers pass to create and run; --no-pivot and --no-new-keyring ask for less than we
// do anyway.
const OptionTable kCreateOptions = {
    .flags = {"no-pivot", "no-new-keyring", "detach", "keep", "no-subreaper"},
    .with_value = {"bundle", "pid-file", "console-socket", "preserve-fds"},
    .short_names = {{'b', "bundle"}, {'d', "detach"}}};

Status NoPreservedFds(const Options& options) {
  const std::string count = options.Get("preserve-fds");
  if (count.empty() || count == "0") return absl::OkStatus();
  return absl::UnimplementedError("--preserve-fds: a container gets exactly three descriptors");
}

StatusOr<std::string> OnlyId(const Options& options) {
  if (options.positional.size() != 1)
    return absl::InvalidArgumentError("exactly one container name is needed");
  return options.positional.front();
}

StatusOr<std::string> WorkingDirectory() {
  char buffer[PATH_MAX];
  if (getcwd(buffer, sizeof(buffer)) == nullptr) return SyscallError("getcwd");
  return std::string(buffer);
}

StatusOr<OciCreateOptions> CreateOptionsOf(const OciGlobals& globals, const Options& options) {
  RETURN_IF_ERROR(NoPreservedFds(options));
  ASSIGN_OR_RETURN(const std::string id, OnlyId(options));
  std::string bundle = options.Get("bundle");
  if (bundle.empty()) {
    ASSIGN_OR_RETURN(bundle, WorkingDirectory());
  }
  return OciCreateOptions{.root = globals.root, .id = id, .bundle = bundle};
}

Status WritePidFile(const std::string& path, pid_t pid) {
  if (path.empty()) return absl::OkStatus();
  // Readers wait for the file to appear: it must appear whole.
  const std::string part = path + ".part";
  RETURN_IF_ERROR_CONTEXT(CreateFileAt(AT_FDCWD, part, absl::StrCat(pid), 0644), "pid file");
  if (rename(part.c_str(), path.c_str()) != 0) return SyscallError("rename", path);
  return absl::OkStatus();
}

// Hands the terminal over, when there is one and somebody to take it.
Status PlaceTerminal(OciContainer& container, const std::string& console_socket) {
  if (!container.spec.process->terminal) return absl::OkStatus();
  if (console_socket.empty())
    return absl::InvalidArgumentError("process.terminal needs --console-socket");
  const UniqueFd master = container.creation.TakeTerminal();
  return SendTerminal(console_socket, master.get());
}

Status FinishCreate(OciContainer& container, const Options& options) {
  RETURN_IF_ERROR(PlaceTerminal(container, options.Get("console-socket")));
  RETURN_IF_ERROR(StartKeeper(container.creation, container.dir.SocketPath(), container.record.id));
  return WritePidFile(options.Get("pid-file"), container.record.pid);
}

// On the way out of a failed command; the first error is the one to tell.
void Undo(OciContainer& container) {
  SignalPidFd(container.creation.pidfd(), SIGKILL).IgnoreError();
  WaitPidFd(container.creation.pidfd(), /*block=*/true).IgnoreError();
  DestroyOciContainer(container.dir, container.record).IgnoreError();
}

Status RunPoststart(const OciRecord& record, const spec::Spec& spec) {
  return RunHooks("poststart", spec.hooks.poststart, StateJson(record, spec, OciStatus::kRunning));
}

Status StartInForeground(OciContainer& container, const Options& options) {
  RETURN_IF_ERROR(WritePidFile(options.Get("pid-file"), container.record.pid));
  RETURN_IF_ERROR(container.creation.Start());
  RETURN_IF_ERROR(DriveTo(container.creation, Creation::Step::kRunning));
  return RunPoststart(container.record, container.spec);
}

StatusOr<int> RunInForeground(OciContainer& container, const Options& options) {
  ASSIGN_OR_RETURN(const UniqueFd signals, CatchSignals());
  RETURN_IF_ERROR(StartInForeground(container, options));
  const UniqueFd master = container.creation.TakeTerminal();
  ASSIGN_OR_RETURN(const ExitStatus exit,
                   Attend(container.creation.pidfd(), signals.get(), master.get()));
  if (!options.Has("keep")) RETURN_IF_ERROR(DestroyOciContainer(container.dir, container.record));
  return exit.Code();
}

Status RunDetached(OciContainer& container, const Options& options) {
  RETURN_IF_ERROR(PlaceTerminal(container, options.Get("console-socket")));
  return StartInForeground(container, options);
}

// "TERM", "SIGTERM", "15".
StatusOr<int> SignalNumber(const std::string& text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number) && number > 0 && number < NSIG) return number;
  const std::string upper = absl::AsciiStrToUpper(text);
  const absl::string_view name = absl::StripPrefix(upper, "SIG");
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a signal"));
}

Status SignalAll(const OciRecord& record, int signal) {
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupOf(record));
  if (signal == SIGKILL) return KillCgroup(paths);
  ASSIGN_OR_RETURN(const std::vector<pid_t> processes, CgroupProcesses(paths));
  for (const pid_t pid : processes) {
    if (const auto pidfd = OpenPidFd(pid); pidfd.ok())
      RETURN_IF_ERROR(SignalPidFd(pidfd->get(), signal));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<int> CreateCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions(kCreateOptions, arguments));
  ASSIGN_OR_RETURN(const OciCreateOptions create, CreateOptionsOf(globals, options));
  ASSIGN_OR_RETURN(OciContainer container, CreateOciContainer(create));
  const Status finished = FinishCreate(container, options);
  if (finished.ok()) return 0;
  Undo(container);
  return finished;
}

StatusOr<int> RunCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions(kCreateOptions, arguments));
  ASSIGN_OR_RETURN(const OciCreateOptions create, CreateOptionsOf(globals, options));
  ASSIGN_OR_RETURN(OciContainer container, CreateOciContainer(create));
  if (options.Has("detach")) {
    const Status detached = RunDetached(container, options);
    if (detached.ok()) return 0;
    Undo(container);
    return detached;
  }
  StatusOr<int> code = RunInForeground(container, options);
  if (!code.ok()) Undo(container);
  return code;
}

StatusOr<int> StartCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions({}, arguments));
  ASSIGN_OR_RETURN(const std::string id, OnlyId(options));
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, id));
  ASSIGN_OR_RETURN(const OciRecord record, dir.Load());
  ASSIGN_OR_RETURN(const OciStatus status, StatusOf(dir, record));
  if (status != OciStatus::kCreated) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot start a container that is ", StatusName(status)));
  }
  RETURN_IF_ERROR(AskKeeper(dir.SocketPath()));
  ASSIGN_OR_RETURN(const spec::Spec spec, dir.LoadSpec());
  RETURN_IF_ERROR(RunPoststart(record, spec));
  return 0;
}

StatusOr<int> KillCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options,
                   ParseOptions({.flags = {"all"}, .short_names = {{'a', "all"}}}, arguments));
  if (options.positional.empty() || options.positional.size() > 2)
    return absl::InvalidArgumentError("kill needs a container name and at most a signal");
  const bool named = options.positional.size() == 2;
  ASSIGN_OR_RETURN(const int signal, SignalNumber(named ? options.positional[1] : "TERM"));
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, options.positional[0]));
  ASSIGN_OR_RETURN(const OciRecord record, dir.Load());
  if (options.Has("all")) {
    RETURN_IF_ERROR(SignalAll(record, signal));
    return 0;
  }
  ASSIGN_OR_RETURN(const UniqueFd init, OpenInit(record));
  // "container not running": containerd's and podman's callers look for these words.
  if (!init.valid()) return absl::FailedPreconditionError("container not running");
  RETURN_IF_ERROR(SignalPidFd(init.get(), signal));
  return 0;
}

StatusOr<int> DeleteCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options,
                   ParseOptions({.flags = {"force"}, .short_names = {{'f', "force"}}}, arguments));
  ASSIGN_OR_RETURN(const std::string id, OnlyId(options));
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, id));
  const auto record = dir.Load();
  if (!record.ok()) {
    if (!options.Has("force") || !absl::IsNotFound(record.status())) return record.status();
    // A create that was killed in its middle leaves a folder without a record.
    RETURN_IF_ERROR(dir.Remove());
    return 0;
  }
  ASSIGN_OR_RETURN(const OciStatus status, StatusOf(dir, *record));
  if (status != OciStatus::kStopped && !options.Has("force")) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot delete a container that is ", StatusName(status), " (--force does)"));
  }
  RETURN_IF_ERROR(DestroyOciContainer(dir, *record));
  return 0;
}

}  // namespace gantry::runtime
