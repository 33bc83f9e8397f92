#include "cri/usage_message.h"

#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

Container TestContainer() {
  Container container;
  container.record.set_id("c1");
  auto config = std::make_shared<v1::ContainerConfig>();
  config->mutable_metadata()->set_name("main");
  (*config->mutable_labels())["app"] = "web";
  (*config->mutable_annotations())["note"] = "x";
  container.config = std::move(config);
  return container;
}

GroupSample TestGroup() {
  GroupSample group;
  group.use.read_at_ns = 7;
  group.use.cpu_ns = 5'000'000'000;
  group.use.memory.usage = 100;
  group.use.memory.inactive_file = 30;
  group.use.memory.limit = 1000;
  group.use.memory.swap = 4;
  group.use.memory.swap_limit = 10;
  return group;
}

TEST(ContainerStatsMessage, SaysWhoseTheyAre) {
  ContainerUse use;
  use.asked_at_ns = 9;
  use.file_system = "/r";
  const auto stats = ContainerStatsMessage(TestContainer(), use);
  EXPECT_EQ(stats.attributes().id(), "c1");
  EXPECT_EQ(stats.attributes().metadata().name(), "main");
  EXPECT_EQ(stats.attributes().labels().at("app"), "web");
  EXPECT_EQ(stats.attributes().annotations().at("note"), "x");
}

TEST(ContainerStatsMessage, HasNoUseOfOneThatDoesNotRun) {
  ContainerUse use;
  use.asked_at_ns = 9;
  use.file_system = "/r";
  const auto stats = ContainerStatsMessage(TestContainer(), use);
  EXPECT_FALSE(stats.has_cpu() || stats.has_memory() || stats.has_swap() || stats.has_io());
  EXPECT_EQ(stats.writable_layer().timestamp(), 9) << "a time, also while nothing is counted";
  EXPECT_EQ(stats.writable_layer().fs_id().mountpoint(), "/r");
  EXPECT_FALSE(stats.writable_layer().has_used_bytes());
}

TEST(ContainerStatsMessage, LeavesOutWhatIsNotKnown) {
  ContainerUse use;
  use.group = TestGroup();
  use.layer = LayerSize{4096, 2, 5};
  const auto stats = ContainerStatsMessage(TestContainer(), use);
  EXPECT_EQ(stats.cpu().timestamp(), 7);
  EXPECT_EQ(stats.cpu().usage_core_nano_seconds().value(), 5'000'000'000u);
  EXPECT_FALSE(stats.cpu().has_usage_nano_cores()) << "one reading makes no rate";
  EXPECT_FALSE(stats.cpu().has_psi() || stats.has_io());
  EXPECT_EQ(stats.memory().working_set_bytes().value(), 70u);
  EXPECT_EQ(stats.memory().available_bytes().value(), 930u);
  EXPECT_FALSE(stats.memory().has_rss_bytes());
  EXPECT_EQ(stats.swap().swap_available_bytes().value(), 6u);
  EXPECT_EQ(stats.writable_layer().used_bytes().value(), 4096u);
  EXPECT_EQ(stats.writable_layer().inodes_used().value(), 2u);
  EXPECT_EQ(stats.writable_layer().timestamp(), 5);

  use.group->use.memory.limit = kNoLimit;
  use.group->use.memory.swap_limit = kNoLimit;
  const auto unlimited = ContainerStatsMessage(TestContainer(), use);
  EXPECT_FALSE(unlimited.memory().has_available_bytes());
  EXPECT_FALSE(unlimited.swap().has_swap_available_bytes());
}

TEST(ContainerStatsMessage, TellsPressureInNanoseconds) {
  ContainerUse use;
  use.group = TestGroup();
  use.group->nano_cores = 12;
  use.group->use.cpu_pressure = {.some = {.avg10 = 1.5, .total_us = 3}, .full = {.avg300 = 0.5}};
  use.group->use.io_pressure.emplace();
  const auto stats = ContainerStatsMessage(TestContainer(), use);
  EXPECT_EQ(stats.cpu().usage_nano_cores().value(), 12u);
  EXPECT_DOUBLE_EQ(stats.cpu().psi().some().avg10(), 1.5);
  EXPECT_EQ(stats.cpu().psi().some().total(), 3000u);
  EXPECT_DOUBLE_EQ(stats.cpu().psi().full().avg300(), 0.5);
  EXPECT_TRUE(stats.io().has_psi());
  EXPECT_FALSE(stats.memory().has_psi());
}

TEST(PodSandboxStatsMessage, PutsTheDefaultInterfaceApart) {
  Sandbox sandbox;
  sandbox.record.set_id("p1");
  sandbox.config = std::make_shared<const v1::PodSandboxConfig>();
  PodUse use;
  use.group = TestGroup();
  use.network = {{.name = "net1", .rx_bytes = 1}, {.name = "eth0", .rx_bytes = 2, .tx_errors = 3}};
  use.processes = 4;
  use.asked_at_ns = 9;
  use.containers.emplace_back();
  const auto stats = PodSandboxStatsMessage(sandbox, use).linux();
  EXPECT_EQ(stats.network().timestamp(), 9);
  EXPECT_EQ(stats.network().default_interface().name(), "eth0");
  EXPECT_EQ(stats.network().default_interface().rx_bytes().value(), 2u);
  EXPECT_EQ(stats.network().default_interface().tx_errors().value(), 3u);
  ASSERT_EQ(stats.network().interfaces_size(), 1);
  EXPECT_EQ(stats.network().interfaces(0).name(), "net1");
  EXPECT_EQ(stats.process().process_count().value(), 4u);
  EXPECT_EQ(stats.containers_size(), 1);
  EXPECT_EQ(stats.cpu().timestamp(), 7);
}

}  // namespace
}  // namespace gantry::cri
