#include "cri/streaming/channel_messages.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::cri::streaming {
namespace {

// absl takes blanks and other padding between digits too: where a piece was cut would then decide
// what it says.
bool IsBase64(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '+' || c == '/' || c == '=';
  });
}

}  // namespace

std::string EncodeChannelMessage(uint8_t channel, absl::string_view data, bool base64) {
  if (base64)
    return absl::StrCat(std::string(1, static_cast<char>('0' + channel)), absl::Base64Escape(data));
  std::string message;
  message.reserve(data.size() + 1);
  message.push_back(static_cast<char>(channel));
  message.append(data.data(), data.size());
  return message;
}

std::optional<ChannelMessageReader::Part> ChannelMessageReader::Receive(absl::string_view piece,
                                                                        bool begins, bool ends) {
  if (begins) {
    channel_.reset();
    undecoded_.clear();
    broken_ = false;
  }
  if (broken_ || piece.empty()) return std::nullopt;
  if (!channel_) {
    const auto first = static_cast<uint8_t>(piece[0]);
    broken_ = base64_ && !absl::ascii_isdigit(first);
    channel_ = base64_ ? static_cast<uint8_t>(first - '0') : first;
    piece.remove_prefix(1);
  }
  if (broken_ || piece.empty()) return std::nullopt;
  if (!base64_) return Part{*channel_, std::string(piece)};
  auto data = Decode(piece, ends);
  broken_ = !data.has_value();
  if (broken_ || data->empty()) return std::nullopt;
  return Part{*channel_, *std::move(data)};
}

std::optional<std::string> ChannelMessageReader::Decode(absl::string_view text, bool ends) {
  if (!IsBase64(text)) return std::nullopt;
  undecoded_.append(text.data(), text.size());
  const size_t whole = ends ? undecoded_.size() : undecoded_.size() / 4 * 4;
  std::string data;
  if (!absl::Base64Unescape(absl::string_view(undecoded_).substr(0, whole), &data))
    return std::nullopt;
  undecoded_.erase(0, whole);
  return data;
}

}  // namespace gantry::cri::streaming
