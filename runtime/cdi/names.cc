#include "runtime/cdi/names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::cdi {
namespace {

bool AllOf(absl::string_view text, absl::string_view others) {
  for (const char c : text)
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        others.find(c) == absl::string_view::npos)
      return false;
  return true;
}

Status Refuse(absl::string_view what, absl::string_view name) {
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no ", what));
}

// Letters, digits and `others`, beginning with a letter and ending with a letter or digit.
bool IsName(absl::string_view text, absl::string_view others) {
  return !text.empty() && absl::ascii_isalpha(static_cast<unsigned char>(text.front())) &&
         absl::ascii_isalnum(static_cast<unsigned char>(text.back())) && AllOf(text, others);
}

}  // namespace

Status CheckKind(absl::string_view kind) {
  const size_t slash = kind.find('/');
  if (slash == absl::string_view::npos) return Refuse("vendor/class", kind);
  if (!IsName(kind.substr(0, slash), "._-")) return Refuse("vendor", kind.substr(0, slash));
  if (!IsName(kind.substr(slash + 1), "._-")) return Refuse("class", kind.substr(slash + 1));
  return absl::OkStatus();
}

Status CheckDeviceName(absl::string_view name) {
  const bool good =
      !name.empty() && absl::ascii_isalnum(static_cast<unsigned char>(name.front())) &&
      absl::ascii_isalnum(static_cast<unsigned char>(name.back())) && AllOf(name, "._-:");
  return good ? absl::OkStatus() : Refuse("device name", name);
}

StatusOr<QualifiedName> ParseQualifiedName(absl::string_view name) {
  const size_t equals = name.find('=');
  if (equals == absl::string_view::npos)
    return absl::InvalidArgumentError(
        absl::StrCat("\"", name, "\" is no fully qualified device name (vendor/class=device)"));
  QualifiedName parts{std::string(name.substr(0, equals)), std::string(name.substr(equals + 1))};
  RETURN_IF_ERROR_CONTEXT(CheckKind(parts.kind), absl::StrCat("device \"", name, "\""));
  RETURN_IF_ERROR_CONTEXT(CheckDeviceName(parts.device), absl::StrCat("device \"", name, "\""));
  return parts;
}

}  // namespace gantry::cdi
