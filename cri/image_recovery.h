// After a boot: layers that the disk lost are found, set aside and fetched again, without anybody
// asking.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include "cri/node.h"

namespace gantry::cri {

// Looks at all layers (not at their contents) once a boot, on a thread of its own; what is done and
// what fails goes to the log. What a crash can leave damaged has no layer's name (layer_store.h),
// so this finds what the disk itself lost.
class ImageRecovery {
 public:
  // `node` outlives this. `<root>/checked-boot` holds the boot that was looked at last.
  explicit ImageRecovery(Node* node);
  ~ImageRecovery();  // ends a pull in progress

 private:
  void Run();

  Node* const node_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace gantry::cri
