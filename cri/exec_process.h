// A further process in a container: what ExecSync and Exec have in common.
#pragma once

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

struct Pipe {
  UniqueFd read, write;
};
StatusOr<Pipe> MakePipe();

}  // namespace gantry::cri
