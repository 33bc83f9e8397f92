#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/exec.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/oci_arguments.h"
#include "runtime/oci_commands.h"
#include "runtime/oci_container.h"
#include "runtime/oci_terminal.h"
#include "runtime/spec/json.h"
#include "runtime/spec/validate.h"

namespace gantry::runtime {
namespace {

const OptionTable kExecOptions = {
    .flags = {"tty", "detach", "no-new-privs", "ignore-paused"},
    .with_value = {"process", "pid-file", "console-socket", "cwd", "env", "user", "additional-gids",
                   "cap", "preserve-fds", "cgroup", "apparmor", "process-label"},
    .short_names = {{'t', "tty"},
                    {'d', "detach"},
                    {'p', "process"},
                    {'e', "env"},
                    {'u', "user"},
                    {'g', "additional-gids"},
                    {'c', "cap"}}};

StatusOr<uint32_t> IdNumber(absl::string_view text) {
  uint32_t number = 0;
  // Strictly decimal: no sign, no wrap-around, nothing that could also be a name.
  if (text.empty() || text.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(text, &number) || number == UINT32_MAX)
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a user or group number"));
  return number;
}

Status SetUser(const Options& options, spec::User& user) {
  if (options.Has("user")) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(options.Get("user"), absl::MaxSplits(':', 1));
    ASSIGN_OR_RETURN(user.uid, IdNumber(parts.first));
    if (!parts.second.empty()) {
      ASSIGN_OR_RETURN(user.gid, IdNumber(parts.second));
    }
  }
  for (const std::string& text : options.All("additional-gids")) {
    ASSIGN_OR_RETURN(const uint32_t gid, IdNumber(text));
    user.additional_gids.push_back(gid);
  }
  return absl::OkStatus();
}

// --cap adds to what the process may use at once; never to the inheritable set (CVE-2022-29162).
void AddCapabilities(const std::vector<std::string>& names, spec::Process& process) {
  if (names.empty()) return;
  if (!process.capabilities.has_value()) process.capabilities.emplace();
  for (const std::string& name : names) {
    for (auto* set : {&process.capabilities->bounding, &process.capabilities->effective,
                      &process.capabilities->permitted})
      set->push_back(name);
  }
}

// The process of --process, or the container's own, changed by the options.
StatusOr<spec::Process> ProcessOf(const Options& options, const spec::Spec& spec) {
  if (options.Has("process")) {
    ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, options.Get("process")));
    return spec::ParseProcess(text);
  }
  spec::Process process = *spec.process;
  process.args.assign(options.positional.begin() + 1, options.positional.end());
  process.terminal = options.Has("tty");
  if (options.Has("cwd")) process.cwd = options.Get("cwd");
  for (const std::string& variable : options.All("env")) process.env.push_back(variable);
  RETURN_IF_ERROR(SetUser(options, process.user));
  AddCapabilities(options.All("cap"), process);
  if (options.Has("no-new-privs")) process.no_new_privileges = true;
  if (options.Has("apparmor")) process.apparmor_profile = options.Get("apparmor");
  if (options.Has("process-label")) process.selinux_label = options.Get("process-label");
  return process;
}

Status CheckOptions(const Options& options) {
  if (options.positional.empty()) return absl::InvalidArgumentError("a container name is needed");
  const std::string preserved = options.Get("preserve-fds");
  if (!preserved.empty() && preserved != "0")
    return absl::UnimplementedError("--preserve-fds: a process gets exactly three descriptors");
  if (options.Has("cgroup")) return absl::UnimplementedError("--cgroup is not supported");
  return absl::OkStatus();
}

// Polls until the process runs or has failed, and reaps the middle process.
Status Drive(ExecOperation& operation) {
  Status status;
  while (true) {
    pollfd readable = {.fd = operation.poll_fd(), .events = POLLIN, .revents = 0};
    if (poll(&readable, 1, -1) < 0 && errno != EINTR) return SyscallError("poll", "handshake");
    const auto step = operation.OnReadable();
    if (!step.ok()) status = step.status();
    if (!step.ok() || *step == ExecOperation::Step::kRunning) break;
  }
  if (const auto middle = OpenPidFd(operation.middle_pid()); middle.ok())
    WaitPidFd(middle->get(), /*block=*/true).IgnoreError();
  // A process that failed after it was cloned is a child to reap as well.
  if (!status.ok() && operation.pidfd() >= 0)
    WaitPidFd(operation.pidfd(), /*block=*/true).IgnoreError();
  return status;
}

