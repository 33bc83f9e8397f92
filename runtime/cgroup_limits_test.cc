#include "runtime/cgroup_limits.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry::runtime {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

const std::set<std::string> kV1 = {"cpu", "cpuset", "memory", "blkio", "pids", "hugetlb"};
const std::set<std::string> kV2 = {};

// "file=value", with "?" where a missing file is skipped.
std::vector<std::string> PlanOf(const spec::Resources& resources, const std::set<std::string>& v1) {
  const auto plan = PlanCgroupLimits(resources, v1);
  if (!plan.ok()) return {absl::StrCat("error: ", plan.status().message())};
  std::vector<std::string> lines;
  for (const CgroupWrite& write : *plan) {
    EXPECT_EQ(write.file.rfind(write.controller + ".", 0), 0u) << write.file;
    const bool skip = write.if_missing == CgroupWrite::IfMissing::kSkip;
    lines.push_back(absl::StrCat(write.file, skip ? "?=" : "=", write.value));
  }
  return lines;
}

spec::Resources Memory(std::optional<int64_t> limit, std::optional<int64_t> swap) {
  return {.memory = spec::MemoryLimits{.limit = limit, .swap = swap}};
}

TEST(CpuWeight, FollowsTheConversionOfTheSpecification) {
  const std::pair<uint64_t, uint64_t> table[] = {{0, 1},          {1, 1},          {2, 1},
                                                 {262144, 10000}, {300000, 10000}, {1024, 100}};
  for (const auto& [shares, weight] : table)
    EXPECT_EQ(CpuWeightFromShares(shares), weight) << shares;
  for (uint64_t shares = 3; shares < 262144; shares *= 2)
    EXPECT_LE(CpuWeightFromShares(shares - 1), CpuWeightFromShares(shares));
}

struct Row {
  const char* what;
  spec::Resources resources;
  std::vector<std::string> v1;
  std::vector<std::string> v2;
};

void Check(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    EXPECT_THAT(PlanOf(row.resources, kV1), ElementsAreArray(row.v1)) << row.what << ", v1";
    EXPECT_THAT(PlanOf(row.resources, kV2), ElementsAreArray(row.v2)) << row.what << ", v2";
  }
}

TEST(PlanCgroupLimits, ConvertsMemory) {
  Check({
      {"nothing", {}, {}, {}},
      {"limit", Memory(100, {}), {"memory.limit_in_bytes=100"}, {"memory.max=100"}},
      {"zero is unset", Memory(0, 0), {}, {}},
      {"no swap",
       Memory(100, 100),
       {"memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes?=100"},
       {"memory.max=100", "memory.swap.max?=0"}},
      {"some swap",
       Memory(100, 150),
       {"memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=150"},
       {"memory.max=100", "memory.swap.max=50"}},
      {"any swap",
       Memory(100, -1),
       {"memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes?=-1"},
       {"memory.max=100", "memory.swap.max?=max"}},
      {"lifted",
       Memory(-1, {}),
       {"memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes?=-1"},
       {"memory.max=max", "memory.swap.max?=max"}},
      {"less swap than memory",
       Memory(100, 50),
       {"error: resources: memory.swap: memory and swap together (50) are below the memory limit "
        "(100)"},
       {"error: resources: memory.swap: memory and swap together (50) are below the memory limit "
        "(100)"}},
      {"reservation",
       {.memory = spec::MemoryLimits{.reservation = 7}},
       {"memory.soft_limit_in_bytes=7"},
       {"memory.low=7"}},
      {"no OOM killer",
       {.memory = spec::MemoryLimits{.disable_oom_killer = true}},
       {"memory.oom_control=1"},
       {"error: memory.disableOOMKiller: cgroup v2 has no such thing"}},
  });
}

