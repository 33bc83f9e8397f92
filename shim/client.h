// gantryd's side of the shim protocol (shim.proto): start a shim, talk with it, hear its events.
//
// Threads: one Reactor thread serves the connections of all shims. Client::Call may be called from
// any thread and blocks it until the reply, the timeout or the loss of the connection;
// Client::Send blocks nobody.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "runtime/base/status.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/unique_fd.h"
#include "shim/shim.pb.h"

namespace gantry::shim {

inline constexpr uint32_t kProtocolVersion = 1;

struct LaunchOptions {
  std::string binary;       // path of gantry-shim
  std::string init_binary;  // path of gantry-init
  std::string pod_id;
  std::string directory;  // /run/gantry/pods/<id>: exists, 0700; gets shim.sock, journal, shim.log
  // Made already. The shim is born in the v2 group, and enters the v1 ones first of all. Empty: the
  // caller's.
  CgroupPaths cgroup;
};

struct LaunchedShim {
  pid_t pid = -1;
  UniqueFd pidfd;
  UniqueFd connection;  // a connected socket: no connect, no wait for shim.sock
};

// Spawns a shim (posix_spawn, own session). Returns at once; the first reply tells that it runs.
StatusOr<LaunchedShim> Launch(const LaunchOptions& options);

// Connects to the shim of a pod after a restart of gantryd. kUnavailable when nobody listens
// (ENOENT, ECONNREFUSED).
StatusOr<UniqueFd> ConnectSocket(const std::string& pod_directory);

struct ReplyWithFds {
  proto::Reply reply;  // status_code is 0
  std::vector<UniqueFd> fds;
};

// Called on the reactor's thread: must not block.
struct Handlers {
  std::function<void(const proto::Event&)> on_event;
  std::function<void()> on_disconnect;  // once; the shim has died or closed the connection
};

class Reactor;

class Client {
 public:
  ~Client();
  // The shim's error (its code and message), kDeadlineExceeded after `timeout` (the request goes on
  // in the shim; its late reply is dropped and its descriptors are closed), or kUnavailable when
  // the connection is lost.
  StatusOr<ReplyWithFds> Call(const proto::Request& request, std::span<const int> fds = {},
                              absl::Duration timeout = absl::Minutes(2));
  // As Call, without waiting: `done` is called once, with the reply or the error, on the reactor's
  // thread, or on the one that closes the connection, or on this one when the request cannot go
  // out. It must not block, nor close this client. There is no timeout: a caller that has one drops
  // what comes late.
  using Done = std::function<void(StatusOr<ReplyWithFds>)>;
  void Send(const proto::Request& request, std::span<const int> fds, Done done);
  // Closes the connection; pending calls end with kUnavailable, on_disconnect is not called. After
  // it no handler runs: it waits for one that does (unless called from it), so hold no lock that a
  // handler takes.
  void Close();

 private:
  friend class Reactor;
  struct State;

 public:
  explicit Client(std::shared_ptr<State> state);  // by Reactor::Add

 private:
  std::shared_ptr<State> state_;
};

// Owns the thread. Outlives every Client made from it.
class Reactor {
 public:
  static StatusOr<std::unique_ptr<Reactor>> Create();
  ~Reactor();
  // Takes the connection; nothing is sent yet: the caller says Hello first.
  std::unique_ptr<Client> Add(UniqueFd connection, Handlers handlers);

 private:
  struct Loop;

 public:
  explicit Reactor(std::unique_ptr<Loop> loop);  // by Create

 private:
  friend class Client;
  std::unique_ptr<Loop> loop_;
};

}  // namespace gantry::shim
