// One connection of gantryd, the shim's side: frames in, replies and events out. Never blocks.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "shim/event_loop.h"
#include "shim/frame.h"
#include "shim/shim.pb.h"

namespace gantry::shim {

class Connection {
 public:
  struct Handlers {
    std::function<void(uint32_t stream, const proto::Request&, std::vector<UniqueFd>)> on_request;
    // The peer has gone, or broken the protocol. May destroy the connection.
    std::function<void()> on_closed;
  };

  static StatusOr<std::unique_ptr<Connection>> Create(EventLoop* loop, UniqueFd socket,
                                                      Handlers handlers);
  explicit Connection(UniqueFd socket, Handlers handlers)
      : socket_(std::move(socket)), handlers_(std::move(handlers)) {}

  void SendReply(uint32_t stream, const proto::Reply& reply, std::span<const int> fds);
  void SendEvent(const proto::Event& event);
  // on_closed follows from the loop.
  void Close();

 private:
  void Send(FrameType type, uint32_t stream, const std::string& body, std::span<const int> fds);
  void OnReady(uint32_t events);
  bool Read();
  bool Dispatch(Frame frame);

  UniqueFd socket_;
  Handlers handlers_;
  FrameDecoder decoder_;
  FrameSender sender_;
  EventLoop::Watch watch_;
};

// The way back for the answer to one request; copies are the same way. Without the connection
// answers are dropped.
class Responder {
 public:
  Responder(std::weak_ptr<Connection> connection, uint32_t stream)
      : connection_(std::move(connection)), stream_(stream) {}
  void Ok(const proto::Reply& reply = {}, std::span<const int> fds = {}) const;
  // With an OK status: Ok() with an empty reply.
  void Finish(const Status& status) const;

 private:
  std::weak_ptr<Connection> connection_;
  uint32_t stream_;
};

}  // namespace gantry::shim
