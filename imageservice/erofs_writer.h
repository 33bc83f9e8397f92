// Writes a layer's entries as EROFS: one file of contents and one file of everything else, by the
// rules that LayerWriter has for directories. README.md draws both files.
//
// Nothing is ever looked up in a file system: no name, link or device of an archive can touch the
// machine. Inodes of files go out as they come; kept in memory are names, and what directories are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "imageservice/content_place.h"
#include "imageservice/erofs_file.h"
#include "imageservice/erofs_inode.h"
#include "imageservice/erofs_tree.h"
#include "imageservice/layer_path.h"
#include "imageservice/layer_reader.h"
#include "imageservice/layer_rules.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Used by one thread; needs no privilege, and of system calls ftruncate, fstatfs and BlockWriter's.
// An error leaves useless files. kInvalidArgument: the entry is against the rules;
// kResourceExhausted: disk full or over a limit.
class ErofsWriter : public LayerConsumer {
 public:
  // `data`, `meta`: empty files open for writing; they stay the caller's, who keeps them open.
  ErofsWriter(int data, int meta, const LayerWriterLimits& limits);

  Status OnEntry(const TarEntry& entry) override;
  Status OnData(uint64_t offset, absl::string_view bytes) override;
  Status OnEntryEnd() override;

  // In `data`; contents of small files are elsewhere.
  std::optional<ContentPlace> Place() const override;

  struct Result {
    uint64_t data_bytes = 0;  // length of data, holes included
    uint64_t meta_bytes = 0;  // length of meta, footer included
    uint64_t inodes = 0;
  };
  // Call once after the last entry: directories, superblock and footer. The files are not synced.
  StatusOr<Result> Finish();

 private:
  enum class Open { kNone, kInMemory, kInData };

  Status WriteWhiteout(const std::string& name);
  Status WriteDirectory(ErofsTree::Id directory, const TarEntry& entry);
  Status WriteHardLink(const std::string& name, const TarEntry& entry);
  Status WriteSymlink(const std::string& name, const TarEntry& entry);
  Status WriteNode(const std::string& name, const TarEntry& entry);
  Status OpenFile(const std::string& name, const TarEntry& entry);
  Status PatchLinks();
  Status WriteSuperBlock();
  StatusOr<uint64_t> WriteFooter();

  FreeSpace space_;
  ErofsDataFile data_;
  ErofsMetaFile meta_;
  ErofsTree tree_;

  ErofsTree::Id parent_ = ErofsTree::kRoot;  // of the entry
  Open open_ = Open::kNone;
  uint64_t place_ = 0;  // in `data`, of the file being written
  std::string name_;    // of the file being written
  ErofsNewInode inode_;
};

}  // namespace gantry::images
