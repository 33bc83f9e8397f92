// Strict JSON for input that we do not trust: specs, profiles, manifests. nlohmann::json does the
// lexing; its exceptions stay inside json.cc.
//
//   ASSIGN_OR_RETURN(nlohmann::json document, ParseJson(text));
//   Status status;
//   JsonReader root(document, status);
//   root.Read("ociVersion", version);                                  // absent or null: `version`
//   keeps its value root.ForEach("mounts", [&](JsonReader mount) { mount.Read("source", source);
//   }); RETURN_IF_ERROR(status);                                           // "mounts[3].source:
//   must be a string, not a number"
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

#include "runtime/base/status.h"

namespace gantry {

struct JsonLimits {
  size_t max_bytes = 4 << 20;
  size_t max_depth = 64;
  size_t max_values =
      500'000;  // bounds the memory: a value takes about 16 bytes and one byte of text makes one
};

// Parses one complete document. kInvalidArgument, naming the path or the byte: malformed text, text
// after the document, a key that occurs twice in an object (two readers could disagree on it), not
// UTF-8, or over a limit. Users of the result include <nlohmann/json.hpp> with JSON_NO_IO defined,
// or stay with JsonReader.
StatusOr<nlohmann::json> ParseJson(absl::string_view text, const JsonLimits& limits = {});

// Compact text, or indented by two spaces. Bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const nlohmann::json& value, bool indented = false);

// A cursor in a parsed document that knows its path. Reads go to plain values; the first error
// (kInvalidArgument, with the path) is kept in the status given at the start, and later reads do
// nothing. Members that are absent or null leave the target as it was; keys that nobody reads are
// ignored. The document and the status must outlive the cursor.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& value, Status& status, std::string path = "");

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool Has(absl::string_view key) const;  // present and not null

  void Read(absl::string_view key, std::string& out) const;
  void Read(absl::string_view key, bool& out) const;
  // Integers: a fraction, or a value outside the type's range, is an error.
  void Read(absl::string_view key, int32_t& out) const;
  void Read(absl::string_view key, uint32_t& out) const;
  void Read(absl::string_view key, int64_t& out) const;
  void Read(absl::string_view key, uint64_t& out) const;
  void Read(absl::string_view key, std::vector<std::string>& out) const;
  void Read(absl::string_view key, std::vector<uint32_t>& out) const;
  void Read(absl::string_view key, std::map<std::string, std::string>& out) const;
  template <typename T>
  void Read(absl::string_view key, std::optional<T>& out) const {
    if (!Has(key)) return;
    T value{};
    Read(key, value);
    out = std::move(value);
  }

  // Calls `visit` with the member, which must be an object.
  void Object(absl::string_view key, const std::function<void(JsonReader)>& visit) const;
  // Calls `visit` with each element of the array `key`; elements must be objects.
  void ForEach(absl::string_view key, const std::function<void(JsonReader)>& visit) const;
  // Calls `visit` with each member of the object `key`; members must be objects.
  void ForEachMember(absl::string_view key,
                     const std::function<void(const std::string&, JsonReader)>& visit) const;
  // Reports a value that has the right type but is not acceptable: "<path>.<key>: <problem>".
  void Fail(absl::string_view key, absl::string_view problem) const;

 private:
  const nlohmann::json* Find(absl::string_view key) const;
  template <typename T>
  void ReadInteger(absl::string_view key, T& out) const;
  void FailAt(absl::string_view path, absl::string_view problem) const;

  const nlohmann::json* value_;
  Status* status_;
  std::string path_;
};

}  // namespace gantry
