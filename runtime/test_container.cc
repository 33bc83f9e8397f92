#include "runtime/test_container.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"

namespace gantry::runtime {
namespace {

constexpr int kDeadlineMs = 10'000;
constexpr char kBusybox[] = "/bin/busybox";

const std::vector<std::string> kDefaultCapabilities = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE"};

std::vector<spec::Mount> UsualMounts() {
  return {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}, {}, {}},
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
       {},
       {}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/dev/shm",
       "tmpfs",
       "shm",
       {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"},
       {},
       {}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}, {}, {}},
      {"/sys/fs/cgroup",
       "cgroup",
       "cgroup",
       {"nosuid", "noexec", "nodev", "relatime", "ro"},
       {},
       {}},
  };
}

spec::Spec UsualSpec() {
  spec::Spec spec;
  spec.process.emplace();
  spec.process->env = {"PATH=/bin:/usr/bin"};
  spec.process->cwd = "/";
  spec::Capabilities capabilities;
  capabilities.bounding = kDefaultCapabilities;
  capabilities.effective = kDefaultCapabilities;
  capabilities.permitted = kDefaultCapabilities;
  spec.process->capabilities = capabilities;
  spec.hostname = "box";
  spec.mounts = UsualMounts();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"}) {
    spec.linux_.namespaces.push_back({type, ""});
  }
  spec.linux_.masked_paths = {"/proc/acpi",
                              "/proc/interrupts",
                              "/proc/kcore",
                              "/proc/keys",
                              "/proc/latency_stats",
                              "/proc/timer_list",
                              "/proc/timer_stats",
                              "/proc/sched_debug",
                              "/proc/scsi",
                              "/sys/firmware",
                              "/sys/devices/virtual/powercap"};
  spec.linux_.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                "/proc/sysrq-trigger"};
  return spec;
}

void MakeRootfs(const std::string& rootfs) {
  namespace fs = std::filesystem;
  for (const char* folder : {"bin", "etc", "tmp", "root"})
    fs::create_directories(rootfs + "/" + folder);
  fs::copy_file(kBusybox, rootfs + "/bin/busybox");
  for (const char* applet :
       {"sh",       "cat", "ls",   "id",       "echo",  "true", "sleep", "grep", "hostname",
        "mount",    "pwd", "stat", "readlink", "touch", "tty",  "stty",  "test", "umask",
        "printenv", "ps",  "wc",   "head",     "mkdir", "kill", "ip"}) {
    fs::create_symlink("busybox", rootfs + "/bin/" + applet);
  }
  const Status written =
      CreateFileAt(AT_FDCWD, rootfs + "/etc/passwd",
                   "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n", 0644);
  GANTRY_CHECK(written.ok());
}

}  // namespace

TempDir::TempDir() {
  char name[] = "/tmp/gantry-test-XXXXXX";
  GANTRY_CHECK(mkdtemp(name) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

bool MustSkip() {
  if (geteuid() != 0) {
    puts("SKIPPED: needs root");
    return true;
  }
  if (access(kBusybox, X_OK) != 0) {
    puts("SKIPPED: needs /bin/busybox (package busybox-static)");
    return true;
  }
  return false;
}

OutputPipe MakeOutputPipe() {
  int ends[2];
  GANTRY_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string Drain(int fd) {
  std::string text;
  char buffer[4096];
  struct pollfd readable = {fd, POLLIN, 0};
  while (poll(&readable, 1, kDeadlineMs) == 1) {
    const ssize_t size = read(fd, buffer, sizeof buffer);
    if (size <= 0) return text;
    text.append(buffer, static_cast<size_t>(size));
  }
  return text + "[deadline]";
}

Status DriveUntil(Creation& creation, Creation::Step step) {
  while (creation.poll_fd() >= 0) {
    struct pollfd readable = {creation.poll_fd(), POLLIN, 0};
    if (poll(&readable, 1, kDeadlineMs) != 1) return absl::DeadlineExceededError("no step");
    ASSIGN_OR_RETURN(const Creation::Step reached, creation.OnReadable());
    if (reached == step) return absl::OkStatus();
  }
  return absl::InternalError("the step was not reached");
}

RunningContainer::~RunningContainer() {
  if (reaped_ || creation_.pidfd() < 0) return;
  (void)SignalPidFd(creation_.pidfd(), SIGKILL);
  (void)WaitPidFd(creation_.pidfd(), /*block=*/true);
}

Outcome RunningContainer::Finish() {
  Outcome outcome;
  outcome.output = Drain(output_.get());
  struct pollfd exited = {creation_.pidfd(), POLLIN, 0};
  if (poll(&exited, 1, kDeadlineMs) != 1) {
    outcome.status = absl::DeadlineExceededError("it runs on");
    return outcome;
  }
  const auto status = WaitPidFd(creation_.pidfd(), /*block=*/true);
  reaped_ = true;
  if (status.ok() && status->has_value()) outcome.exit_code = (*status)->Code();
  return outcome;
}

TestContainer::TestContainer() : spec(UsualSpec()) {
  if (geteuid() != 0) return;
  MakeRootfs(rootfs());
  for (const char* folder : {"/mount", "/outside"}) mkdir((dir() + folder).c_str(), 0755);
  spec.root.path = rootfs();
  request.rootfs_mount_point = dir() + "/mount";
}

StatusOr<RunningContainer> TestContainer::Create(const std::string& script) {
  if (!script.empty()) spec.process->args = {"/bin/sh", "-c", script};
  request.spec = &spec;
  OutputPipe output = MakeOutputPipe();
  request.stdio[1] = output.write_end.get();
  request.stdio[2] = output.write_end.get();
  ASSIGN_OR_RETURN(Creation creation, Creation::Begin(request));
  RunningContainer container(std::move(creation), std::move(output.read_end));
  RETURN_IF_ERROR(container.creation().Continue());
  RETURN_IF_ERROR(DriveUntil(container.creation(), Creation::Step::kCreated));
  return container;
}

StatusOr<RunningContainer> TestContainer::Start(const std::string& script) {
  ASSIGN_OR_RETURN(RunningContainer container, Create(script));
  RETURN_IF_ERROR(container.creation().Start());
  RETURN_IF_ERROR(DriveUntil(container.creation(), Creation::Step::kRunning));
  return container;
}

Outcome TestContainer::Run(const std::string& script) {
  StatusOr<RunningContainer> container = Start(script);
  if (!container.ok()) return {container.status(), -1, ""};
  return container->Finish();
}

}  // namespace gantry::runtime
