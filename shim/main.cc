// gantry-shim: the parent of a pod's containers. Started by gantryd (shim/launch.cc), outlives it.
//
//   gantry-shim --connection-fd=N --pod=ID --dir=DIR --init=PATH [--cgroup=DIR]…
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "runtime/base/log.h"
#include "runtime/linux/file.h"
#include "runtime/linux/process.h"
#include "shim/event_loop.h"
#include "shim/event_queue.h"
#include "shim/journal.h"
#include "shim/memory.h"
#include "shim/pump.h"
#include "shim/pump_handle.h"
#include "shim/reaper.h"
#include "shim/server.h"
#include "shim/task_service.h"

namespace gantry::shim {
namespace {

struct Arguments {
  int connection_fd = -1;
  std::string pod, dir, init;
  std::vector<std::string> cgroups;
};

StatusOr<Arguments> Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    bool good = !value.empty();
    if (name == "--connection-fd") {
      good = absl::SimpleAtoi(value, &arguments.connection_fd) && arguments.connection_fd > 2;
    } else if (name == "--pod") {
      arguments.pod = value;
    } else if (name == "--dir") {
      arguments.dir = value;
    } else if (name == "--init") {
      arguments.init = value;
    } else if (name == "--cgroup") {
      arguments.cgroups.push_back(value);
    } else {
      good = false;
    }
    if (!good) return absl::InvalidArgumentError(absl::StrCat("bad argument: ", argument));
  }
  if (arguments.connection_fd < 0 || arguments.pod.empty() || arguments.dir.empty()) {
    return absl::InvalidArgumentError("--connection-fd, --pod and --dir are needed");
  }
  return arguments;
}

Status SetUpProcess(const Arguments& arguments) {
  ConfigureMemory();
  sigset_t all;
  sigfillset(&all);
  if (sigprocmask(SIG_SETMASK, &all, nullptr) != 0) return SyscallError("sigprocmask");
  // First of all, so that all memory from here on is counted where it shall be.
  for (const std::string& dir : arguments.cgroups) {
    RETURN_IF_ERROR(EnterCgroup(dir));
  }
  if (chdir("/") != 0) return SyscallError("chdir", "/");
  umask(0022);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return SyscallError("PR_SET_CHILD_SUBREAPER");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SyscallError("PR_SET_DUMPABLE");
  // Lowering it takes CAP_SYS_RESOURCE; without it the shim is as likely a victim as others.
  WriteFileAt(AT_FDCWD, "/proc/self/oom_score_adj", "-998").IgnoreError();
  // gantryd opens everything close-on-exec; should a library of it not, the descriptor ends here.
  if (fcntl(arguments.connection_fd, F_SETFD, FD_CLOEXEC) != 0) return SyscallError("fcntl");
  const auto above = static_cast<unsigned>(arguments.connection_fd) + 1;
  if (close_range(above, ~0U, 0) != 0) return SyscallError("close_range");
  return absl::OkStatus();
}

TaskService::Options ServiceOptions(const Arguments& arguments) {
  TaskService::Options options;
  options.pod_id = arguments.pod;
  if (arguments.init.empty()) return options;
  auto init = OpenAt(AT_FDCWD, arguments.init, O_RDONLY);
  if (init.ok()) {
    options.init_binary = *std::move(init);
  } else {
    Log(LogLevel::kWarning, "no init for shared PID namespaces",
        {{"error", std::string(init.status().message())}});
  }
  return options;
}

Status Serve(const Arguments& arguments, const std::function<void(UniqueFd)>& run_pump) {
  ASSIGN_OR_RETURN(auto loop, EventLoop::Create());
  ASSIGN_OR_RETURN(auto reaper, Reaper::Create(loop.get()));
  ASSIGN_OR_RETURN(Journal journal, Journal::Open(arguments.dir));
  journal.Process("shim", getpid());
  EventQueue events;
  PumpHandle pump(loop.get(), reaper.get(), &journal, run_pump);
  TaskService service({.loop = loop.get(),
                       .reaper = reaper.get(),
                       .journal = &journal,
                       .pump = &pump,
                       .events = &events},
                      ServiceOptions(arguments));
  Server server(loop.get(), &service, &events);
  RETURN_IF_ERROR(server.Add(UniqueFd(arguments.connection_fd)));
  const std::string socket = absl::StrCat(arguments.dir, "/shim.sock");
  RETURN_IF_ERROR(server.Listen(socket));
  RETURN_IF_ERROR(loop->Run());
  unlink(socket.c_str());
  // Not by returning: what still lives in the kernel must not be waited for in destructors.
  _exit(0);
}

// The child is a copy of the shim: nothing but its control socket and standard error is its own.
[[noreturn]] void EnterPump(UniqueFd control, const std::function<void(const char*)>& set_title) {
  set_title("gantry:pump ");
  constexpr int kControl = 3;
  if (dup3(control.get(), kControl, O_CLOEXEC) < 0 && control.get() != kControl) _exit(1);
  if (control.get() == kControl) (void)control.Release();
  close_range(kControl + 1, ~0U, 0);
  (void)control.Release();
  RunPump(UniqueFd(kControl));
}

int Main(int argc, char** argv) {
  const auto arguments = Parse(argc, argv);
  Status status = arguments.status();
  if (status.ok()) status = SetUpProcess(*arguments);
  if (status.ok()) {
    const auto set_title = [&](const char* role) {
      SetProcessTitle(argc, argv, absl::StrCat(role, arguments->pod));
    };
    set_title("gantry:shim ");
    status = Serve(*arguments,
                   [&set_title](UniqueFd control) { EnterPump(std::move(control), set_title); });
  }
  Log(LogLevel::kError, "shim ends", {{"error", std::string(status.message())}});
  return 1;
}

}  // namespace
}  // namespace gantry::shim

int main(int argc, char** argv) { return gantry::shim::Main(argc, argv); }
