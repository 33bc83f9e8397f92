// Where the files of an image archive lie: an index of the outer tar, made without reading what the
// files hold.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

struct ArchiveFile {
  uint64_t offset = 0;  // of its first byte
  uint64_t size = 0;
};

class ArchiveIndex {
 public:
  // Reads the tar `archive` (readable at any place) from its start. kInvalidArgument: no good tar,
  // or a sparse file in it.
  static StatusOr<ArchiveIndex> Read(int archive);

  // A file by its cleaned name; symbolic and hard links inside the archive are followed.
  // kInvalidArgument when missing.
  StatusOr<ArchiveFile> Find(const std::string& name) const;
  bool Has(const std::string& name) const { return Find(name).ok(); }

 private:
  std::map<std::string, ArchiveFile> files_;
  std::map<std::string, std::string> links_;
};

// Gives the bytes of `file` to `sink` in pieces. kDataLoss when the archive is shorter.
Status ReadArchiveFile(int archive, const ArchiveFile& file,
                       const std::function<Status(std::span<const char>)>& sink);

// True when `archive` is a regular file that starts like a plain tar: it can be used as it is.
bool IsPlainFile(int archive);

// Copies what `archive` still has into the empty file `spool`, and inflates it when it is
// compressed as a whole.
Status SpoolArchive(int archive, int spool);

}  // namespace gantry::images
