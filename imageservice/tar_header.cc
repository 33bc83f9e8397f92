#include "imageservice/tar_header.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

struct Field {
  size_t offset, length;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kMtime{136, 12}, kChecksum{148, 8}, kLink{157, 100}, kMagic{257, 8}, kMajor{329, 8},
    kMinor{337, 8}, kPrefix{345, 155}, kStarPrefix{345, 131}, kStarTrailer{508, 4};
constexpr size_t kTypeOffset = 156;
// GNU's block for type 'S': 4 pairs of 12-byte numbers, a flag, the real size.
constexpr size_t kSparseOffset = 386, kSparseCount = 4, kSparseFlag = 482;
constexpr Field kRealSize{483, 12};
constexpr size_t kMoreCount = 21, kMoreFlag = 504;  // a continuation block

absl::string_view Raw(absl::string_view block, Field field) {
  return block.substr(field.offset, field.length);
}

absl::string_view Text(absl::string_view block, Field field) {
  absl::string_view raw = Raw(block, field);
  return raw.substr(0, std::min(raw.size(), raw.find('\0')));
}

StatusOr<int64_t> Base256(absl::string_view field) {
  const bool negative = (static_cast<unsigned char>(field[0]) & 0x40) != 0;
  // The first byte gives 6 bits after the marker and the sign; a number that needs more than 63
  // bits is refused.
  __int128 value = negative ? -1 : 0;
  for (size_t i = 0; i < field.size(); ++i) {
    int byte = static_cast<unsigned char>(field[i]);
    if (i == 0) byte = negative ? (byte | 0x80) : (byte & 0x7f);
    value = value * 256 + byte;
    if (negative && i == 0) value = byte - 256;
    if (value > INT64_MAX || value < INT64_MIN) {
      return absl::InvalidArgumentError("number over 63 bits");
    }
  }
  return static_cast<int64_t>(value);
}

StatusOr<uint64_t> Unsigned(absl::string_view block, Field field, absl::string_view what) {
  ASSIGN_OR_RETURN_CONTEXT(int64_t value, DecodeTarNumber(Raw(block, field)), what);
  if (value < 0) return absl::InvalidArgumentError(absl::StrCat(what, " ", value, " is negative"));
  return static_cast<uint64_t>(value);
}

Status VerifyChecksum(absl::string_view block) {
  ASSIGN_OR_RETURN_CONTEXT(int64_t stored, DecodeTarNumber(Raw(block, kChecksum)), "checksum");
  int64_t unsigned_sum = 0, signed_sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) {
    const bool inside = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    const char c = inside ? ' ' : block[i];
    unsigned_sum += static_cast<unsigned char>(c);
    signed_sum += static_cast<signed char>(c);
  }
  if (stored != unsigned_sum && stored != signed_sum) {
    return absl::InvalidArgumentError(
        absl::StrCat("header checksum is ", stored, ", not ", unsigned_sum));
  }
  return absl::OkStatus();
}

Status AppendSegments(absl::string_view pairs, size_t count, std::vector<TarSegment>* map) {
  for (size_t i = 0; i < count; ++i) {
    absl::string_view pair = pairs.substr(i * 24, 24);
    if (pair[0] == '\0' && pair[12] == '\0') break;  // the first unused pair ends the list
    ASSIGN_OR_RETURN(uint64_t offset, Unsigned(pair, {0, 12}, "sparse offset"));
    ASSIGN_OR_RETURN(uint64_t length, Unsigned(pair, {12, 12}, "sparse length"));
    map->push_back({offset, length});
  }
  return absl::OkStatus();
}

std::string FullName(absl::string_view block) {
  std::string name(Text(block, kName));
  if (Raw(block, kMagic).substr(0, 6) != absl::string_view("ustar\0", 6)) return name;
  const bool star = Raw(block, kStarTrailer) == absl::string_view("tar\0", 4);
  absl::string_view prefix = Text(block, star ? kStarPrefix : kPrefix);
  return prefix.empty() ? name : absl::StrCat(prefix, "/", name);
}

}  // namespace

bool IsZeroBlock(absl::string_view block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

StatusOr<int64_t> DecodeTarNumber(absl::string_view field) {
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80) != 0) return Base256(field);
  size_t i = 0;
  while (i < field.size() && field[i] == ' ') ++i;
  const size_t first = i;
  int64_t value = 0;
  for (; i < field.size() && field[i] != ' ' && field[i] != '\0'; ++i) {
    if (field[i] < '0' || field[i] > '7') return absl::InvalidArgumentError("not an octal number");
    value = value * 8 + (field[i] - '0');  // 12 digits at most: 36 bits
  }
  // Go and GNU tar look for digits behind a NUL that comes first, others do not; behind a blank GNU
  // tar stops, Go and Python refuse.
  const absl::string_view rest =
      i == first ? field.substr(i) : field.substr(i, field.substr(i).find('\0'));
  if (rest.find_first_not_of(absl::string_view(" \0", 2)) != absl::string_view::npos) {
    return absl::InvalidArgumentError("not an octal number: it has a blank in it");
  }
  return value;
}

StatusOr<TarHeader> DecodeTarHeader(absl::string_view block) {
  GANTRY_CHECK(block.size() == kTarBlock);
  RETURN_IF_ERROR(VerifyChecksum(block));
  TarHeader header;
  header.type = block[kTypeOffset];
  header.name = FullName(block);
  header.link_target = std::string(Text(block, kLink));
  ASSIGN_OR_RETURN(uint64_t mode, Unsigned(block, kMode, "mode"));
  header.mode = static_cast<uint32_t>(mode & 07777);  // old archives keep the type bits here
  ASSIGN_OR_RETURN_CONTEXT(header.uid, DecodeTarNumber(Raw(block, kUid)), "uid");
  ASSIGN_OR_RETURN_CONTEXT(header.gid, DecodeTarNumber(Raw(block, kGid)), "gid");
  ASSIGN_OR_RETURN(header.size, Unsigned(block, kSize, "size"));
  ASSIGN_OR_RETURN_CONTEXT(header.mtime, DecodeTarNumber(Raw(block, kMtime)), "mtime");
  if (header.type == '3' || header.type == '4') {
    ASSIGN_OR_RETURN(header.dev_major, Unsigned(block, kMajor, "device major"));
    ASSIGN_OR_RETURN(header.dev_minor, Unsigned(block, kMinor, "device minor"));
  }
  if (header.type == 'S') {
    RETURN_IF_ERROR(AppendSegments(block.substr(kSparseOffset), kSparseCount, &header.sparse));
    header.sparse_continues = block[kSparseFlag] != '\0';
    ASSIGN_OR_RETURN(header.real_size, Unsigned(block, kRealSize, "real size"));
  }
  return header;
}

StatusOr<bool> DecodeSparseContinuation(absl::string_view block, std::vector<TarSegment>* map) {
  GANTRY_CHECK(block.size() == kTarBlock);
  RETURN_IF_ERROR(AppendSegments(block, kMoreCount, map));
  return block[kMoreFlag] != '\0';
}

}  // namespace gantry::images
