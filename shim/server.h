// The shim's door: <pod directory>/shim.sock, the connection that it was born with, and who is in
// charge. Whoever says Hello last is: the connection before is closed, and its execs end with it.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "shim/connection.h"
#include "shim/event_loop.h"
#include "shim/event_queue.h"
#include "shim/task_service.h"

namespace gantry::shim {

class Server {
 public:
  Server(EventLoop* loop, TaskService* service, EventQueue* events)
      : loop_(loop), service_(service), events_(events) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Listens at `path` (0600); one left by an earlier shim is replaced.
  Status Listen(const std::string& path);
  Status Add(UniqueFd socket);

 private:
  void OnAccept();
  void OnRequest(Connection* connection, uint32_t stream, const proto::Request& request,
                 std::vector<UniqueFd> fds);
  void OnClosed(Connection* connection);
  void TakeOver(Connection* connection);
  std::shared_ptr<Connection> Shared(Connection* connection);

  EventLoop* loop_;
  TaskService* service_;
  EventQueue* events_;
  UniqueFd listener_;
  EventLoop::Watch watch_;
  std::list<std::shared_ptr<Connection>> connections_;
  Connection* active_ = nullptr;
  EventLoop::Timer quiet_;  // runs out when no request has come for a while
};

}  // namespace gantry::shim
