// What a pod asks of its network by annotations.
//
// kubernetes.io/ingress-bandwidth and egress-bandwidth are Kubernetes' own and always read. Those
// of io.gantry choose addresses: whoever may make pods could take another's, so each must be
// allowed by the node's configuration ([network] allowed_annotations); else it is ignored.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::cri {

inline constexpr char kIpsAnnotation[] = "io.gantry/ips";             // 10.0.0.5/24,fd00::5/64
inline constexpr char kMacAnnotation[] = "io.gantry/mac";             // 02:00:00:00:00:05
inline constexpr char kAliasesAnnotation[] = "io.gantry/aliases";     // web,www
inline constexpr char kIpRangesAnnotation[] = "io.gantry/ip-ranges";  // [[{"subnet": …}]]

struct Bandwidth {
  uint64_t ingress = 0;  // bits in a second; 0: not limited
  uint64_t egress = 0;
};

struct NetworkAnnotations {
  Bandwidth bandwidth;
  std::vector<std::string> ips;
  std::string mac;
  std::vector<std::string> aliases;
  std::string ip_ranges;  // JSON
};

// kInvalidArgument, naming the annotation: a bandwidth that is no quantity or outside of 1k to 1P
// (the kubelet's bounds), what is no address, name or list of ranges.
StatusOr<NetworkAnnotations> ReadNetworkAnnotations(
    const std::map<std::string, std::string>& annotations, const std::vector<std::string>& allowed);

}  // namespace gantry::cri
