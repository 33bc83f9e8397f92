// Keeps layers from being collected for as long as it lives, under a name of its own.
#pragma once

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "imageservice/image_store.h"

namespace gantry::images {

class LayerHold {
 public:
  // `store` outlives this. `layers`: digests.
  LayerHold(ImageStore* store, const std::vector<std::string>& layers)
      : store_(store), name_(NextName()) {
    store_->HoldLayers(name_, layers);
  }
  ~LayerHold() { store_->ReleaseLayers(name_); }
  LayerHold(const LayerHold&) = delete;
  LayerHold& operator=(const LayerHold&) = delete;

 private:
  static std::string NextName() {
    static std::atomic<uint64_t> next{0};
    return absl::StrCat("reading-", next.fetch_add(1));
  }

  ImageStore* const store_;
  const std::string name_;
};

}  // namespace gantry::images
