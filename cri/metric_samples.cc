#include "cri/metric_samples.h"

#include "absl/strings/str_cat.h"

#include "cri/metrics/block_devices.h"

namespace gantry::cri {
namespace {

constexpr int kSamplesField = v1::PodSandboxMetrics::kMetricsFieldNumber;
static_assert(kSamplesField == v1::ContainerMetrics::kMetricsFieldNumber);

constexpr uint64_t kNsPerSecond = 1'000'000'000, kUsPerSecond = 1'000'000;

using Count = std::optional<uint64_t>;

Count Seconds(Count nanoseconds) {
  if (nanoseconds) *nanoseconds /= kNsPerSecond;
  return nanoseconds;
}

// Limits: 0 where there is none.
Count Limit(Count limit) { return limit == kNoLimit ? Count(0) : limit; }

struct PressureMetrics {
  Metric waiting, stalled;
};
void AddPressure(const std::optional<Pressure>& pressure, PressureMetrics metrics,
                 SampleWriter* writer) {
  if (!pressure) return;
  writer->Add(metrics.waiting, pressure->some.total_us / kUsPerSecond);
  writer->Add(metrics.stalled, pressure->full.total_us / kUsPerSecond);
}

void AddFaults(const MemoryUse& memory, SampleWriter* writer) {
  // All counts are of the group with the groups below it: both scopes are the same.
  for (const char* scope : {"container", "hierarchy"}) {
    writer->Add(Metric::kMemoryFailures, memory.page_faults, {"pgfault", scope});
    writer->Add(Metric::kMemoryFailures, memory.major_page_faults, {"pgmajfault", scope});
  }
}

void AddCpuDetail(const GroupDetail& detail, SampleWriter* writer) {
  writer->Add(Metric::kCpuUserSeconds, Seconds(detail.cpu_user_ns));
  writer->Add(Metric::kCpuSystemSeconds, Seconds(detail.cpu_system_ns));
  writer->Add(Metric::kSpecCpuPeriod, detail.period_us);
  writer->Add(Metric::kSpecCpuShares, detail.cpu_shares);
  if (detail.quota_us.value_or(kNoLimit) == kNoLimit) return;
  writer->Add(Metric::kSpecCpuQuota, detail.quota_us);
  writer->Add(Metric::kCpuCfsPeriods, detail.periods);
  writer->Add(Metric::kCpuCfsThrottledPeriods, detail.throttled_periods);
  writer->Add(Metric::kCpuCfsThrottledSeconds, Seconds(detail.throttled_ns));
}

void AddDevices(const std::vector<DeviceIo>& devices, SampleWriter* writer) {
  for (const DeviceIo& device : devices) {
    const std::string name = BlockDeviceName(device.major, device.minor);
    const std::string major = absl::StrCat(device.major), minor = absl::StrCat(device.minor);
    writer->Add(Metric::kBlkioDeviceUsage, device.read_bytes, {name, major, minor, "Read"});
    writer->Add(Metric::kBlkioDeviceUsage, device.write_bytes, {name, major, minor, "Write"});
    writer->Add(Metric::kFsReadsBytes, device.read_bytes, {name});
    writer->Add(Metric::kFsWritesBytes, device.write_bytes, {name});
    writer->Add(Metric::kFsReads, device.reads, {name});
    writer->Add(Metric::kFsWrites, device.writes, {name});
  }
}

}  // namespace

Samples* SamplesOf(google::protobuf::Message* message) {
  return message->GetReflection()->MutableUnknownFields(message);
}

SampleWriter::SampleWriter(Samples* samples, const BaseLabels& labels, int64_t at_ns)
    : samples_(*samples) {
  sample_.set_timestamp(at_ns);
  for (const std::string& label : labels) sample_.add_label_values(label);
}

void SampleWriter::Add(Metric metric, std::optional<uint64_t> value,
                       std::initializer_list<absl::string_view> labels) {
  if (!value) return;
  const MetricFamily& family = MetricFamilies()[static_cast<size_t>(metric)];
  sample_.set_name(family.name);
  sample_.set_metric_type(family.type);
  sample_.mutable_value()->set_value(*value);
  for (const absl::string_view label : labels) sample_.add_label_values(label.data(), label.size());
  sample_.SerializeToString(samples_.AddLengthDelimited(kSamplesField));
  for (size_t i = 0; i < labels.size(); ++i) sample_.mutable_label_values()->RemoveLast();
}

void AddUse(const GroupUse& use, SampleWriter* writer) {
  const MemoryUse& memory = use.memory;
  writer->Add(Metric::kCpuUsageSeconds, Seconds(use.cpu_ns), {"total"});
  writer->Add(Metric::kCpuUserSeconds, Seconds(use.cpu_user_ns));
  writer->Add(Metric::kCpuSystemSeconds, Seconds(use.cpu_system_ns));
  writer->Add(Metric::kMemoryUsage, memory.usage);
  writer->Add(Metric::kMemoryWorkingSet, memory.WorkingSet());
  writer->Add(Metric::kMemoryRss, memory.rss);
  writer->Add(Metric::kMemoryCache, memory.cache);
  writer->Add(Metric::kMemoryMappedFile, memory.mapped_file);
  writer->Add(Metric::kMemorySwap, memory.swap);
  writer->Add(Metric::kMemoryKernelUsage, memory.kernel);
  AddFaults(memory, writer);
  AddPressure(use.cpu_pressure, {Metric::kPressureCpuWaiting, Metric::kPressureCpuStalled}, writer);
  AddPressure(use.memory_pressure, {Metric::kPressureMemoryWaiting, Metric::kPressureMemoryStalled},
              writer);
  AddPressure(use.io_pressure, {Metric::kPressureIoWaiting, Metric::kPressureIoStalled}, writer);
}

void AddDetail(const GroupUse& use, const GroupDetail& detail, SampleWriter* writer) {
  AddCpuDetail(detail, writer);
  writer->Add(Metric::kMemoryMaxUsage, detail.max_memory);
  writer->Add(Metric::kMemoryFailcnt, detail.limit_hits);
  writer->Add(Metric::kMemoryKernelUsage, detail.kernel_memory);
  writer->Add(Metric::kOomEvents, detail.oom_kills);
  writer->Add(Metric::kSpecMemoryLimit, Limit(use.memory.limit));
  writer->Add(Metric::kSpecMemorySwapLimit, Limit(detail.swap_limit));
  writer->Add(Metric::kSpecMemoryReservation, Limit(detail.reserved_memory));
  writer->Add(Metric::kThreads, detail.threads);
  writer->Add(Metric::kThreadsMax, Limit(detail.max_threads));
  AddDevices(detail.devices, writer);
  for (const HugePages& pages : detail.huge_pages) {
    writer->Add(Metric::kHugetlbUsage, pages.usage, {pages.size});
    writer->Add(Metric::kHugetlbMaxUsage, pages.max_usage, {pages.size});
  }
}

void AddNetwork(const std::vector<InterfaceCounters>& interfaces, SampleWriter* writer) {
  for (const InterfaceCounters& counters : interfaces) {
    const absl::string_view name = counters.name;
    writer->Add(Metric::kReceiveBytes, counters.rx_bytes, {name});
    writer->Add(Metric::kReceivePackets, counters.rx_packets, {name});
    writer->Add(Metric::kReceiveErrors, counters.rx_errors, {name});
    writer->Add(Metric::kReceiveDropped, counters.rx_dropped, {name});
    writer->Add(Metric::kTransmitBytes, counters.tx_bytes, {name});
    writer->Add(Metric::kTransmitPackets, counters.tx_packets, {name});
    writer->Add(Metric::kTransmitErrors, counters.tx_errors, {name});
    writer->Add(Metric::kTransmitDropped, counters.tx_dropped, {name});
  }
}

void AddProcesses(const ProcessCounts& counts, std::optional<uint64_t> open_file_limit,
                  SampleWriter* writer) {
  writer->Add(Metric::kProcesses, counts.processes);
  writer->Add(Metric::kFileDescriptors, counts.descriptors);
  writer->Add(Metric::kSockets, counts.sockets);
  writer->Add(Metric::kUlimitsSoft, open_file_limit, {"max_open_files"});
}

void AddFileSystem(const FileSystemUse& file_system, std::optional<uint64_t> layer_bytes,
                   SampleWriter* writer) {
  const absl::string_view device = file_system.device;
  writer->Add(Metric::kFsLimitBytes, file_system.bytes, {device});
  writer->Add(Metric::kFsInodesTotal, file_system.inodes, {device});
  writer->Add(Metric::kFsInodesFree, file_system.inodes_free, {device});
  writer->Add(Metric::kFsUsageBytes, layer_bytes, {device});
}

}  // namespace gantry::cri
