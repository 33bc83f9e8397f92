// For tests: is a layer's folder what the layer's archive says, every file of it?
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/layer_record.h"
#include "imageservice/testing_layer_forms.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Remembers the listings of archives. One thread.
class LayerProof {
 public:
  // `folder`: the layer's, `digest`: its key, `tar`: the archive that the digest names. Compares
  // the record, the names in the folder and the tree (names, types, modes, owners, times,
  // attributes, links, contents) with what the archive gives; of an EROFS layer also the verifier's
  // word, the checksums of every MiB, and the archive made again from it. kDataLoss says what
  // differs.
  Status Check(const std::string& folder, const std::string& digest, const std::string& tar);

 private:
  StatusOr<const TreeListing*> Expected(const std::string& tar);
  Status CheckErofs(int folder, const LayerInfo& info, const std::string& tar);

  std::map<std::string, TreeListing> expected_;  // by diffID
};

}  // namespace gantry::images
