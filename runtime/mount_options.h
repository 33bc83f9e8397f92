// The options of a mount in a spec, as what the kernel is to be asked for. Pure: nothing here
// mounts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/mount.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Attributes to set and clear on a mount (MOUNT_ATTR_*), as mount_setattr(2) takes them.
struct MountAttributes {
  uint64_t set = 0;
  uint64_t clear = 0;
  [[nodiscard]] bool empty() const { return set == 0 && clear == 0; }
};

struct MountPlan {
  bool bind = false;
  bool recursive = false;      // rbind
  bool make_source = false;    // spec::kMakeSource
  MountAttributes top;         // of the mount itself
  MountAttributes all;         // of it and all below it: rro, rnosuid …
  bool id_mapped = false;      // a bind whose owners go through spec.mount's mappings
  bool id_mapped_all = false;  // ridmap: those of the mounts below it too
  uint64_t propagation = 0;    // MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE; 0: leave it
  bool propagation_recursive = false;  // rprivate …
  std::vector<MountOption>
      data;  // for the file system; of a bind mount it is ignored, as mount(8) does
};

// A later option wins over an earlier one. kInvalidArgument for options that cannot be honoured
// (tmpcopyup, remount), for data that holds what mount data cannot, and for mappings of what is no
// bind mount or is mapped by halves.
StatusOr<MountPlan> PlanMount(const spec::Mount& mount);

// MS_* flags (MS_REC included) of a propagation by name: private, rslave …. kInvalidArgument for
// anything else.
StatusOr<unsigned long> PropagationFlags(const std::string& name);

}  // namespace gantry::runtime
