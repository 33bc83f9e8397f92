#include "runtime/cdi/yaml.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>
#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry::cdi {
namespace {

using nlohmann::json;

std::string At(const YAML::Mark& mark) {
  return absl::StrCat("line ", mark.line + 1, ", column ", mark.column + 1, ": ");
}

// What a value takes, with all that is in it.
struct Cost {
  size_t values = 1, text = 0, height = 1;
};

// Builds the document out of the parser's events, for yaml-cpp's own nodes know no bound: an alias
// is paid for where it is used, before anything is copied. After the first error (a handler cannot
// end the parser) events are ignored.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}
  StatusOr<json> Take() && {
    RETURN_IF_ERROR(status_);
    return std::move(root_);
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Leaf({mark, anchor, nullptr, {}}, nullptr);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Leaf({mark, anchor, Scalar(tag, text), {.text = text.size()}}, &text);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (!status_.ok()) return;
    const auto named = named_.find(anchor);
    if (named == named_.end()) return Fail(mark, "an alias inside what it names");
    const auto& [value, cost] = named->second;
    if (!Pay(mark, cost)) return;
    Place({mark, YAML::NullAnchor, value, cost},
          value.is_string() ? value.get_ptr<const std::string*>() : nullptr);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open({mark, anchor, json::array(), {}});
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open({mark, anchor, json::object(), {}});
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapEnd() override { Close(); }

 private:
  struct Value {
    YAML::Mark mark;
    YAML::anchor_t anchor;
    json value;
    Cost cost;
  };
  struct Collection {
    Value own;
    json* slot = nullptr;  // of an object: where the value of the last key goes
  };

  void Fail(const YAML::Mark& mark, absl::string_view problem) {
    status_ = absl::InvalidArgumentError(absl::StrCat(At(mark), problem));
  }

  // False, and an error: it would go over a limit here.
  bool Pay(const YAML::Mark& mark, const Cost& cost) {
    values_ += cost.values;
    text_ += cost.text;
    if (values_ > limits_.max_values) Fail(mark, "too many values");
    if (text_ > limits_.max_bytes) Fail(mark, "too much text");
    if (open_.size() + cost.height > limits_.max_depth) Fail(mark, "nested too deep");
    return status_.ok();
  }

  void Leaf(Value value, const std::string* key) {
    if (!status_.ok() || !Pay(value.mark, value.cost) || !Name(value)) return;
    Place(std::move(value), key);
  }

  void Open(Value value) {
    if (!status_.ok() || !Pay(value.mark, value.cost)) return;
    if (AtKey()) return Fail(value.mark, "a key must be text");
    open_.push_back({std::move(value)});
  }

  void Close() {
    if (!status_.ok()) return;
    Value value = std::move(open_.back().own);
    open_.pop_back();
    if (Name(value)) Place(std::move(value), nullptr);
  }

  // Keeps a copy for aliases, which is paid for like the value itself.
  bool Name(const Value& value) {
    if (value.anchor == YAML::NullAnchor) return true;
    if (!Pay(value.mark, value.cost)) return false;
    named_.emplace(value.anchor, std::pair(value.value, value.cost));
    return true;
  }

  [[nodiscard]] bool AtKey() const {
    return !open_.empty() && open_.back().own.value.is_object() && open_.back().slot == nullptr;
  }

  // Into the innermost collection. `key`: the text, when it may be a key.
  void Place(Value value, const std::string* key) {
    if (open_.empty()) {
      root_ = std::move(value.value);
      return;
    }
    Collection& parent = open_.back();
    Cost& cost = parent.own.cost;
    cost.text += value.cost.text;
    cost.values += value.cost.values;  // a key counts too
    if (AtKey()) {
      if (key == nullptr) return Fail(value.mark, "a key must be text");
      const auto [slot, added] = parent.own.value.emplace(*key, nullptr);
      if (!added) return Fail(value.mark, absl::StrCat("\"", *key, "\" occurs twice"));
      parent.slot = &*slot;
      return;
    }
    cost.height = std::max(cost.height, value.cost.height + 1);
    if (parent.slot != nullptr)
      *std::exchange(parent.slot, nullptr) = std::move(value.value);
    else
      parent.own.value.push_back(std::move(value.value));
  }

  // yaml-cpp gives quoted scalars the tag "!".
  static json Scalar(const std::string& tag, const std::string& text) {
    if (tag != "?") return text;
    if (text == "null" || text == "~" || text.empty()) return nullptr;
    if (text == "true" || text == "false") return text == "true";
    if (int64_t number = 0; absl::SimpleAtoi(text, &number)) return number;
    return text;
  }

  const JsonLimits& limits_;
  Status status_;
  json root_;
  size_t values_ = 0, text_ = 0;
  std::vector<Collection> open_;
  std::map<YAML::anchor_t, std::pair<json, Cost>> named_;
};

}  // namespace

StatusOr<json> ParseYaml(absl::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    return absl::InvalidArgumentError(absl::StrCat("larger than ", limits.max_bytes, " bytes"));
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder document(limits), another(limits);
    if (!parser.HandleNextDocument(document))
      return absl::InvalidArgumentError("no YAML document, expected one");
    if (parser.HandleNextDocument(another))
      return absl::InvalidArgumentError("more than one YAML document, expected one");
    return std::move(document).Take();
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(At(error.mark), error.msg));
  }
}

}  // namespace gantry::cdi
