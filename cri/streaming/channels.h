// The channels of an Exec or Attach session, whatever carries them: SPDY streams, or WebSocket
// messages that begin with the channel's number.
#pragma once

#include <memory>

#include "absl/strings/string_view.h"

#include "cri/streaming/command.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

// The numbers are those of the WebSocket protocols.
enum class Channel { kStdin = 0, kStdout = 1, kStderr = 2, kError = 3, kResize = 4 };
inline constexpr size_t kChannels = 5;

class ChannelTransport;

// What a session hears; on the io thread.
class ChannelSession {
 public:
  virtual ~ChannelSession() = default;
  [[nodiscard]] virtual const StreamSet& streams() const = 0;
  // The connection is there; its channels may not be yet.
  virtual void OnTransport(std::shared_ptr<ChannelTransport> transport) = 0;
  // All channels that the session needs are there.
  virtual void OnReady() = 0;
  virtual void OnInput(Channel channel, absl::string_view data) = 0;
  // The client has said all on it.
  virtual void OnInputEnd(Channel channel) = 0;
  // False: input stays where it is, and the socket behind it, until Resume.
  [[nodiscard]] virtual bool Accepts() const = 0;
  // There is room again for what Full() refused.
  virtual void OnWritable() = 0;
  // The client has gone, or broke the protocol: nothing follows.
  virtual void OnGone(const Status& why) = 0;
};

// What a session says; on the io thread. It holds the session until OnGone, Finish or Abort.
class ChannelTransport {
 public:
  virtual ~ChannelTransport() = default;
  virtual void Write(Channel channel, absl::string_view data) = 0;
  // Nothing more on it.
  virtual void CloseChannel(Channel channel) = 0;
  // Too much waits to be sent: Write no more until OnWritable.
  [[nodiscard]] virtual bool Full() const = 0;
  virtual void Resume() = 0;
  // All is said: sends the rest, then ends the connection without loss.
  virtual void Finish() = 0;
  virtual void Abort() = 0;
  // Of the remote command protocol, 1 to 5: it decides how the end is told.
  [[nodiscard]] virtual int version() const = 0;
};

}  // namespace gantry::cri::streaming
