// Writes JSON as it goes, to a string: objects, arrays and plain values. Bytes that are no UTF-8
// are written as \u00XX, one by one, so that any file name arrives.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gantry::probe {

class JsonWriter {
 public:
  // A key comes before each value inside an object, and nowhere else.
  JsonWriter& Key(std::string_view key);
  JsonWriter& String(std::string_view value);
  JsonWriter& Number(int64_t value);
  JsonWriter& Bool(bool value);
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();

  const std::string& text() const { return text_; }

 private:
  void Separate();
  void Quote(std::string_view value);

  std::string text_;
  bool needs_comma_ = false;
};

}  // namespace gantry::probe