TEST(PlanCgroupLimits, ConvertsCpu) {
  const auto cpu = [](spec::CpuLimits limits) { return spec::Resources{.cpu = std::move(limits)}; };
  Check({
      {"shares", cpu({.shares = 1024}), {"cpu.shares=1024"}, {"cpu.weight=100"}},
      {"no shares", cpu({.shares = 0}), {}, {}},
      {"quota",
       cpu({.period = 50000, .quota = 20000}),
       {"cpu.cfs_period_us=50000", "cpu.cfs_quota_us=20000"},
       {"cpu.max=20000 50000"}},
      {"quota alone", cpu({.quota = 20000}), {"cpu.cfs_quota_us=20000"}, {"cpu.max=20000 100000"}},
      {"no quota",
       cpu({.period = 100000, .quota = -1}),
       {"cpu.cfs_period_us=100000", "cpu.cfs_quota_us=-1"},
       {"cpu.max=max 100000"}},
      {"burst",
       cpu({.quota = 20000, .burst = 10}),
       {"cpu.cfs_quota_us=20000", "cpu.cfs_burst_us=10"},
       {"cpu.max=20000 100000", "cpu.max.burst=10"}},
      {"idle has no weight", cpu({.shares = 100, .idle = 1}), {"cpu.idle=1"}, {"cpu.idle=1"}},
      {"cpuset",
       cpu({.cpus = "0-1", .mems = "0"}),
       {"cpuset.cpus=0-1", "cpuset.mems=0"},
       {"cpuset.cpus=0-1", "cpuset.mems=0"}},
  });
}

TEST(PlanCgroupLimits, ConvertsTheRest) {
  spec::BlockIoLimits throttle;
  throttle.read_bps = {{8, 0, 1000}};
  throttle.write_iops = {{8, 16, 0}};
  Check({
      {"pids", {.pids_limit = 10}, {"pids.max=10"}, {"pids.max=10"}},
      {"no pids limit", {.pids_limit = -1}, {"pids.max=max"}, {"pids.max=max"}},
      {"zero pids is a limit", {.pids_limit = 0}, {"pids.max=0"}, {"pids.max=0"}},
      {"huge pages",
       {.hugepage_limits = {{"2MB", 4194304}}},
       {"hugetlb.2MB.limit_in_bytes?=4194304", "hugetlb.2MB.rsvd.limit_in_bytes?=4194304"},
       {"hugetlb.2MB.max?=4194304", "hugetlb.2MB.rsvd.max?=4194304"}},
      {"weight",
       {.block_io = spec::BlockIoLimits{.weight = 1000}},
       {"blkio.bfq.weight?=1000", "blkio.weight?=1000"},
       {"io.bfq.weight?=1000", "io.weight?=10000"}},
      {"throttle",
       {.block_io = throttle},
       {"blkio.throttle.read_bps_device=8:0 1000", "blkio.throttle.write_iops_device=8:16 0"},
       {"io.max=8:0 rbps=1000", "io.max=8:16 wiops=max"}},
      {"unified",
       {.unified = {{"memory.high", "5"}}},
       {"error: unified.memory.high: the memory controller is on cgroup v1 here"},
       {"memory.high=5"}},
  });
}

TEST(PlanCgroupLimits, PlansEachControllerWhereItIs) {
  spec::Resources resources = Memory(100, {});
  resources.pids_limit = 5;
  resources.hugepage_limits = {{"2MB", 0}};
  EXPECT_THAT(PlanOf(resources, {"memory"}),
              ElementsAreArray({"memory.limit_in_bytes=100", "pids.max=5", "hugetlb.2MB.max?=0",
                                "hugetlb.2MB.rsvd.max?=0"}));
}

// On the machine's own hierarchies, below one group of the test's.
class CgroupLimitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    auto host = DetectCgroupHost();
    ASSERT_TRUE(host.ok()) << host.status();
    const std::string path = absl::StrCat("/gantry-test-limits-", getpid());
    const Status made = CreateCgroup(*host, path);
    ASSERT_TRUE(made.ok()) << made;
    paths_ = *CgroupPathsFor(*host, path);
  }
  void TearDown() override { EXPECT_TRUE(RemoveCgroup(paths_).ok()); }
  std::string Read(const char* controller, const std::string& v1_file, const std::string& v2_file) {
    const auto text = ReadFileAt(
        AT_FDCWD,
        absl::StrCat(paths_.DirOf(controller), "/", paths_.IsV1(controller) ? v1_file : v2_file));
    return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : text.status().ToString();
  }
  std::string MemoryLimit() { return Read("memory", "memory.limit_in_bytes", "memory.max"); }
  CgroupPaths paths_;
};

