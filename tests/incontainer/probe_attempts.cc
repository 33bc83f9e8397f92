#include "tests/incontainer/probe_attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "tests/incontainer/probe_report.h"

namespace gantry::probe {
namespace {

// Each returns a negative number with errno set when the kernel refuses. None does harm where it is
// allowed: arguments are such that success changes nothing that outlives the child.
struct Call {
  const char* name;
  long (*attempt)();
};

long Socket(int family, int type, int protocol) {
  return socket(family, type | SOCK_CLOEXEC, protocol);
}

long SetTheSameTime() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return clock_settime(CLOCK_REALTIME, &now);
}

long MakeADevice() {
  const char* path = "/tmp/gantry-probe-device";
  const long result = mknod(path, S_IFCHR | 0600, makedev(1, 3));
  if (result == 0) unlink(path);
  return result;
}

constexpr Call kCalls[] = {
    {"add_key",
     [] { return syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING); }},
    {"bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); }},
    {"chroot", [] { return static_cast<long>(chroot("/")); }},
    {"clock_settime", SetTheSameTime},
    {"mknod", MakeADevice},
    {"mount", [] { return static_cast<long>(mount("none", "/tmp", "tmpfs", 0, nullptr)); }},
    {"open_by_handle_at", [] { return syscall(SYS_open_by_handle_at, -1, nullptr, 0); }},
    {"perf_event_open", [] { return syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
    {"ptrace", [] { return static_cast<long>(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }},
    {"reboot", [] { return syscall(SYS_reboot, 0, 0, 0, nullptr); }},
    {"sethostname", [] { return static_cast<long>(sethostname("probe", 5)); }},
    {"setns", [] { return static_cast<long>(setns(-1, 0)); }},
    {"setuid", [] { return static_cast<long>(setuid(4242)); }},
    {"socket_alg", [] { return Socket(AF_ALG, SOCK_SEQPACKET, 0); }},
    {"socket_packet", [] { return Socket(AF_PACKET, SOCK_RAW, 0); }},
    {"socket_raw", [] { return Socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
    {"socket_vsock", [] { return Socket(AF_VSOCK, SOCK_STREAM, 0); }},
    {"unshare_mount", [] { return static_cast<long>(unshare(CLONE_NEWNS)); }},
    {"unshare_user", [] { return static_cast<long>(unshare(CLONE_NEWUSER)); }},
};

const Call* FindCall(const std::string& name) {
  for (const Call& call : kCalls) {
    if (name == call.name) return &call;
  }
  return nullptr;
}

// The child's exit status carries the errno: all of them are below 255.
std::string AttemptInChild(const Call& call) {
  const pid_t child = fork();
  if (child < 0) return ErrnoName(errno);
  if (child == 0) _exit(call.attempt() < 0 ? errno : 0);
  int status = 0;
  if (waitpid(child, &status, 0) != child) return ErrnoName(errno);
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  return ErrnoName(WEXITSTATUS(status));
}

}  // namespace

void WriteWriteAttempt(JsonWriter& json, const std::string& path) {
  struct stat before {};
  const bool existed = lstat(path.c_str(), &before) == 0;
  std::string error;
  if (existed && S_ISDIR(before.st_mode)) {
    const std::string inside = path + "/.gantry-probe";
    const int fd = open(inside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) error = ErrnoName(errno);
    if (fd >= 0 && unlink(inside.c_str()) == 0) close(fd);
  } else {
    const int fd =
        open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | (existed ? 0 : O_CREAT), 0600);
    if (fd < 0) error = ErrnoName(errno);
    if (fd >= 0) close(fd);
    if (fd >= 0 && !existed) unlink(path.c_str());
  }
  json.BeginObject().Key("path").String(path).Key("error").String(error).EndObject();
}

void WriteCallAttempt(JsonWriter& json, const std::string& name) {
  const Call* call = FindCall(name);
  json.BeginObject().Key("call").String(name);
  json.Key("error").String(call == nullptr ? "unknown" : AttemptInChild(*call)).EndObject();
}

}  // namespace gantry::probe
