// A CDI specification file as plain values (Container Device Interface 1.1.0): what a vendor says
// must be changed in a container that gets one of its devices.
//
// Nothing here acts: parse.h reads files, registry.h finds devices, apply.h changes an OCI spec.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/spec/spec.h"

namespace gantry::cdi {

struct DeviceNode {
  std::string path;       // in the container
  std::string host_path;  // empty: the same
  std::string type;       // b, c, u, p; empty: as the host's node is
  int64_t major = 0;      // with a type: the host's node need not exist
  int64_t minor = 0;
  std::optional<uint32_t> file_mode, uid, gid;
  std::string permissions;  // of r, w, m; empty: rwm; "none": no cgroup rule
};

struct NamedHook {
  std::string name;  // prestart, createRuntime, …
  spec::Hook hook;
};

struct ContainerEdits {
  std::vector<std::string> env;  // KEY=value
  std::vector<DeviceNode> device_nodes;
  std::vector<spec::Mount> mounts;
  std::vector<NamedHook> hooks;
  std::vector<uint32_t> additional_gids;
  bool intel_rdt = false;                // asks for a resource control group
  std::vector<std::string> net_devices;  // host interfaces to be moved into the container

  [[nodiscard]] bool empty() const {
    return env.empty() && device_nodes.empty() && mounts.empty() && hooks.empty() &&
           additional_gids.empty() && !intel_rdt && net_devices.empty();
  }
};

struct Device {
  std::string name;
  ContainerEdits edits;
};

struct SpecFile {
  std::string version;  // cdiVersion
  std::string kind;     // vendor/class
  std::vector<Device> devices;
  ContainerEdits edits;  // for every container that gets any of the devices
};

}  // namespace gantry::cdi
