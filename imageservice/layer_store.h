// Layers on disk: <root>/layers/<algorithm>-<hex>/, in one of the forms of layer_record.h.
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

#include "imageservice/layer_record.h"
#include "imageservice/tree_walk.h"
#include "runtime/base/status.h"

namespace gantry::images {

class LayerStore {
 public:
  // Reads what is there and empties staging/. A layer whose layer.json is missing or wrong is
  // deleted, and logged.
  static StatusOr<std::unique_ptr<LayerStore>> Open(const std::string& root);
  ~LayerStore();  // waits for the deletion in progress; the rest is done at the next Open

  StatusOr<std::string> MakeStagingDirectory();

  // Moves `staging` to its place, under info.digest, prepared as layer_publish.h says; durable when
  // this returns. Usage left 0 is measured. OK when the layer is there already; `staging` is gone
  // in either case. After an error it is left for the caller or the next Open.
  Status Publish(const std::string& staging, LayerInfo info);

  bool Has(absl::string_view digest) const;
  // kNotFound when it is not here.
  StatusOr<LayerInfo> Info(absl::string_view digest) const;
  std::vector<LayerInfo> List() const;
  // The layer's folder; the digest must be valid.
  std::string FolderPath(absl::string_view digest) const;
  // <layer>/fs, where the tree is or is mounted; the digest must be valid.
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
