// Measurements as samples of the families in metric_families.h. Pure functions: what is not known
// makes no sample.
//
// Samples are written in their wire form, onto the end of one string for each pod: 50 pods have
// 4,000 of them, and as messages of their own they took ten allocations each, more CPU time than
// reading what they tell.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/metric_families.h"
#include "cri/metrics/cgroup_detail.h"
#include "cri/metrics/cgroup_reader.h"
#include "cri/metrics/process_counts.h"

namespace gantry::cri {

// The values of kBaseLabels.
using BaseLabels = std::array<std::string, kBaseLabels.size()>;

// Appends samples of one object at one time.
class SampleWriter {
 public:
  // `message` is borrowed: the wire form of a PodSandboxMetrics or a ContainerMetrics.
  SampleWriter(std::string* message, const BaseLabels& labels, int64_t at_ns);
  // `labels`: values of the family's own.
  void Add(Metric metric, std::optional<uint64_t> value,
           std::initializer_list<absl::string_view> labels = {});

 private:
  std::string& message_;
  std::string common_;          // what all samples have: the time and the base labels
  std::string sample_, value_;  // the last ones, for their memory
};

// Appends `container`, the wire form of a ContainerMetrics, to that of a PodSandboxMetrics.
void AppendContainer(absl::string_view container, std::string* pod);

// CPU, memory and pressure.
void AddUse(const GroupUse& use, SampleWriter* writer);
// Throttling, limits, threads, block I/O, huge pages.
void AddDetail(const GroupUse& use, const GroupDetail& detail, SampleWriter* writer);
void AddNetwork(const std::vector<InterfaceCounters>& interfaces, SampleWriter* writer);
void AddProcesses(const ProcessCounts& counts, std::optional<uint64_t> open_file_limit,
                  SampleWriter* writer);

// The file system of the writable layers.
struct FileSystemUse {
  std::string device;
  std::optional<uint64_t> bytes, inodes, inodes_free;
};
void AddFileSystem(const FileSystemUse& file_system, std::optional<uint64_t> layer_bytes,
                   SampleWriter* writer);

}  // namespace gantry::cri
