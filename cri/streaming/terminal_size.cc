#include "cri/streaming/terminal_size.h"

#include <nlohmann/json.hpp>

namespace gantry::cri::streaming {
namespace {

constexpr size_t kMaxObject = 1024;

std::optional<uint16_t> Side(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  const auto value = found->get<uint64_t>();
  if (value == 0 || value > UINT16_MAX) return std::nullopt;
  return static_cast<uint16_t>(value);
}

std::optional<TerminalSize> Parse(const std::string& text) {
  const auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  const auto width = Side(object, "Width");
  const auto height = Side(object, "Height");
  if (!width || !height) return std::nullopt;
  return TerminalSize{*width, *height};
}

}  // namespace

std::optional<TerminalSize> TerminalSizeReader::Receive(absl::string_view data) {
  std::optional<TerminalSize> newest;
  for (const char c : data) {
    if (c == '{') ++depth_;
    if (depth_ == 0) continue;
    object_.push_back(c);
    if (c == '}') --depth_;
    if (object_.size() > kMaxObject) depth_ = 0;
    if (depth_ != 0) continue;
    if (const auto size = Parse(object_)) newest = size;
    object_.clear();
  }
  return newest;
}

}  // namespace gantry::cri::streaming
