// Makes the mounts of a spec below the container's root, before pivot_root, in the init's own mount
// namespace.
#pragma once

#include <map>
#include <string>

#include "runtime/base/status.h"
#include "runtime/id_maps.h"
#include "runtime/linux/descriptor_bin.h"
#include "runtime/rootfs.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct MountContext {
  const AttachedRoot& root;
  bool cgroup_namespace = false;  // the caller is in a cgroup namespace of its own
  DescriptorBin& bin;             // takes descriptors that are done with
  const IdMaps& id_maps;          // of the container's user namespace; empty: it has none
  const IdMapNamespaces& id_map_namespaces;
  const std::map<std::string, int>& ready_mounts;  // CreateRequest::mounts
};

// Destinations are resolved inside of the root, and made when missing: a file for a file, else a
// directory. /dev, /proc, /sys, and the destination of any proc or sysfs, must be real directories
// of the image. A source that does not exist is an error, and nothing is made on the host, unless
// spec::kMakeSource asks for it. What file systems are told of owners (uid=, gid=) are ids of the
// container. Errors begin with `mount "<destination>"`.
Status MakeMount(const MountContext& context, const spec::Mount& mount);

}  // namespace gantry::runtime
