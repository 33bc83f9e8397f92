#include "cri/metric_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>
#include <vector>

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;

const BaseLabels kLabels = {"main", "/pods/c1", "image:1", "c1", "default", "web"};

// As a client reads them.
std::vector<v1::Metric> Read(const std::string& message) {
  v1::ContainerMetrics read;
  EXPECT_TRUE(read.ParseFromString(message));
  EXPECT_TRUE(read.GetReflection()->GetUnknownFields(read).empty());
  return {read.metrics().begin(), read.metrics().end()};
}

// Values by "name" or "name{own,labels}".
std::map<std::string, uint64_t> ByName(const std::vector<v1::Metric>& samples) {
  std::map<std::string, uint64_t> found;
  for (const v1::Metric& sample : samples) {
    std::string name = sample.name();
    const int own = sample.label_values_size() - static_cast<int>(kLabels.size());
    for (int i = 0; i < own; ++i)
      name += (i == 0 ? "{" : ",") + sample.label_values(static_cast<int>(kLabels.size()) + i);
    if (own > 0) name += "}";
    EXPECT_EQ(found.count(name), 0u) << name << " twice: Prometheus refuses that";
    found[name] = sample.value().value();
  }
  return found;
}

GroupUse FullUse() {
  GroupUse use;
  use.cpu_ns = 2'900'000'000;
  use.memory.usage = 100;
  use.memory.inactive_file = 30;
  use.memory.rss = 1;
  use.memory.cache = 2;
  use.memory.mapped_file = 3;
  use.memory.page_faults = 5;
  use.memory.major_page_faults = 6;
  use.memory.limit = 1000;
  use.memory.swap = 7;
  use.memory.raw_swap_limit = kNoLimit;
  use.cpu_pressure = use.memory_pressure = use.io_pressure =
      Pressure{.some = {.total_us = 3'500'000}, .full = {.total_us = 1'000'000}};
  return use;
}

GroupDetail FullDetail() {
  GroupDetail detail;
  detail.cpu_user_ns = detail.cpu_system_ns = detail.throttled_ns = 1'000'000'000;
  detail.periods = detail.throttled_periods = detail.cpu_shares = detail.period_us = 10;
  detail.quota_us = 20;
  detail.max_memory = detail.limit_hits = detail.kernel_memory = detail.oom_kills = 1;
  detail.reserved_memory = detail.max_threads = kNoLimit;
  detail.threads = 2;
  detail.devices = {
      {.major = 0, .minor = 77, .read_bytes = 1, .write_bytes = 2, .reads = 3, .writes = 4}};
  detail.huge_pages = {{"2MB", 5, 6}};
  return detail;
}

std::vector<v1::Metric> Everything() {
  std::string samples;
  SampleWriter writer(&samples, kLabels, 42);
  writer.Add(Metric::kLastSeen, 1);
  writer.Add(Metric::kStartTime, 1);
  AddUse(FullUse(), &writer);
  AddDetail(FullUse(), FullDetail(), &writer);
  AddNetwork({{.name = "eth0", .rx_bytes = 9}}, &writer);
  AddProcesses({.processes = 1, .descriptors = 2, .sockets = 3}, 1024, &writer);
  AddFileSystem({.device = "/dev/x", .bytes = 1, .inodes = 2, .inodes_free = 1}, 5, &writer);
  return Read(samples);
}

TEST(MetricFamilies, HaveSamplesWithAsManyLabelsAsKeys) {
  std::map<std::string, int> keys;
  for (const MetricFamily& family : MetricFamilies()) {
    EXPECT_NE(*family.help, '\0') << family.name;
    int own = 0;
    for (const char* label : family.labels) own += label != nullptr ? 1 : 0;
    keys[family.name] = static_cast<int>(kBaseLabels.size()) + own;
  }
  EXPECT_EQ(keys.size(), 56u) << "what cAdvisor serves through the kubelet";
  std::set<std::string> seen;
  for (const v1::Metric& sample : Everything()) {
    ASSERT_TRUE(keys.contains(sample.name())) << sample.name();
    EXPECT_EQ(sample.label_values_size(), keys[sample.name()]) << sample.name();
    EXPECT_EQ(sample.timestamp(), 42);
    seen.insert(sample.name());
  }
  for (const auto& [name, count] : keys) EXPECT_TRUE(seen.contains(name)) << name;
}

