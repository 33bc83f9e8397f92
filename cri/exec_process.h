// A further process in a container: what ExecSync and Exec have in common.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cri/node.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::cri {

inline constexpr absl::Duration kExecStart = absl::Seconds(30);  // the shim's answer

// kFailedPrecondition when the container does not run, or is being killed.
Status MayExec(const Container& container);

// An exec that is thought through: nothing is asked of the disk any more.
struct ExecPlan {
  std::string container_id, exec_id;
  spec::Process process;
  std::shared_ptr<const std::string> seccomp;  // nullptr: unconfined

  // The shim's verb; its descriptors are the caller's to add.
  [[nodiscard]] shim::proto::Request Message() const;
};
StatusOr<ExecPlan> PlanExec(Node* node, const Container& container,
                            const std::vector<std::string>& command, bool terminal);

// Calls `done` with the exit code, or why it cannot be told, on the reactor's thread. The exec's id
// is free again then.
void AwaitExec(const PodShim& shim, const std::string& exec_id,
               std::function<void(const StatusOr<int>&)> done);

struct Pipe {
  UniqueFd read, write;
};
StatusOr<Pipe> MakePipe();

}  // namespace gantry::cri
