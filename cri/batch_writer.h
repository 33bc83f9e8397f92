// A list as a stream of messages: many items in each, so that none passes what clients take of a
// message, and the list is never there twice.
#pragma once

#include <grpcpp/grpcpp.h>

namespace gantry::cri {

// For one RPC: the caller adds an item to message(), and says so.
template <typename Response>
class BatchWriter {
 public:
  // `limit`: items of a message.
  BatchWriter(grpc::ServerWriter<Response>* writer, int limit) : writer_(*writer), limit_(limit) {}

  Response* message() { return &message_; }
  // An item was added. False: the client has gone, and nothing more need be made.
  bool Added() { return ++items_ < limit_ || Flush(); }
  // Writes what is left. No item at all is no message.
  bool Flush() {
    if (items_ == 0) return true;
    const bool written = writer_.Write(message_);
    message_.Clear();
    items_ = 0;
    return written;
  }

 private:
  grpc::ServerWriter<Response>& writer_;
  const int limit_;
  Response message_;
  int items_ = 0;
};

}  // namespace gantry::cri
