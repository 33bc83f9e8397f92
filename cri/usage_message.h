// What was measured of a container or pod, as CRI's messages. Pure functions.
//
// A value that the kernel does not tell stays away; one that is there always has its time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cri/container.h"
#include "cri/metrics/statistics.h"
#include "cri/proto/stats.pb.h"
#include "cri/sandbox.h"

namespace gantry::cri {

struct ContainerUse {
  std::optional<GroupSample> group;  // unset: it does not run
  std::optional<LayerSize> layer;    // unset: not counted yet
  int64_t asked_at_ns = 0;           // the time of what could not be measured
  std::string file_system;           // where writable layers lie: as in ImageFsInfo
};
v1::ContainerStats ContainerStatsMessage(const Container& container, const ContainerUse& use);

struct PodUse {
  std::optional<GroupSample> group;
  std::optional<std::vector<InterfaceCounters>> network;  // unset: the pod has the host's
  uint64_t processes = 0;
  std::vector<v1::ContainerStats> containers;
  int64_t asked_at_ns = 0;
};
v1::PodSandboxStats PodSandboxStatsMessage(const Sandbox& sandbox, PodUse use);

}  // namespace gantry::cri
