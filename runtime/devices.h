// /dev of a container: the nodes that every container has, those of the spec, and the links.
#pragma once

#include <vector>

#include "runtime/base/status.h"
#include "runtime/id_maps.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// null, zero, full, random, urandom and tty, then the spec's devices; one of the spec's replaces a
// default at the same path. Pure.
std::vector<spec::Device> DevicesOf(const spec::Spec& spec);

// True when the spec bind-mounts something on /dev: then it is used as it is, and SetUpDevices is
// not called.
bool HasForeignDev(const spec::Spec& spec);

// Makes nodes and links below `root_fd` (O_PATH, the container's root, before pivot_root). Where
// the kernel refuses mknod (EPERM: the runtime is in a user namespace itself), the host's node is
// bound over an empty file. `maps`: of the container's own user namespace, by which owners go;
// empty: it has none. The caller's umask must be 0.
Status SetUpDevices(const spec::Spec& spec, const IdMaps& maps, int root_fd);

}  // namespace gantry::runtime
