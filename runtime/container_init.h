// The child side of create.h: from a copy of the caller to the container's program.
#pragma once

#include <set>
#include <string>

#include "runtime/base/status.h"
#include "runtime/create.h"
#include "runtime/linux/descriptor_bin.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/process_launch.h"
#include "runtime/rootfs.h"

namespace gantry::runtime {

// A list of stages, in README.md with the reasons for their order. The first error goes to the
// parent as it is; the child then exits with 1. `request` is the parent's, copied with its memory.
class ContainerInit {
 public:
  ContainerInit(const CreateRequest& request, const IdMapNamespaces& id_maps, UniqueFd handshake);
  [[noreturn]] void Run();

 private:
  Status SetUp();
  // Blocks. The parent's end going away ends the child.
  void WaitFor(int kind) const;

  // The stages, in order.
  Status DropInheritedFds();
  Status EnterV1Cgroups();
  Status Protect() { return launch_.Protect(); }
  Status JoinNamespaces();
  Status OwnWhatIsMade();
  Status NameHost();
  Status SetUpNetwork();
  Status ApplySysctls();
  Status UnshareMounts();
  Status AttachRoot();
  Status MakeMounts();
  Status MakeDevices();
  Status MakeWorkingDirectory();
  Status Isolate();
  Status EnterRoot();
  Status EnterIdentity();

  // The namespace is made for this container: neither the host's nor joined.
  [[nodiscard]] bool IsNew(const std::string& type) const;

  const CreateRequest& request_;
  const spec::Spec& spec_;
  const IdMapNamespaces& id_map_namespaces_;
  UniqueFd handshake_;
  ProcessLaunch launch_;
  UniqueFd user_namespace_;  // to be joined; invalid: none
  IdMaps id_maps_;           // its mappings
  AttachedRoot root_;
  DescriptorBin bin_;
};

}  // namespace gantry::runtime
