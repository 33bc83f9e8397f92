#include <fcntl.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/spawn.h"
#include "runtime/linux/unix_socket.h"
#include "shim/client.h"

namespace gantry::shim {
namespace {

constexpr int kConnectionFd = 3;
// Chunks in malloc's thread cache count as used: a handful of them keeps pages from being given
// back.
constexpr char kMalloc[] = "GLIBC_TUNABLES=glibc.malloc.tcache_count=0";

std::vector<std::string> Arguments(const LaunchOptions& options) {
  std::vector<std::string> args = {
      options.binary,
      absl::StrCat("--connection-fd=", kConnectionFd),
      absl::StrCat("--pod=", options.pod_id),
      absl::StrCat("--dir=", options.directory),
      absl::StrCat("--init=", options.init_binary),
  };
  for (const std::string& dir : options.cgroup.V1Hierarchies())
    args.push_back(absl::StrCat("--cgroup=", dir));
  return args;
}

}  // namespace

StatusOr<LaunchedShim> Launch(const LaunchOptions& options) {
  ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM | SOCK_NONBLOCK));
  ASSIGN_OR_RETURN(UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDWR));
  ASSIGN_OR_RETURN(UniqueFd log, OpenAt(AT_FDCWD, absl::StrCat(options.directory, "/shim.log"),
                                        O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600));
  UniqueFd cgroup;
  if (!options.cgroup.unified_dir.empty()) {
    ASSIGN_OR_RETURN(cgroup, OpenAt(AT_FDCWD, options.cgroup.unified_dir, O_PATH | O_DIRECTORY));
  }
  ASSIGN_OR_RETURN_CONTEXT(ClonedProcess child,
                           Spawn({.path = options.binary,
                                  .args = Arguments(options),
                                  .env = {kMalloc},
                                  .fds = {{null.get(), 0},
                                          {null.get(), 1},
                                          {log.get(), 2},
                                          {pair.second.get(), kConnectionFd}},
                                  .new_session = true,
                                  .cgroup_fd = cgroup.get()}),
                           absl::StrCat("start the shim of pod \"", options.pod_id, "\""));
  return LaunchedShim{child.pid, std::move(child.pidfd), std::move(pair.first)};
}

StatusOr<UniqueFd> ConnectSocket(const std::string& pod_directory) {
  const std::string path = absl::StrCat(pod_directory, "/shim.sock");
  auto socket = ConnectUnix(path);
  if (socket.ok()) return socket;
  const int error = ErrnoOf(socket.status());
  if (error != ENOENT && error != ECONNREFUSED) return socket;
  return absl::UnavailableError(absl::StrCat("no shim listens at ", path));
}

}  // namespace gantry::shim