TEST(MetricSamples, CarryTheLabelsThatTellWhoseTheyAre) {
  std::string samples;
  SampleWriter(&samples, kLabels, 1).Add(Metric::kCpuUsageSeconds, 1, {"total"});
  const std::vector<v1::Metric> read = Read(samples);
  ASSERT_EQ(read.size(), 1u);
  EXPECT_THAT(read[0].label_values(),
              ElementsAre("main", "/pods/c1", "image:1", "c1", "default", "web", "total"));
  EXPECT_EQ(read[0].metric_type(), v1::COUNTER);
}

TEST(MetricSamples, CountInTheUnitsOfTheirNames) {
  const auto values = ByName(Everything());
  EXPECT_EQ(values.at("container_cpu_usage_seconds_total{total}"), 2u);
  EXPECT_EQ(values.at("container_memory_working_set_bytes"), 70u);
  EXPECT_EQ(values.at("container_pressure_cpu_waiting_seconds_total"), 3u);
  EXPECT_EQ(values.at("container_pressure_cpu_stalled_seconds_total"), 1u);
  EXPECT_EQ(values.at("container_memory_failures_total{pgmajfault,container}"), 6u);
  EXPECT_EQ(values.at("container_network_receive_bytes_total{eth0}"), 9u);
  EXPECT_EQ(values.at("container_blkio_device_usage_total{0:77,0,77,Write}"), 2u);
  EXPECT_EQ(values.at("container_fs_reads_total{0:77}"), 3u);
  EXPECT_EQ(values.at("container_fs_usage_bytes{/dev/x}"), 5u);
  EXPECT_EQ(values.at("container_ulimits_soft{max_open_files}"), 1024u);
  EXPECT_EQ(values.at("container_hugetlb_max_usage_bytes{2MB}"), 6u);
  EXPECT_EQ(values.at("container_spec_memory_limit_bytes"), 1000u);
  EXPECT_EQ(values.at("container_spec_memory_swap_limit_bytes"), 0u) << "no limit";
  EXPECT_EQ(values.at("container_threads_max"), 0u) << "no limit";
}

TEST(MetricSamples, AreWhatProtobufWouldWrite) {
  v1::Metric sample;
  sample.set_name("container_threads");
  sample.set_timestamp(-1);
  sample.set_metric_type(v1::GAUGE);
  for (const std::string& label : kLabels) sample.add_label_values(label);
  sample.add_label_values(std::string(300, 'x'));
  sample.mutable_value()->set_value(std::numeric_limits<uint64_t>::max());
  v1::PodSandboxMetrics expected;
  expected.set_pod_sandbox_id("p1");
  expected.add_container_metrics()->set_container_id("c1");
  *expected.mutable_container_metrics(0)->add_metrics() = sample;

  v1::PodSandboxMetrics pod, read;
  pod.set_pod_sandbox_id("p1");
  std::string bytes = pod.SerializeAsString();
  v1::ContainerMetrics head;
  head.set_container_id("c1");
  std::string container = head.SerializeAsString();
  SampleWriter(&container, kLabels, -1)
      .Add(Metric::kThreads, std::numeric_limits<uint64_t>::max(), {std::string(300, 'x')});
  AppendContainer(container, &bytes);
  ASSERT_TRUE(read.ParseFromString(bytes));
  EXPECT_EQ(read.SerializeAsString(), expected.SerializeAsString());
}

TEST(MetricSamples, MakeNothingOfWhatIsNotKnown) {
  std::string samples;
  SampleWriter writer(&samples, kLabels, 1);
  AddUse({}, &writer);
  AddDetail({}, {}, &writer);
  AddNetwork({}, &writer);
  AddFileSystem({}, std::nullopt, &writer);
  EXPECT_TRUE(Read(samples).empty());
  ProcessCounts many;
  many.processes = 3;
  AddProcesses(many, std::nullopt, &writer);
  EXPECT_EQ(Read(samples).size(), 1u) << "more descriptors than are looked at";
}

TEST(MetricSamples, SayNothingOfPeriodsWithoutAQuota) {
  GroupDetail detail = FullDetail();
  detail.quota_us = kNoLimit;
  std::string samples;
  SampleWriter writer(&samples, kLabels, 1);
  AddDetail({}, detail, &writer);
  const auto values = ByName(Read(samples));
  EXPECT_FALSE(values.contains("container_cpu_cfs_periods_total"));
  EXPECT_FALSE(values.contains("container_spec_cpu_quota"));
  EXPECT_TRUE(values.contains("container_spec_cpu_period"));
}

}  // namespace
}  // namespace gantry::cri
