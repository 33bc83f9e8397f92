// Measurements as samples of the families in metric_families.h. Pure functions: what is not known
// makes no sample.
//
// Samples are written as bytes, one message v1::Metric being filled again and again: as messages of
// their own they took ten allocations each, half of the CPU time of the whole answer (50 pods have
// 4,000 samples).
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

// The fields of a PodSandboxMetrics or a ContainerMetrics that are kept as bytes. On the wire they
// are what `metrics` would be.
using Samples = google::protobuf::UnknownFieldSet;
Samples* SamplesOf(google::protobuf::Message* message);
// The values of kBaseLabels.
using BaseLabels = std::array<std::string, kBaseLabels.size()>;

// Appends samples of one object at one time.
class SampleWriter {
 public:
  // `samples` is borrowed.
  SampleWriter(Samples* samples, const BaseLabels& labels, int64_t at_ns);
  // `labels`: values of the family's own.
  void Add(Metric metric, std::optional<uint64_t> value,
           std::initializer_list<absl::string_view> labels = {});

 private:
  Samples& samples_;
  v1::Metric sample_;  // the next one: it has the base labels and the time
};

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
