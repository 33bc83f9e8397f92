// What cAdvisor's handler for CRI-O asks a runtime, answered: GET /info and GET /containers/ID.
// The kubelet's own cAdvisor knows two runtimes and no third; this is the way in for nodes whose
// kubelet has no PodAndContainerStatsFromCRI.
//
// Fields as cAdvisor's container/crio/client.go reads them. Pods have no container of their own
// here, and cAdvisor counts networks by that one only: it shows none of ours.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "cri/node.h"

namespace gantry::cri {

struct CadvisorAnswer {
  int status = 200;  // of HTTP
  std::string body;  // JSON, or a line of text when it is no 200
};

// `target`: the request's path. Any thread.
CadvisorAnswer AnswerCadvisor(const Node& node, absl::string_view target);

}  // namespace gantry::cri
