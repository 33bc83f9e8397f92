#include "runtime/cdi/yaml.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <yaml-cpp/yaml.h>
#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry::cdi {
namespace {

using nlohmann::json;

class Converter {
 public:
  explicit Converter(const JsonLimits& limits) : limits_(limits) {}

  StatusOr<json> Convert(const YAML::Node& node, size_t depth) {
    if (++values_ > limits_.max_values) return Fail(node, "too many values");
    if (depth > limits_.max_depth) return Fail(node, "nested too deep");
    if (node.IsMap()) return Map(node, depth);
    if (node.IsSequence()) return Sequence(node, depth);
    return node.IsScalar() ? Scalar(node) : json(nullptr);
  }

 private:
  static Status Fail(const YAML::Node& node, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("line ", node.Mark().line + 1, ", column ",
                                                   node.Mark().column + 1, ": ", problem));
  }

  StatusOr<json> Map(const YAML::Node& node, size_t depth) {
    json object = json::object();
    for (const auto& member : node) {
      if (!member.first.IsScalar()) return Fail(member.first, "a key must be text");
      const std::string& key = member.first.Scalar();
      if (object.contains(key))
        return Fail(member.first, absl::StrCat("\"", key, "\" occurs twice"));
      ASSIGN_OR_RETURN(object[key], Convert(member.second, depth + 1));
    }
    return object;
  }

  StatusOr<json> Sequence(const YAML::Node& node, size_t depth) {
    json array = json::array();
    for (const auto& element : node) {
      ASSIGN_OR_RETURN(json value, Convert(element, depth + 1));
      array.push_back(std::move(value));
    }
    return array;
  }

  // yaml-cpp gives quoted scalars the tag "!".
  static StatusOr<json> Scalar(const YAML::Node& node) {
    const std::string& text = node.Scalar();
    if (node.Tag() != "?") return json(text);
    if (text == "null" || text == "~" || text.empty()) return json(nullptr);
    if (text == "true" || text == "false") return json(text == "true");
    if (int64_t number = 0; absl::SimpleAtoi(text, &number)) return json(number);
    return json(text);
  }

  const JsonLimits& limits_;
  size_t values_ = 0;
};

}  // namespace

StatusOr<json> ParseYaml(absl::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    return absl::InvalidArgumentError(absl::StrCat("larger than ", limits.max_bytes, " bytes"));
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() != 1)
      return absl::InvalidArgumentError(
          absl::StrCat(documents.size(), " YAML documents, expected one"));
    return Converter(limits).Convert(documents[0], 1);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ", column ",
                                                   error.mark.column + 1, ": ", error.msg));
  }
}

}  // namespace gantry::cdi
