#include "cri/metric_samples.h"

#include <google/protobuf/io/coded_stream.h>

#include "absl/strings/str_cat.h"

#include "cri/metrics/block_devices.h"

namespace gantry::cri {
namespace {

constexpr int kSamplesField = v1::PodSandboxMetrics::kMetricsFieldNumber;
static_assert(kSamplesField == v1::ContainerMetrics::kMetricsFieldNumber);

// How protobuf writes a field (its page "Encoding"): the number with one of these types, then a
// varint, or a length with that many bytes.
enum WireType { kVarint = 0, kBytes = 2 };

void AppendVarint(uint64_t value, std::string* message) {
  constexpr size_t kMostBytes = 10;
  uint8_t bytes[kMostBytes];
  const uint8_t* end = google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(value, bytes);
  message->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes));
}

void AppendTag(int field, WireType type, std::string* message) {
  AppendVarint(static_cast<uint64_t>(field) << 3 | type, message);
}

void AppendNumber(int field, uint64_t value, std::string* message) {
  AppendTag(field, kVarint, message);
  AppendVarint(value, message);
}

void AppendBytes(int field, absl::string_view bytes, std::string* message) {
  AppendTag(field, kBytes, message);
  AppendVarint(bytes.size(), message);
  message->append(bytes.data(), bytes.size());
}

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

SampleWriter::SampleWriter(std::string* message, const BaseLabels& labels, int64_t at_ns)
    : message_(*message) {
  AppendNumber(v1::Metric::kTimestampFieldNumber, static_cast<uint64_t>(at_ns), &common_);
  for (const std::string& label : labels)
    AppendBytes(v1::Metric::kLabelValuesFieldNumber, label, &common_);
}

void SampleWriter::Add(Metric metric, std::optional<uint64_t> value,
                       std::initializer_list<absl::string_view> labels) {
  if (!value) return;
  const MetricFamily& family = MetricFamilies()[static_cast<size_t>(metric)];
  sample_ = common_;
  AppendBytes(v1::Metric::kNameFieldNumber, family.name, &sample_);
  AppendNumber(v1::Metric::kMetricTypeFieldNumber, static_cast<uint64_t>(family.type), &sample_);
  for (const absl::string_view label : labels)
    AppendBytes(v1::Metric::kLabelValuesFieldNumber, label, &sample_);
  value_.clear();
  AppendNumber(v1::UInt64Value::kValueFieldNumber, *value, &value_);
  AppendBytes(v1::Metric::kValueFieldNumber, value_, &sample_);
  AppendBytes(kSamplesField, sample_, &message_);
}

void AppendContainer(absl::string_view container, std::string* pod) {
  AppendBytes(v1::PodSandboxMetrics::kContainerMetricsFieldNumber, container, pod);
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
  writer->Add(Metric::kSpecMemorySwapLimit, Limit(use.memory.raw_swap_limit));
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