// In the container's group, or where its init is: with controllers given to groups of its own, as
// systemd does, it lets nobody in above them.
StatusOr<ExecOperation> BeginIn(const std::string& group, ExecRequest request) {
  if (group.empty()) return ExecOperation::Begin(request);
  ASSIGN_OR_RETURN(UniqueFd directory, OpenAt(AT_FDCWD, group, O_RDONLY | O_DIRECTORY));
  request.cgroup_fd = directory.get();
  StatusOr<ExecOperation> operation = ExecOperation::Begin(request);
  if (ErrnoOf(operation.status()) != EBUSY) return operation;
  ASSIGN_OR_RETURN(const std::string inner, UnifiedGroupBelow(group, request.container_pid));
  ASSIGN_OR_RETURN(directory, OpenAt(AT_FDCWD, inner, O_RDONLY | O_DIRECTORY));
  request.cgroup_fd = directory.get();
  return ExecOperation::Begin(request);
}

StatusOr<ExecOperation> Launch(const OciRecord& record, const spec::Process& process,
                               int container_pidfd, const std::string& seccomp_bpf) {
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupOf(record));
  ExecRequest request;
  request.process = &process;
  request.container_pidfd = container_pidfd;
  request.container_pid = record.pid;
  request.v1_cgroup_dirs = paths.V1Hierarchies();
  request.seccomp_bpf = seccomp_bpf;
  for (int fd = 0; fd < 3; ++fd) request.stdio[fd] = fd;
  ASSIGN_OR_RETURN(ExecOperation operation, BeginIn(paths.unified_dir, request));
  RETURN_IF_ERROR(Drive(operation));
  return operation;
}

Status CheckRunning(const OciStateDir& dir, const OciRecord& record, bool ignore_paused) {
  ASSIGN_OR_RETURN(const OciStatus status, StatusOf(dir, record));
  if (status == OciStatus::kRunning || status == OciStatus::kCreated) return absl::OkStatus();
  if (status == OciStatus::kPaused && ignore_paused) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("cannot exec in a container that is ", StatusName(status)));
}

// Hands over, detaches or waits, as asked.
StatusOr<int> Finish(const Options& options, ExecOperation& operation, int signals) {
  if (options.Has("pid-file"))
    RETURN_IF_ERROR(
        CreateFileAt(AT_FDCWD, options.Get("pid-file"), absl::StrCat(operation.pid()), 0644));
  UniqueFd master = operation.TakeTerminal();
  if (master.valid() && options.Has("console-socket")) {
    RETURN_IF_ERROR(SendTerminal(options.Get("console-socket"), master.get()));
    master.Reset();
  }
  if (options.Has("detach")) return 0;
  ASSIGN_OR_RETURN(const ExitStatus exit, Attend(operation.pidfd(), signals, master.get()));
  return exit.Code();
}

}  // namespace

StatusOr<int> ExecCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions(kExecOptions, arguments));
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, options.positional[0]));
  ASSIGN_OR_RETURN(const OciRecord record, dir.Load());
  RETURN_IF_ERROR(CheckRunning(dir, record, options.Has("ignore-paused")));
  ASSIGN_OR_RETURN(const spec::Spec spec, dir.LoadSpec());
  ASSIGN_OR_RETURN(const spec::Process process, ProcessOf(options, spec));
  RETURN_IF_ERROR(spec::ValidateProcess(process));
  if (process.terminal && options.Has("detach") && !options.Has("console-socket"))
    return absl::InvalidArgumentError("a detached terminal needs --console-socket");
  ASSIGN_OR_RETURN(const std::string seccomp_bpf, dir.LoadSeccomp());
  ASSIGN_OR_RETURN(const UniqueFd init, OpenInit(record));
  if (!init.valid()) return absl::FailedPreconditionError("container not running");
  ASSIGN_OR_RETURN(ExecOperation operation, Launch(record, process, init.get(), seccomp_bpf));
  ASSIGN_OR_RETURN(const UniqueFd signals, CatchSignals());
  return Finish(options, operation, signals.get());
}

}  // namespace gantry::runtime
