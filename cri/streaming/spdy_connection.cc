#include "cri/streaming/spdy_connection.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "cri/streaming/limits.h"

namespace gantry::cri::streaming {
namespace {}  // namespace

SpdyConnection::SpdyConnection(std::shared_ptr<ByteStream> stream)
    : stream_(std::move(stream)), linger_limit_(stream_->io()) {}

void SpdyConnection::Start(std::shared_ptr<Handler> handler) {
  handler_ = std::move(handler);
  Read();
}

void SpdyConnection::Read() {
  if (reading_) return;
  reading_ = true;
  stream_->ReadSome(asio::buffer(input_),
                    [self = shared_from_this()](const ErrorCode& error, size_t size) {
                      self->OnRead(error, size);
                    });
}

void SpdyConnection::OnRead(const ErrorCode& error, size_t size) {
  reading_ = false;
  if (error) {
    linger_limit_.cancel();
    if (lingering_) stream_->Close();
    Gone(absl::UnavailableError("the client has hung up"));
    return;
  }
  if (finishing_) {
    Read();
    return;
  }
  session_.Receive(absl::string_view(input_.data(), size));
  Dispatch();
}

void SpdyConnection::Resume() {
  if (handler_ != nullptr && !reading_) Dispatch();
}

void SpdyConnection::Dispatch() {
  if (dispatching_) return;
  dispatching_ = true;
  while (DispatchOne()) {
  }
  dispatching_ = false;
  Flush();
}

bool SpdyConnection::DispatchOne() {
  if (handler_ == nullptr || !handler_->Accepts()) return false;
  // Answers of the machine itself (PING) must not pile up where the peer does not read.
  if (Unsent() >= 2 * kHighWater) {
    clogged_ = true;
    return false;
  }
  const auto event = session_.Next();
  if (!event.ok()) {
    Gone(event.status());
    return false;
  }
  if (!event->has_value()) {
    Read();
    return false;
  }
  if ((*event)->kind == SpdyEvent::Kind::kGoAway) return true;
  const auto handler = handler_;  // it may finish, or abort, from within
  handler->OnEvent(**event);
  return true;
}

size_t SpdyConnection::Unsent() const { return output_.size() - written_ + session_.unsent(); }

bool SpdyConnection::Full() const {
  const bool full = Unsent() >= kHighWater;
  was_full_ = was_full_ || full;  // whoever is refused is told
  return full;
}

void SpdyConnection::Flush() {
  if (!writing_) Write();
}

void SpdyConnection::Write() {
  if (written_ == output_.size()) {
    output_ = session_.TakeOutput();
    written_ = 0;
  }
  if (output_.empty()) {
    if (finishing_ && !lingering_) Linger();
    return;
  }
  writing_ = true;
  stream_->WriteSome(asio::buffer(output_) + written_,
                     [self = shared_from_this()](const ErrorCode& error, size_t size) {
                       self->OnWritten(error, size);
                     });
}

void SpdyConnection::OnWritten(const ErrorCode& error, size_t size) {
  writing_ = false;
  if (error) {
    Gone(absl::UnavailableError("the client has hung up"));
    return;
  }
  written_ += size;
  Write();
  if (Unsent() >= kHighWater) return;
  if (const auto handler = handler_; handler != nullptr && std::exchange(was_full_, false))
    handler->OnWritable();
  if (std::exchange(clogged_, false)) Resume();
}

void SpdyConnection::Gone(const Status& why) {
  if (!lingering_) stream_->Close();
  if (const auto handler = std::exchange(handler_, nullptr)) handler->OnGone(why);
}

void SpdyConnection::Finish() {
  if (finishing_) return;
  finishing_ = true;
  handler_.reset();
  session_.GoAway();
  Flush();
}

void SpdyConnection::Linger() {
  lingering_ = true;
  linger_limit_.expires_after(kLinger);
  linger_limit_.async_wait([self = shared_from_this()](const ErrorCode& error) {
    if (!error) self->stream_->Close();
  });
  stream_->ShutdownWrite([self = shared_from_this()] { self->Read(); });
}

void SpdyConnection::Abort() {
  handler_.reset();
  stream_->Close();
}

}  // namespace gantry::cri::streaming
