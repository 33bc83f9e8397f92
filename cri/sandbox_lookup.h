// What every RPC about one pod begins with.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "cri/node.h"

namespace gantry::cri {

// By id or a unique prefix. kNotFound when there is none that its creator has claimed,
// kInvalidArgument when several begin so.
inline StatusOr<std::shared_ptr<const Sandbox>> FindSandbox(const Node& node,
                                                            const std::string& id) {
  ASSIGN_OR_RETURN(auto sandbox, node.sandboxes.FindByPrefix(id));
  if (sandbox == nullptr || !sandbox->claimed)
    return absl::NotFoundError(absl::StrCat("pod sandbox \"", id, "\" does not exist"));
  return sandbox;
}

}  // namespace gantry::cri
