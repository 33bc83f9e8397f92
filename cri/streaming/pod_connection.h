// One forwarded connection: a socket to a port of the pod, made inside of its network.
//
//   connect 127.0.0.1, then ::1 ──▶ RELAY ── one side has ended: half closed at once ──▶ both have,
//          │ neither: OnConnectFailed   │ reset by the pod: OnBroken     or 60 s of silence:
//          OnFinished
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/input_buffer.h"
#include "cri/streaming/pod_sockets.h"

namespace gantry::cri::streaming {

// On the io thread.
class PodConnection : public std::enable_shared_from_this<PodConnection> {
 public:
  // The other side.
  class Client {
   public:
    virtual ~Client() = default;
    virtual void OnData(absl::string_view data) = 0;
    // No room for more data: Pump is called when there is.
    [[nodiscard]] virtual bool Full() const = 0;
    // The pod has said all.
    virtual void OnEnd() = 0;
    // There is room again for what Accepts() refused.
    virtual void OnRoom() = 0;
    // Nothing follows these three; the connection is closed.
    virtual void OnConnectFailed(const std::string& why) = 0;
    virtual void OnBroken() = 0;
    virtual void OnFinished() = 0;
  };

  PodConnection(asio::io_context* io, PodSockets sockets, uint16_t port, Client* client);

  void Connect();
  void Write(absl::string_view data);
  void CloseWrite();
  // False: the pod has not taken 1 MiB.
  [[nodiscard]] bool Accepts() const;
  void Pump();
  // The client is not called any more.
  void Close();

 private:
  void TryNext();
  void OnConnected();
  void WriteInput();
  void AwaitInputRoom();
  void InputWritten();
  bool PumpOnce();
  void AwaitOutput();
  void OutputEnded();
  void Quiet();
  // Closes, and hands out the client for its last call; nullptr: it had that.
  Client* TakeClient();

  const PodSockets sockets_;
  const uint16_t port_;
  Client* client_;  // nullptr: closed
  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  int attempt_ = 0;
  std::vector<std::string> errors_;
  bool connected_ = false;

  InputBuffer input_;         // for the pod
  bool input_ended_ = false;  // by the client
  bool input_shut_ = false;   // nothing more goes to the pod
  bool input_gone_ = false;   // the pod takes nothing any more
  bool input_waiting_ = false;
  bool output_ended_ = false, output_waiting_ = false;
};

}  // namespace gantry::cri::streaming
