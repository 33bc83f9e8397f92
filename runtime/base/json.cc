#include "runtime/base/json.h"

#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

// No streams: the static shim links this file.
#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry {
namespace {

using nlohmann::json;

std::string MemberPath(absl::string_view path, absl::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
}

std::string ElementPath(absl::string_view path, size_t index) {
  return absl::StrCat(path, "[", index, "]");
}

// Receives the parser's events and builds the document, refusing what nlohmann's own builder lets
// pass. Every callback returns false to stop; the reason is then in error().
class StrictBuilder {
 public:
  StrictBuilder(const JsonLimits& limits, json& root) : limits_(limits), root_(root) {}
  [[nodiscard]] const std::string& error() const { return error_; }

  bool null() { return Add(nullptr) != nullptr; }
  bool boolean(bool value) { return Add(value) != nullptr; }
  bool number_integer(int64_t value) { return Add(value) != nullptr; }
  bool number_unsigned(uint64_t value) { return Add(value) != nullptr; }
  bool number_float(double value, const std::string&) { return Add(value) != nullptr; }
  bool string(std::string& value) { return Add(std::move(value)) != nullptr; }
  bool binary(json::binary_t&) { return Fail("binary data"); }

  bool start_object(size_t) { return Open(json::object()); }
  bool start_array(size_t) { return Open(json::array()); }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }

  bool key(std::string& value) {
    auto [slot, added] = open_.back().value->get_ref<json::object_t&>().try_emplace(value, nullptr);
    open_.back().slot = &slot->second;
    open_.back().key = value;
    return added || Fail("the key occurs twice");
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& cause) {
    // The library's text starts with an id in brackets that says nothing to a user.
    absl::string_view text = cause.what();
    const size_t id_end = text.find("] ");
    if (id_end != absl::string_view::npos) text.remove_prefix(id_end + 2);
    return Fail(absl::StrCat("malformed at byte ", position, ": ", text));
  }

 private:
  struct OpenValue {
    json* value;
    json* slot = nullptr;  // of an object: where the value of `key` goes
    std::string key;
  };

  json* Add(json value) {
    if (++values_ > limits_.max_values) {
      Fail(absl::StrCat("more than ", limits_.max_values, " values"));
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    OpenValue& parent = open_.back();
    if (parent.value->is_array()) {
      // The elements before it are complete: that a growing array moves them is harmless.
      return &parent.value->get_ref<json::array_t&>().emplace_back(std::move(value));
    }
    *parent.slot = std::move(value);
    return parent.slot;
  }

  bool Open(json value) {
    if (open_.size() >= limits_.max_depth)
      return Fail(absl::StrCat("nested deeper than ", limits_.max_depth));
    json* added = Add(std::move(value));
    if (added == nullptr) return false;
    open_.push_back({.value = added, .key = {}});
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  bool Fail(absl::string_view problem) {
    std::string path;
    for (const OpenValue& level : open_) {
      if (level.value->is_object() && !level.key.empty()) path = MemberPath(path, level.key);
      if (level.value->is_array()) path = ElementPath(path, level.value->size());
    }
    error_ = path.empty() ? std::string(problem) : absl::StrCat(path, ": ", problem);
    return false;
  }

  const JsonLimits& limits_;
  json& root_;
  std::vector<OpenValue> open_;
  size_t values_ = 0;
  std::string error_;
};

}  // namespace

StatusOr<json> ParseJson(absl::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON of ", text.size(), " bytes is over the limit of ", limits.max_bytes));
  }
  json root;
  StrictBuilder builder(limits, root);
  if (!json::sax_parse(text.begin(), text.end(), &builder))
    return absl::InvalidArgumentError(absl::StrCat("JSON: ", builder.error()));
  return root;
}

std::string DumpJson(const json& value, bool indented) {
  return value.dump(indented ? 2 : -1, ' ', false, json::error_handler_t::replace);
}

JsonReader::JsonReader(const json& value, Status& status, std::string path)
    : value_(&value), status_(&status), path_(std::move(path)) {
  if (!value.is_object()) FailAt(path_, absl::StrCat("must be an object, not ", value.type_name()));
}

const json* JsonReader::Find(absl::string_view key) const {
  if (!status_->ok() || !value_->is_object()) return nullptr;
  const auto& object = value_->get_ref<const json::object_t&>();
  const auto found = object.find(std::string(key));
  return found == object.end() || found->second.is_null() ? nullptr : &found->second;
}

bool JsonReader::Has(absl::string_view key) const { return Find(key) != nullptr; }

void JsonReader::Fail(absl::string_view key, absl::string_view problem) const {
  FailAt(MemberPath(path_, key), problem);
}

