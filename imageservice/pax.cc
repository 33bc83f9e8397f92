#include "imageservice/pax.h"

#include <algorithm>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::images {
namespace {

using Record = std::pair<absl::string_view, absl::string_view>;

Status Malformed(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("malformed extended header: ", why));
}

// Digits only: no sign, no blanks (absl::SimpleAtoi takes both).
StatusOr<uint64_t> Decimal(absl::string_view text, absl::string_view what) {
  uint64_t value = 0;
  if (text.empty() || text.size() > 20) return Malformed(absl::StrCat(what, " is no number"));
  for (char c : text) {
    if (c < '0' || c > '9') return Malformed(absl::StrCat(what, " is no number"));
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (std::numeric_limits<uint64_t>::max() - digit) / 10) {
      return Malformed(absl::StrCat(what, " is too big"));
    }
    value = value * 10 + digit;
  }
  return value;
}

// "<length> <key>=<value>\n", where the length counts itself.
StatusOr<Record> TakeRecord(absl::string_view* rest) {
  const size_t space = rest->substr(0, 20).find(' ');
  if (space == absl::string_view::npos) return Malformed("a record without length");
  ASSIGN_OR_RETURN(uint64_t length, Decimal(rest->substr(0, space), "record length"));
  if (length <= space + 1 || length > rest->size())
    return Malformed("a record longer than the header");
  absl::string_view text = rest->substr(space + 1, static_cast<size_t>(length) - space - 1);
  if (!absl::ConsumeSuffix(&text, "\n"))
    return Malformed("a record that does not end in a newline");
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos || equals == 0) return Malformed("a record without key");
  rest->remove_prefix(static_cast<size_t>(length));
  return Record(text.substr(0, equals), text.substr(equals + 1));
}

StatusOr<TarTime> ParseTime(absl::string_view text) {
  const bool negative = absl::ConsumePrefix(&text, "-");
  const size_t dot = std::min(text.find('.'), text.size());
  ASSIGN_OR_RETURN(uint64_t seconds, Decimal(text.substr(0, dot), "mtime"));
  if (seconds > static_cast<uint64_t>(INT64_MAX) - 1) return Malformed("mtime is too big");
  TarTime time{static_cast<int64_t>(seconds), 0};
  uint32_t scale = 100'000'000;
  for (size_t i = dot + 1; i < text.size(); ++i) {
    if (text[i] < '0' || text[i] > '9') return Malformed("mtime is no number");
    time.nanoseconds += static_cast<uint32_t>(text[i] - '0') * scale;
    scale /= 10;
  }
  if (!negative) return time;
  if (time.nanoseconds == 0) return TarTime{-time.seconds, 0};
  return TarTime{-time.seconds - 1, 1'000'000'000 - time.nanoseconds};
}

Status ParseMap(absl::string_view text, const PaxLimits& limits, PaxSparse* sparse) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    ASSIGN_OR_RETURN(uint64_t number, Decimal(text.substr(0, comma), "sparse map"));
    if (sparse->numbers.size() >= limits.max_sparse) return Malformed("sparse map too long");
    sparse->numbers.push_back(number);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return absl::OkStatus();
}

Status ApplySparse(absl::string_view key, absl::string_view value, const PaxLimits& limits,
                   PaxSparse* sparse) {
  sparse->present = true;
  if (key == "name") {
    sparse->name = std::string(value);
    return absl::OkStatus();
  }
  if (key == "map") {
    sparse->numbers.clear();
    return ParseMap(value, limits, sparse);
  }
  ASSIGN_OR_RETURN(uint64_t number, Decimal(value, absl::StrCat("GNU.sparse.", key)));
  if (key == "major") sparse->major = number;
  if (key == "minor") sparse->minor = number;
  if (key == "realsize" || key == "size") sparse->real_size = number;
  if (key == "numblocks") sparse->count = number;
  if (key == "offset" || key == "numbytes") {
    // 0.0 repeats the pair; order is all that tells them apart.
    const bool even = sparse->numbers.size() % 2 == 0;
    if (even != (key == "offset")) return Malformed("sparse offsets and lengths out of order");
    if (sparse->numbers.size() >= limits.max_sparse) return Malformed("sparse map too long");
    sparse->numbers.push_back(number);
  }
  return absl::OkStatus();
}

Status ApplyXattr(absl::string_view name, absl::string_view value, const PaxLimits& limits,
                  PaxRecords* records) {
  if (name.empty() || name.size() > 255 || name.find('\0') != absl::string_view::npos) {
    return Malformed("a bad name of an extended attribute");
  }
  auto& xattrs = records->xattrs;
  auto same = std::find_if(xattrs.begin(), xattrs.end(),
                           [&](const auto& have) { return have.first == name; });
  if (same != xattrs.end()) xattrs.erase(same);
  xattrs.emplace_back(name, value);
  size_t bytes = 0;
  for (const auto& [key, data] : xattrs) bytes += key.size() + data.size();
  if (xattrs.size() > limits.max_xattrs || bytes > limits.max_xattr_bytes) {
    return absl::ResourceExhaustedError("too many extended attributes");
  }
  return absl::OkStatus();
}

Status SetNumber(absl::string_view key, absl::string_view value, std::optional<uint64_t>* number) {
  number->reset();
  if (value.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*number, Decimal(value, key));
  return absl::OkStatus();
}

Status SetText(absl::string_view key, absl::string_view value, std::optional<std::string>* text) {
  if (value.find('\0') != absl::string_view::npos)
    return Malformed(absl::StrCat(key, " has a NUL"));
  text->reset();
  if (!value.empty()) text->emplace(value);
  return absl::OkStatus();
}

Status Apply(const Record& record, const PaxLimits& limits, PaxRecords* records) {
  auto [key, value] = record;
  if (key == "path") return SetText(key, value, &records->path);
  if (key == "linkpath") return SetText(key, value, &records->link_path);
  if (key == "size") return SetNumber(key, value, &records->size);
  if (key == "uid") return SetNumber(key, value, &records->uid);
  if (key == "gid") return SetNumber(key, value, &records->gid);
  if (key == "mtime") {
    records->mtime.reset();
    if (value.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(records->mtime, ParseTime(value));
    return absl::OkStatus();
  }
  if (absl::ConsumePrefix(&key, "SCHILY.xattr.")) return ApplyXattr(key, value, limits, records);
  if (absl::ConsumePrefix(&key, "GNU.sparse.")) {
    return ApplySparse(key, value, limits, &records->sparse);
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<PaxRecords> ParsePax(absl::string_view body, const PaxLimits& limits) {
  PaxRecords records;
  while (!body.empty()) {
    ASSIGN_OR_RETURN(Record record, TakeRecord(&body));
    RETURN_IF_ERROR(Apply(record, limits, &records));
  }
  if (records.sparse.name.find('\0') != std::string::npos) return Malformed("a name with a NUL");
  return records;
}

Status CheckGlobalPax(absl::string_view body) {
  while (!body.empty()) {
    ASSIGN_OR_RETURN(Record record, TakeRecord(&body));
    const absl::string_view key = record.first;
    if (key == "path" || key == "linkpath" || key == "size" ||
        absl::StartsWith(key, "GNU.sparse.")) {
      return absl::InvalidArgumentError(
          absl::StrCat("global extended header sets ", absl::CHexEscape(key)));
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::images