constexpr int64_t kMiB = 1 << 20;

TEST_F(CgroupLimitsTest, AreReadBackFromTheKernel) {
  spec::Resources resources = Memory(64 * kMiB, 64 * kMiB);
  resources.cpu = spec::CpuLimits{.shares = 512, .period = 50000, .quota = 25000};
  const bool cpuset = access((paths_.DirOf("cpuset") + "/cpuset.cpus").c_str(), F_OK) == 0;
  if (cpuset) resources.cpu->cpus = "0";
  resources.pids_limit = 77;
  resources.hugepage_limits = {{"2MB", 2097152}};
  const Status applied = ApplyCgroupLimits(paths_, resources);
  ASSERT_TRUE(applied.ok()) << applied;
  EXPECT_EQ(MemoryLimit(), absl::StrCat(64 * kMiB));
  EXPECT_EQ(Read("pids", "pids.max", "pids.max"), "77");
  if (cpuset) {
    EXPECT_EQ(Read("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
  }
  if (paths_.IsV1("cpu")) {
    EXPECT_EQ(Read("cpu", "cpu.shares", ""), "512");
    EXPECT_EQ(Read("cpu", "cpu.cfs_quota_us", ""), "25000");
    EXPECT_EQ(Read("cpu", "cpu.cfs_period_us", ""), "50000");
  } else {
    EXPECT_EQ(Read("cpu", "", "cpu.weight"), absl::StrCat(CpuWeightFromShares(512)));
    EXPECT_EQ(Read("cpu", "", "cpu.max"), "25000 50000");
  }
}

TEST_F(CgroupLimitsTest, GrowAndShrinkWhateverWasThere) {
  for (const int64_t mebibytes : {64, 128, 32, 256, 16}) {
    const Status updated = UpdateCgroupLimits(paths_, Memory(mebibytes * kMiB, mebibytes * kMiB));
    ASSERT_TRUE(updated.ok()) << updated;
    EXPECT_EQ(MemoryLimit(), absl::StrCat(mebibytes * kMiB));
  }
  EXPECT_TRUE(UpdateCgroupLimits(paths_, Memory(-1, {})).ok());
  spec::Resources burst{.cpu = spec::CpuLimits{.quota = 50000, .burst = 40000}};
  ASSERT_TRUE(UpdateCgroupLimits(paths_, burst).ok());
  burst.cpu = spec::CpuLimits{.quota = 10000, .burst = 5000};
  const Status shrunk = UpdateCgroupLimits(paths_, burst);
  EXPECT_TRUE(shrunk.ok()) << shrunk;
}

TEST_F(CgroupLimitsTest, AnUpdateThatFailsLeavesTheOldLimits) {
  ASSERT_TRUE(UpdateCgroupLimits(paths_, Memory(64 * kMiB, {})).ok());
  spec::Resources bad = Memory(32 * kMiB, {});
  bad.cpu = spec::CpuLimits{.period = 100000, .quota = 5};  // below the kernel's 1 ms
  const Status status = UpdateCgroupLimits(paths_, bad);
  ASSERT_FALSE(status.ok());
  const bool v1 = paths_.IsV1("cpu");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(v1 ? "set cpu.cfs_quota_us to \"5\": " : "set cpu.max to \"5 100000\": "));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(paths_.DirOf("cpu") + (v1 ? "/cpu.cfs_quota_us" : "/cpu.max")));
  EXPECT_EQ(MemoryLimit(), absl::StrCat(64 * kMiB));
}

TEST_F(CgroupLimitsTest, NameAFileThatIsNotThere) {
  CgroupPaths paths = paths_;
  paths.v1_dirs["memory"] = paths_.DirOf("pids");
  paths.v1_dirs["pids"] = paths_.DirOf("pids");
  if (!paths_.IsV1("memory")) GTEST_SKIP() << "one tree: every file is there";
  const Status status = ApplyCgroupLimits(paths, Memory(kMiB, {}));
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("set memory.limit_in_bytes to \"1048576\": "));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the memory controller is not enabled there"));
}

}  // namespace
}  // namespace gantry::runtime
