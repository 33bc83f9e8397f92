// One 512-byte header block of a tar archive, decoded: V7, POSIX ustar, star and GNU (POSIX.1-2017
// pax "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

inline constexpr size_t kTarBlock = 512;

// A run of stored bytes of a sparse file; what lies between two of them is a hole.
struct TarSegment {
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct TarHeader {
  char type = '0';   // the type flag as stored
  std::string name;  // with the prefix of ustar; bytes
  std::string link_target;
  uint32_t mode = 0;         // 07777 at most
  int64_t uid = 0, gid = 0;  // unchecked: -1 and numbers over 32 bits are the reader's to refuse
  uint64_t size = 0;
  int64_t mtime = 0;
  uint64_t dev_major = 0, dev_minor = 0;
  // Type 'S' only: the first entries of the sparse map, whether blocks with more follow, the file's
  // real size.
  std::vector<TarSegment> sparse;
  bool sparse_continues = false;
  uint64_t real_size = 0;
};

// True for a block of zeros, two of which end an archive.
bool IsZeroBlock(absl::string_view block);

// Decodes one block of 512 bytes. kInvalidArgument when the checksum (signed or unsigned sum) or a
// number is wrong.
StatusOr<TarHeader> DecodeTarHeader(absl::string_view block);

// Decodes a continuation block of an old GNU sparse map, appending to `map`; returns whether
// another one follows.
StatusOr<bool> DecodeSparseContinuation(absl::string_view block, std::vector<TarSegment>* map);

// A numeric field: octal digits ended by a space or NUL, or base-256 with the top bit set. An empty
// field is 0. Readers in use disagree about a number that begins with NUL or has a blank in it; it
// is kInvalidArgument. All of them take no notice of what follows a number and its NUL.
StatusOr<int64_t> DecodeTarNumber(absl::string_view field);

}  // namespace gantry::images
