// A SPDY connection on a byte stream: reads, writes, and ends without loss.
//
//   Start ──▶ frames to the handler ── Finish ──▶ rest is written, GOAWAY, end of writing,
//                 │       ▲                       what comes is dropped until the peer closes
//          peer gone,     └─ Resume, when the handler takes events again
//          protocol error ──▶ OnGone
#pragma once

#include <array>
#include <memory>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/spdy.h"

namespace gantry::cri::streaming {

// On the io thread.
class SpdyConnection : public std::enable_shared_from_this<SpdyConnection> {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // Not kGoAway.
    virtual void OnEvent(const SpdyEvent& event) = 0;
    // False: events stay where they are, and the socket behind them, until Resume.
    [[nodiscard]] virtual bool Accepts() const = 0;
    // There is room again for what Full() refused.
    virtual void OnWritable() = 0;
    // The peer has hung up, or broke the protocol: nothing follows.
    virtual void OnGone(const Status& why) = 0;
  };

  explicit SpdyConnection(std::shared_ptr<ByteStream> stream);

  // Holds the handler until OnGone, Finish or Abort.
  void Start(std::shared_ptr<Handler> handler);
  // What is to be said; nothing goes out before Flush.
  SpdySession& session() { return session_; }
  void Flush();
  // Too much waits to be sent: say no more until OnWritable.
  [[nodiscard]] bool Full() const;
  void Resume();
  void Finish();
  void Abort();
  ByteStream& stream() { return *stream_; }

 private:
  void Read();
  void OnRead(const ErrorCode& error, size_t size);
  void Dispatch();
  // False: no more events for now.
  bool DispatchOne();
  void Write();
  void OnWritten(const ErrorCode& error, size_t size);
  void Gone(const Status& why);
  void Linger();
  [[nodiscard]] size_t Unsent() const;

  std::shared_ptr<ByteStream> stream_;
  std::shared_ptr<Handler> handler_;
  SpdySession session_;
  asio::steady_timer linger_limit_;
  std::array<char, 32768> input_ = {};
  std::string output_;
  size_t written_ = 0;  // of output_
  bool reading_ = false, writing_ = false, dispatching_ = false;
  bool finishing_ = false, lingering_ = false;
  mutable bool was_full_ = false;  // somebody was refused
  bool clogged_ = false;           // events wait for the output
};

}  // namespace gantry::cri::streaming