void JsonReader::FailAt(absl::string_view path, absl::string_view problem) const {
  if (!status_->ok()) return;
  *status_ = absl::InvalidArgumentError(path.empty() ? absl::StrCat("document: ", problem)
                                                     : absl::StrCat(path, ": ", problem));
}

void JsonReader::Read(absl::string_view key, std::string& out) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (const auto* text = value->get_ptr<const std::string*>()) {
    out = *text;
  } else {
    Fail(key, absl::StrCat("must be a string, not ", value->type_name()));
  }
}

void JsonReader::Read(absl::string_view key, bool& out) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (const auto* flag = value->get_ptr<const bool*>()) {
    out = *flag;
  } else {
    Fail(key, absl::StrCat("must be true or false, not ", value->type_name()));
  }
}

namespace {

// What is wrong with `value` as an integer of type T; empty: nothing, and `out` is set.
template <typename T>
std::string ToInteger(const json& value, T& out) {
  const auto* positive = value.get_ptr<const uint64_t*>();
  const auto* any = value.get_ptr<const int64_t*>();
  if (positive == nullptr && any == nullptr)
    return absl::StrCat("must be an integer, not ",
                        value.is_number() ? "a fraction" : value.type_name());
  const bool fits = positive != nullptr ? std::in_range<T>(*positive) : std::in_range<T>(*any);
  if (!fits) return absl::StrCat(DumpJson(value), " is out of range");
  out = positive != nullptr ? static_cast<T>(*positive) : static_cast<T>(*any);
  return "";
}

}  // namespace

template <typename T>
void JsonReader::ReadInteger(absl::string_view key, T& out) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  const std::string problem = ToInteger(*value, out);
  if (!problem.empty()) Fail(key, problem);
}

void JsonReader::Read(absl::string_view key, int32_t& out) const { ReadInteger(key, out); }
void JsonReader::Read(absl::string_view key, uint32_t& out) const { ReadInteger(key, out); }
void JsonReader::Read(absl::string_view key, int64_t& out) const { ReadInteger(key, out); }
void JsonReader::Read(absl::string_view key, uint64_t& out) const { ReadInteger(key, out); }

void JsonReader::Read(absl::string_view key, std::vector<std::string>& out) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_array()) return Fail(key, "must be an array of strings");
  std::vector<std::string> strings;
  for (const json& element : *value) {
    const auto* text = element.get_ptr<const std::string*>();
    if (text == nullptr) {
      return FailAt(ElementPath(MemberPath(path_, key), strings.size()),
                    absl::StrCat("must be a string, not ", element.type_name()));
    }
    strings.push_back(*text);
  }
  out = std::move(strings);
}

void JsonReader::Read(absl::string_view key, std::vector<uint32_t>& out) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_array()) return Fail(key, "must be an array of integers");
  std::vector<uint32_t> numbers;
  for (const json& element : *value) {
    uint32_t number = 0;
    const std::string problem = ToInteger(element, number);
    if (!problem.empty())
      return FailAt(ElementPath(MemberPath(path_, key), numbers.size()), problem);
    numbers.push_back(number);
  }
  out = std::move(numbers);
}

void JsonReader::Read(absl::string_view key, std::map<std::string, std::string>& out) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_object()) return Fail(key, "must be an object with string values");
  std::map<std::string, std::string> strings;
  for (const auto& [name, member] : value->get_ref<const json::object_t&>()) {
    const auto* text = member.get_ptr<const std::string*>();
    if (text == nullptr) {
      return FailAt(MemberPath(MemberPath(path_, key), name),
                    absl::StrCat("must be a string, not ", member.type_name()));
    }
    strings.emplace(name, *text);
  }
  out = std::move(strings);
}

void JsonReader::Object(absl::string_view key, const std::function<void(JsonReader)>& visit) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  const JsonReader member(*value, *status_, MemberPath(path_, key));
  if (status_->ok()) visit(member);
}

void JsonReader::ForEach(absl::string_view key,
                         const std::function<void(JsonReader)>& visit) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_array())
    return Fail(key, absl::StrCat("must be an array, not ", value->type_name()));
  size_t index = 0;
  for (const json& element : *value) {
    const JsonReader member(element, *status_, ElementPath(MemberPath(path_, key), index++));
    if (!status_->ok()) return;
    visit(member);
  }
}

void JsonReader::ForEachMember(
    absl::string_view key, const std::function<void(const std::string&, JsonReader)>& visit) const {
  const json* value = Find(key);
  if (value == nullptr) return;
  if (!value->is_object())
    return Fail(key, absl::StrCat("must be an object, not ", value->type_name()));
  for (const auto& [name, element] : value->get_ref<const json::object_t&>()) {
    const JsonReader member(element, *status_, MemberPath(MemberPath(path_, key), name));
    if (!status_->ok()) return;
    visit(name, member);
  }
}

}  // namespace gantry
