// Layers on disk: <root>/layers/<algorithm>-<hex>/ with the tree in fs/ and what is known of it in
// layer.json.
//
// A layer is made below <root>/staging/ and renamed to its name once all of it is durable, so that
// a name means a complete layer, whenever the machine stops. Deleting goes the other way: renamed
// back into staging/, then deleted by a thread. Threads: every method from any thread; questions
// are answered from memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "imageservice/tree_walk.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct LayerInfo {
  std::string digest;   // of the blob: the key
  std::string diff_id;  // of its tar stream, as computed
  TreeUsage usage;      // bytes on disk and inodes of the tree
  int64_t made_at_ns = 0;
};

// Sets trusted.overlay.opaque on directories of a layer that is being made: the unpacker may not.
// `tree`: its fs directory; `paths` are relative to it and were named by a process that read
// hostile bytes: no link is followed, nothing above reached.
Status MarkOpaque(int tree, const std::vector<std::string>& paths);

class LayerStore {
 public:
  // Reads what is there and empties staging/. A layer whose layer.json is missing or wrong is
  // deleted, and logged.
  static StatusOr<std::unique_ptr<LayerStore>> Open(const std::string& root);
  ~LayerStore();  // waits for the deletion in progress; the rest is done at the next Open

  StatusOr<std::string> MakeStagingDirectory();

  // Moves <staging>/fs to its place, under info.digest; durable when this returns. The paths in the
  // file <staging>/opaque (NUL-separated, may be absent) are marked first. Usage left 0 is
  // measured. OK when the layer is there already; `staging` is gone in either case. After an error
  // it is left for the caller or the next Open.
  Status Publish(const std::string& staging, LayerInfo info);

  bool Has(absl::string_view digest) const;
  // kNotFound when it is not here.
  StatusOr<LayerInfo> Info(absl::string_view digest) const;
  std::vector<LayerInfo> List() const;
  // Path of the tree; the digest must be valid.
  std::string TreePath(absl::string_view digest) const;

  // Deletes a layer in the background. `unused` is asked at the last moment and may say no; it must
  // not call this store. After true has been returned the layer is not here for anybody.
  Status Delete(absl::string_view digest, absl::FunctionRef<bool()> unused);
  // Deletes a folder of ours elsewhere on the same file system in the same way.
  Status DeleteTree(const std::string& path);
  // Waits until everything deleted so far is gone from the disk.
  void Flush();

  // Of the layers here and those still being deleted.
  TreeUsage Usage() const;

 private:
  struct State;
  explicit LayerStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
