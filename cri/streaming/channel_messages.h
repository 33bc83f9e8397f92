// Messages that begin with a channel's number, in both of their forms: bytes, and text with a digit
// and base64 behind it. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::cri::streaming {

std::string EncodeChannelMessage(uint8_t channel, absl::string_view data, bool base64);

// Takes a message in pieces.
class ChannelMessageReader {
 public:
  explicit ChannelMessageReader(bool base64) : base64_(base64) {}

  struct Part {
    uint8_t channel = 0;
    std::string data;
  };
  // What the piece holds for its channel; nothing when there is none in it yet. Text that is no
  // base64 (RFC 4648 section 4, nothing between its digits), or that does not begin with a digit,
  // ends the message: nothing that follows of it is told.
  std::optional<Part> Receive(absl::string_view piece, bool begins, bool ends);

 private:
  std::optional<std::string> Decode(absl::string_view text, bool ends);

  const bool base64_;
  std::optional<uint8_t> channel_;
  bool broken_ = false;    // the rest of this message is not read
  std::string undecoded_;  // less than four characters
};

}  // namespace gantry::cri::streaming
