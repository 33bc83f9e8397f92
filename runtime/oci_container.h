// From a bundle to a container that waits for its start: what `create` and `run` share.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/create.h"
#include "runtime/linux/cgroup.h"
#include "runtime/oci_state.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct OciCreateOptions {
  std::string root;  // of the state folders
  std::string id;
  std::string bundle;  // folder with config.json
};

struct OciContainer {
  OciStateDir dir;
  OciRecord record;
  spec::Spec spec;
  Creation creation;  // at kCreated
};

// Makes state folder, cgroup with limits and init, runs the prestart and createRuntime hooks
// (namespaces made by clone exist by then, mounts do not), and waits until init is set up. Init is
// the caller's child and has its 0, 1 and 2. On failure nothing is left.
StatusOr<OciContainer> CreateOciContainer(const OciCreateOptions& options);

// config.json of `bundle`, validated, with relative paths (rootfs, bind sources) made absolute.
StatusOr<spec::Spec> LoadBundle(const std::string& bundle);

// The cgroup of a container's configuration: cgroupsPath, "/gantry-oci-<id>" when it has none.
// kUnimplemented: the systemd form slice:prefix:name.
StatusOr<std::string> CgroupPathOf(const spec::Spec& spec, const std::string& id);

// The compiled filter of linux.seccomp; empty: none.
StatusOr<std::string> CompileSeccomp(const spec::Spec& spec);

// Kills what is left of the container, runs the poststop hooks (a failure is reported on standard
// error only, as the specification wants), removes cgroup and state folder.
Status DestroyOciContainer(const OciStateDir& dir, const OciRecord& record);

// The directories of a record's cgroup on this host.
StatusOr<CgroupPaths> CgroupOf(const OciRecord& record);

}  // namespace gantry::runtime
