#include "imageservice/reference.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kMaxTag = 128;
constexpr size_t kMaxReference = 1024;

bool IsLowerHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsAlphanumeric(char c) { return IsLowerOrDigit(c) || IsUpper(c); }

bool IsHexOf(absl::string_view text, size_t length) {
  return text.size() == length && std::all_of(text.begin(), text.end(), IsLowerHex);
}

// The text for an error: short, and without bytes that could forge a log line.
std::string Printable(absl::string_view text) {
  std::string shown(text.substr(0, 200));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e || c == '"') c = '?';
  }
  return text.size() > shown.size() ? absl::StrCat(shown, "...") : shown;
}

Status Invalid(absl::string_view text, absl::string_view reason) {
  return absl::InvalidArgumentError(
      absl::StrCat("invalid image reference \"", Printable(text), "\": ", reason));
}

// [a-z0-9]+ joined by one '.', one or two '_', or any number of '-'.
bool IsPathComponent(absl::string_view text) {
  if (text.empty() || !IsLowerOrDigit(text.front()) || !IsLowerOrDigit(text.back())) return false;
  for (size_t i = 0; i < text.size();) {
    if (IsLowerOrDigit(text[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && text[end] == text[i]) ++end;
    const size_t run = end - i;
    const bool good =
        (text[i] == '.' && run == 1) || (text[i] == '_' && run <= 2) || text[i] == '-';
    if (!good || !IsLowerOrDigit(text[end])) return false;
    i = end;
  }
  return true;
}

bool IsPort(absl::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsDomainLabel(absl::string_view text) {
  return !text.empty() && text.size() <= 63 && IsAlphanumeric(text.front()) &&
         IsAlphanumeric(text.back()) && std::all_of(text.begin(), text.end(), [](char c) {
           return IsAlphanumeric(c) || c == '-';
         });
}

// host, host:port, [IPv6] or [IPv6]:port.
bool IsRegistry(absl::string_view text) {
  if (absl::StartsWith(text, "[")) {
    const size_t end = text.find(']');
    if (end == absl::string_view::npos || end < 3) return false;
    for (const char c : text.substr(1, end - 1)) {
      if (!std::isxdigit(static_cast<unsigned char>(c)) && c != ':') return false;
    }
    const absl::string_view rest = text.substr(end + 1);
    return rest.empty() || (rest[0] == ':' && IsPort(rest.substr(1)));
  }
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (text.find(':') != absl::string_view::npos && !IsPort(parts.second)) return false;
  for (const absl::string_view label : absl::StrSplit(parts.first, '.')) {
    if (!IsDomainLabel(label)) return false;
  }
  return true;
}

// The first component names a registry when it could not be a repository of docker.io.
bool LooksLikeRegistry(absl::string_view component) {
  return component == "localhost" || component.find_first_of(".:[") != absl::string_view::npos ||
         std::any_of(component.begin(), component.end(), IsUpper);
}

bool IsTag(absl::string_view text) {
  if (text.empty() || text.size() > kMaxTag || text[0] == '.' || text[0] == '-') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsAlphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

// Splits `name` (without tag and digest) into registry and repository, with docker.io's special
// rules.
void Normalise(absl::string_view name, Reference& reference) {
  const size_t slash = name.find('/');
  if (slash == absl::string_view::npos || !LooksLikeRegistry(name.substr(0, slash))) {
    reference.registry = "docker.io";
    reference.repository = std::string(name);
  } else {
    reference.registry = std::string(name.substr(0, slash));
    reference.repository = std::string(name.substr(slash + 1));
  }
  if (reference.registry == "index.docker.io") reference.registry = "docker.io";
  if (reference.registry == "docker.io" && !absl::StrContains(reference.repository, '/')) {
    reference.repository = absl::StrCat("library/", reference.repository);
  }
}

Status CheckName(absl::string_view text, const Reference& reference) {
  if (!IsRegistry(reference.registry)) {
    return Invalid(text,
                   absl::StrCat("\"", Printable(reference.registry), "\" is no registry host"));
  }
  for (const absl::string_view component : absl::StrSplit(reference.repository, '/')) {
    if (IsPathComponent(component)) continue;
    return Invalid(text,
                   absl::StrCat("repository component \"", Printable(component),
                                "\" must be lower-case letters and digits, joined by . _ __ or -"));
  }
  if (reference.Name().size() > kMaxName)
    return Invalid(text, "the name is longer than 255 characters");
  return absl::OkStatus();
}

}  // namespace

bool IsDigest(absl::string_view text) {
  if (absl::StartsWith(text, "sha256:")) return IsHexOf(text.substr(7), 64);
  if (absl::StartsWith(text, "sha512:")) return IsHexOf(text.substr(7), 128);
  return false;
}

Status CheckDigest(absl::string_view text) {
  if (IsDigest(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Printable(text),
                   "\" is no digest (sha256 or sha512 and lower-case hexadecimal digits)"));
}

std::string DigestFileName(absl::string_view digest) {
  GANTRY_CHECK(IsDigest(digest));
  return absl::StrReplaceAll(digest, {{":", "-"}});
}

std::string LayoutBlobPath(absl::string_view digest) {
  GANTRY_CHECK(IsDigest(digest));
  return absl::StrCat("blobs/", absl::StrReplaceAll(digest, {{":", "/"}}));
}

std::string Reference::Name() const { return absl::StrCat(registry, "/", repository); }

std::string Reference::Tagged() const { return tag.empty() ? "" : absl::StrCat(Name(), ":", tag); }

std::string Reference::Digested() const {
  return digest.empty() ? "" : absl::StrCat(Name(), "@", digest);
}

std::string Reference::ToString() const {
  return absl::StrCat(Name(), tag.empty() ? "" : ":", tag, digest.empty() ? "" : "@", digest);
}

StatusOr<Reference> ParseReference(absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("invalid image reference: it is empty");
  if (text.size() > kMaxReference) return Invalid(text, "longer than 1024 characters");
  Reference reference;
  absl::string_view name = text;
  if (const size_t at = name.find('@'); at != absl::string_view::npos) {
    reference.digest = std::string(name.substr(at + 1));
    name = name.substr(0, at);
    if (const Status status = CheckDigest(reference.digest); !status.ok()) {
      return Invalid(text, status.message());
    }
  }
  // A colon after the last slash starts the tag; one before it belongs to the registry's port.
  const size_t slash = name.rfind('/');
  const size_t colon = name.rfind(':');
  if (colon != absl::string_view::npos && (slash == absl::string_view::npos || colon > slash)) {
    reference.tag = std::string(name.substr(colon + 1));
    name = name.substr(0, colon);
    if (!IsTag(reference.tag)) {
      return Invalid(text, absl::StrCat("\"", Printable(reference.tag), "\" is no tag"));
    }
  }
  if (name.empty()) return Invalid(text, "the name is empty");
  if (IsHexOf(name, 64)) return Invalid(text, "64 hexadecimal digits are an image ID, not a name");
  Normalise(name, reference);
  RETURN_IF_ERROR(CheckName(text, reference));
  if (reference.tag.empty() && reference.digest.empty()) reference.tag = "latest";
  return reference;
}

}  // namespace gantry::images
