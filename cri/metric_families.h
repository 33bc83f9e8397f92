// The metrics of containers and pods, by the names and labels under which clusters know them: those
// of cAdvisor, which dashboards, alerts and autoscalers ask for. The kubelet serves them as
// /metrics/cadvisor when PodAndContainerStatsFromCRI is on.
//
// CRI has whole numbers only: times are in full seconds.
#pragma once

#include <array>
#include <span>

#include "cri/api.h"
#include "cri/proto/metrics.pb.h"

namespace gantry::cri {

// Before a family's own labels each sample has these, in this order. The kubelet takes them over as
// they are: without namespace, pod and container nobody could tell whose sample it is.
inline constexpr std::array kBaseLabels = {"container", "id", "image", "name", "namespace", "pod"};

// In the order of the table in metric_families.cc.
enum class Metric {
  kBlkioDeviceUsage,
  kCpuCfsPeriods,
  kCpuCfsThrottledPeriods,
  kCpuCfsThrottledSeconds,
  kCpuSystemSeconds,
  kCpuUsageSeconds,
  kCpuUserSeconds,
  kFileDescriptors,
  kFsInodesFree,
  kFsInodesTotal,
  kFsLimitBytes,
  kFsReadsBytes,
  kFsReads,
  kFsUsageBytes,
  kFsWritesBytes,
  kFsWrites,
  kHugetlbMaxUsage,
  kHugetlbUsage,
  kLastSeen,
  kMemoryCache,
  kMemoryFailcnt,
  kMemoryFailures,
  kMemoryKernelUsage,
  kMemoryMappedFile,
  kMemoryMaxUsage,
  kMemoryRss,
  kMemorySwap,
  kMemoryUsage,
  kMemoryWorkingSet,
  kReceiveBytes,
  kReceiveErrors,
  kReceiveDropped,
  kReceivePackets,
  kTransmitBytes,
  kTransmitErrors,
  kTransmitDropped,
  kTransmitPackets,
  kOomEvents,
  kPressureCpuStalled,
  kPressureCpuWaiting,
  kPressureIoStalled,
  kPressureIoWaiting,
  kPressureMemoryStalled,
  kPressureMemoryWaiting,
  kProcesses,
  kSockets,
  kSpecCpuPeriod,
  kSpecCpuQuota,
  kSpecCpuShares,
  kSpecMemoryLimit,
  kSpecMemoryReservation,
  kSpecMemorySwapLimit,
  kStartTime,
  kThreads,
  kThreadsMax,
  kUlimitsSoft,
  kCount
};

struct MetricFamily {
  Metric metric;
  const char* name;
  const char* help;
  v1::MetricType type;
  std::array<const char*, 4> labels = {};  // of its own, after the base; unused ones are nullptr
};

// All of them, each at the place of its number.
std::span<const MetricFamily> MetricFamilies();

}  // namespace gantry::cri
