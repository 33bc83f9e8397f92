// Is this what our writer writes? Asked once about each meta file before its first mount, because a
// process that nobody trusts made it and the kernel's EROFS is to meet nothing unusual.
//
// Ask when the writing process is gone and its descriptors with it: what is read here must be what
// is mounted. Time: two passes over meta. Memory: at most a bit for each 32 bytes of meta (16 MiB
// for the largest), about 16 bytes for each directory and hard link, and 1 MiB.
#pragma once

#include <cstdint>

#include "runtime/base/status.h"

namespace gantry::images {

struct ErofsSummary {
  uint64_t inodes = 0;
  uint64_t data_bytes = 0;  // length of data, holes included
  uint64_t meta_bytes = 0;  // length of meta, footer included
  uint64_t whiteouts = 0, opaque = 0;
};

// What it holds to: superblock, footer and checksums; meta of at most 4 GiB, 5,000,001 inodes and
// 10,000,001 names; every field of every inode that has a name; names sorted, unique and legal; "."
// and ".." right; one name for a directory and as many as it says for a file; nothing overlaps in
// meta; content inside data; attributes that the rules of a layer keep, and the opaque mark on
// directories alone. kDataLoss says what is wrong and where. `meta` is borrowed; `data_bytes` is
// the length of data.
StatusOr<ErofsSummary> VerifyErofs(int meta, uint64_t data_bytes);

// Reads all of data and meta and compares them with the checksums in the footer. kDataLoss names
// the first MiB of data that is not as it was written.
Status VerifyErofsData(int data, int meta);

}  // namespace gantry::images
