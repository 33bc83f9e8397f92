#include "cri/metrics/cgroup_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <memory>

#include "cri/metrics/cgroup_detail.h"
#include "cri/metrics/process_counts.h"
#include "cri/metrics/test_group.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kLimit = 64 << 20;

class CgroupReaderTest : public GroupTest {
 protected:
  GroupDetail Detail() {
    auto reader = CgroupReader::Open(paths_);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return reader.ok() ? DetailReader(*std::move(reader)).Read() : GroupDetail();
  }
};

void Write(const std::string& directory, const std::string& file, absl::string_view value) {
  const Status written = WriteFileAt(AT_FDCWD, directory + "/" + file, value);
  ASSERT_TRUE(written.ok()) << written;
}

TEST_F(CgroupReaderTest, ReadsWhatAProcessUses) {
  Worker();
  const auto reader = CgroupReader::Open(paths_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto use = (*reader)->Use();
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_GT(use->read_at_ns, 0);
  // Some of the 100 ms pass before the worker is in the group.
  EXPECT_GT(use->cpu_ns.value_or(0), 50'000'000u);
  EXPECT_LT(use->cpu_ns.value_or(0), 10'000'000'000u);
  const MemoryUse& memory = use->memory;
  EXPECT_GE(memory.rss.value_or(0), kWorkerMemory);
  EXPECT_GE(memory.usage.value_or(0), *memory.rss);
  EXPECT_GE(memory.WorkingSet().value_or(0), *memory.rss);
  EXPECT_GE(memory.page_faults.value_or(0), kWorkerMemory / 4096 / 512) << "huge pages at most";
  EXPECT_EQ(memory.swap.value_or(0), 0u);
  EXPECT_TRUE(memory.cache && memory.mapped_file && memory.inactive_file &&
              memory.major_page_faults);
  EXPECT_EQ(memory.limit, kNoLimit);
  EXPECT_EQ(memory.Available(), std::nullopt);
}

TEST_F(CgroupReaderTest, ReadsAnew) {
  const auto reader = CgroupReader::Open(paths_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto before = (*reader)->Use();
  ASSERT_TRUE(before.ok());
  Worker();
  const auto after = (*reader)->Use();
  ASSERT_TRUE(after.ok());
  EXPECT_GT(*after->cpu_ns, *before->cpu_ns);
  EXPECT_GE(*after->memory.rss, *before->memory.rss + kWorkerMemory);
  EXPECT_GT(after->read_at_ns, before->read_at_ns);
}

TEST_F(CgroupReaderTest, ReadsPressureWhereTheKernelHasIt) {
  if (access((paths_.unified_dir + "/cpu.pressure").c_str(), R_OK) != 0)
    GTEST_SKIP() << "this kernel has no PSI, or no v2 tree";
  Worker();
  const auto use = (*CgroupReader::Open(paths_))->Use();
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_TRUE(use->cpu_pressure && use->memory_pressure && use->io_pressure);
}

TEST_F(CgroupReaderTest, ReadsLimitsInForce) {
  Write(paths_.DirOf("memory"), paths_.IsV1("memory") ? "memory.limit_in_bytes" : "memory.max",
        absl::StrCat(kLimit));
  Write(paths_.DirOf("pids"), "pids.max", "77");
  if (paths_.IsV1("cpu")) {
    Write(paths_.DirOf("cpu"), "cpu.cfs_period_us", "50000");
    Write(paths_.DirOf("cpu"), "cpu.cfs_quota_us", "40000");
    Write(paths_.DirOf("cpu"), "cpu.shares", "1024");
  } else {
    Write(paths_.DirOf("cpu"), "cpu.max", "40000 50000");
    Write(paths_.DirOf("cpu"), "cpu.weight", "100");
  }
  Worker();
  const auto reader = CgroupReader::Open(paths_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto use = (*reader)->Use();
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->memory.limit, kLimit);
  EXPECT_EQ(use->memory.Available().value_or(0), kLimit - *use->memory.WorkingSet());
  const GroupDetail detail = Detail();
  EXPECT_EQ(detail.max_threads, 77u);
  EXPECT_EQ(detail.threads, 1u);
  EXPECT_EQ(detail.period_us, 50000u);
  EXPECT_EQ(detail.quota_us, 40000u);
  EXPECT_EQ(detail.cpu_shares, 1024u);
  EXPECT_GT(detail.periods.value_or(0), 0u);
  EXPECT_TRUE(detail.throttled_periods && detail.throttled_ns);
  EXPECT_GE(detail.max_memory.value_or(0), kWorkerMemory);
  EXPECT_EQ(detail.oom_kills, 0u);
  EXPECT_TRUE(detail.limit_hits && detail.reserved_memory);
}

TEST_F(CgroupReaderTest, CountsTheProcessesThatWereKilledForLackOfMemory) {
  const bool v1 = paths_.IsV1("memory");
  Write(paths_.DirOf("memory"), v1 ? "memory.limit_in_bytes" : "memory.max",
        absl::StrCat(kWorkerMemory / 2));
  if (!v1) Write(paths_.DirOf("memory"), "memory.swap.max", "0");
  const pid_t pid = fork();
  if (pid == 0) {
    if (!JoinCgroup(paths_, getpid()).ok()) _exit(1);
    auto* memory = static_cast<volatile char*>(malloc(kWorkerMemory));
    for (size_t i = 0; i < kWorkerMemory; i += 4096) memory[i] = 1;
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the limit did not hold";
  const GroupDetail detail = Detail();
  EXPECT_EQ(detail.oom_kills, 1u);
  EXPECT_GT(detail.limit_hits.value_or(0), 0u);
}

TEST_F(CgroupReaderTest, ReadsLimitsThatHaveChangedMeanwhile) {
  auto reader = CgroupReader::Open(paths_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  DetailReader detail(*std::move(reader));
  EXPECT_EQ(detail.Read().max_threads, kNoLimit);
  Write(paths_.DirOf("pids"), "pids.max", "77");
  EXPECT_EQ(detail.Read().max_threads, 77u);
  Worker();
  EXPECT_EQ(detail.Read().threads, 1u);
}

TEST_F(CgroupReaderTest, CountsProcessesAndWhatTheyHoldOpen) {
  const auto reader = CgroupReader::Open(paths_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT(*(*reader)->Processes(), IsEmpty());
  const pid_t pid = Worker(), other = Worker();
  EXPECT_THAT(*(*reader)->Processes(), UnorderedElementsAre(pid, other));
  const ProcessCounts counts = CountProcesses({pid, other});
  EXPECT_EQ(counts.processes, 2u);
  EXPECT_GE(counts.sockets.value_or(0), 2u * kWorkerSockets);
  EXPECT_GT(counts.descriptors.value_or(0), *counts.sockets);
  EXPECT_GT(OpenFileLimit(pid).value_or(0), 0u);
  EXPECT_EQ(OpenFileLimit(0), std::nullopt);
}

TEST_F(CgroupReaderTest, CountsProcessesOfGroupsThatWereMadeLater) {
  const auto reader = CgroupReader::Open(paths_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto child = CreateChildCgroup(paths_, "exec");
  ASSERT_TRUE(child.ok()) << child.status();
  const pid_t pid = Worker();
  ASSERT_TRUE(JoinCgroup(*child, pid).ok());
  EXPECT_THAT(*(*reader)->Processes(), ElementsAre(pid));
  EndWorkers();
  EXPECT_THAT(*(*reader)->Processes(), IsEmpty());
}

TEST_F(CgroupReaderTest, SaysThatAGroupHasGone) {
  const std::shared_ptr<const CgroupReader> reader = *CgroupReader::Open(paths_);
  DetailReader detail(reader);
  EXPECT_TRUE(detail.Read().threads);
  ASSERT_TRUE(RemoveCgroup(paths_).ok());
  EXPECT_TRUE(absl::IsNotFound(reader->Use().status()));
  EXPECT_TRUE(absl::IsNotFound(CgroupReader::Open(paths_).status()));
  EXPECT_EQ(detail.Read().threads, std::nullopt);
  EXPECT_EQ(DetailReader(reader).Read().threads, std::nullopt);
  EXPECT_THAT(*reader->Processes(), IsEmpty());
  // One of the same name is another.
  ASSERT_TRUE(CreateCgroup(*DetectCgroupHost(), path_).ok());
  EXPECT_TRUE(absl::IsNotFound(reader->Use().status()));
  EXPECT_EQ(detail.Read().threads, std::nullopt);
}

}  // namespace
}  // namespace gantry::cri
