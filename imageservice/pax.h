// The records of a PAX extended header (POSIX.1-2017 pax, "pax Extended Header") and GNU's sparse
// records among them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/tar_header.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct TarTime {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};

// GNU.sparse.*: formats 0.0 and 0.1 carry the map here, 1.0 at the head of the file's data.
struct PaxSparse {
  bool present = false;
  uint64_t major = 0, minor = 0;
  std::string name;
  std::optional<uint64_t> real_size;  // GNU.sparse.realsize (1.0) or GNU.sparse.size (0.x)
  std::optional<uint64_t> count;      // GNU.sparse.numblocks
  std::vector<uint64_t> numbers;      // offset, length, offset, length …
  bool map_in_data() const { return major == 1; }
};

struct PaxRecords {
  std::optional<std::string> path, link_path;
  std::optional<uint64_t> size, uid, gid;
  std::optional<TarTime> mtime;
  std::vector<std::pair<std::string, std::string>>
      xattrs;  // SCHILY.xattr.<name>, in order, last of a name wins
  PaxSparse sparse;
};

// Parses the body of an 'x' header. Unknown keys are skipped, an empty value takes a record back, a
// malformed record is kInvalidArgument. At most `max_sparse` numbers of a sparse map and
// `max_xattrs` attributes.
struct PaxLimits {
  size_t max_sparse = 131072;
  size_t max_xattrs = 128;
  size_t max_xattr_bytes = 128 << 10;
};
StatusOr<PaxRecords> ParsePax(absl::string_view body, const PaxLimits& limits);

// Checks the body of a 'g' header. Its records are not applied, as with the runtimes in use, so
// that a layer gives the same tree everywhere; those on which readers would disagree about what
// follows (path, linkpath, size, GNU.sparse.*) are refused.
Status CheckGlobalPax(absl::string_view body);

}  // namespace gantry::images
