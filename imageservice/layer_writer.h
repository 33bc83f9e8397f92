// Writes a layer's entries as a directory tree that overlayfs can stack (the plain directory form
// of a layer).
//
// The rules are those of OCI image-spec layer.md, with hostile archives in mind: nothing outside
// the root is touched whatever the entries say; a later entry replaces an earlier one of its name
// (directories merge); a hard link's target is an earlier entry of the same layer; whiteouts become
// overlayfs whiteouts and never hide entries of their own layer; opaque directories are named in
// the result, since only a privileged process can mark them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "imageservice/content_place.h"
#include "imageservice/layer_path.h"
#include "imageservice/layer_reader.h"
#include "imageservice/layer_rules.h"
#include "imageservice/layer_tree.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// One thread; needs CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD and SETFCAP. An error leaves a
// partial tree for the caller to delete. kInvalidArgument: the entry is against the rules;
// kResourceExhausted: disk full or over a limit.
class LayerWriter : public LayerConsumer {
 public:
  // `root`: an empty directory that nobody else can reach; stays the caller's, who keeps it open.
  LayerWriter(int root, const LayerWriterLimits& limits);

  Status OnEntry(const TarEntry& entry) override;
  Status OnData(uint64_t offset, absl::string_view bytes) override;
  Status OnEntryEnd() override;
  std::optional<ContentPlace> Place() const override;

  struct Result {
    std::vector<std::string> opaque;  // paths below the root; "" is the root itself
    bool content_replaced = false;    // a place that Place named has other content now, or none
  };
  // Call once after the last entry.
  StatusOr<Result> Finish();

 private:
  using Directory = std::shared_ptr<const LayerDirectory>;

  Status WriteWhiteout(const LayerDirectory& parent, const std::string& name);
  Status WriteDirectory(const LayerDirectory& parent, const std::string& name,
                        const TarEntry& entry);
  Status WriteHardLink(const LayerDirectory& parent, const std::string& name,
                       const TarEntry& entry);
  Status WriteNode(const LayerDirectory& parent, const std::string& name, const TarEntry& entry);
  Status WriteSymlink(const LayerDirectory& parent, const std::string& name, const TarEntry& entry);
  Status OpenFile(const LayerDirectory& parent, const std::string& name, const TarEntry& entry);

  const int root_;
  const LayerWriterLimits limits_;
  LayerTree tree_;
  TarEntry entry_;  // of the file being written
  UniqueFd file_;
  std::string file_path_;    // below the root
  uint64_t written_to_ = 0;  // end of the last data
  uint64_t flushed_to_ = 0;
  uint64_t since_check_ = 0;
};

}  // namespace gantry::images
