#include "cri/store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/store/directory_lock.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    root_ = testing::TempDir() + "/gantry_store_XXXXXX";
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
  }
  ~StoreTest() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<Store> Open() {
    StatusOr<std::unique_ptr<Store>> store = Store::Open(root_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? std::move(*store) : nullptr;
  }

  std::string root_;
};

store::SandboxRecord Sandbox(Store& store, const std::string& id) {
  store::SandboxRecord record;
  record.set_id(id);
  record.set_created_at_ns(store.NextCreatedAt());
  record.set_config(std::string("bytes \0\xff as they came", 21));
  record.add_ips("10.0.0.1");
  return record;
}

TEST_F(StoreTest, RecordsComeBackByteForByteAfterReopening) {
  std::unique_ptr<Store> store = Open();
  const store::SandboxRecord sandbox = Sandbox(*store, "a");
  store::ContainerRecord container;
  container.set_id("c");
  container.set_sandbox_id("a");
  container.set_exit_code(137);
  container.add_layers("sha256:1");
  ASSERT_TRUE(store->Put(sandbox).ok());
  ASSERT_TRUE(store->Put(container).ok());
  store.reset();

  store = Open();
  const Store::Contents contents = store->LoadAll();
  ASSERT_THAT(contents.sandboxes, SizeIs(1));
  ASSERT_THAT(contents.containers, SizeIs(1));
  EXPECT_EQ(contents.sandboxes[0].SerializeAsString(), sandbox.SerializeAsString());
  EXPECT_EQ(contents.containers[0].SerializeAsString(), container.SerializeAsString());
  EXPECT_THAT(contents.quarantined, IsEmpty());
  EXPECT_FALSE(contents.salvaged.has_value());
}

TEST_F(StoreTest, PutReplacesAndDeleteIsIdempotent) {
  std::unique_ptr<Store> store = Open();
  store::SandboxRecord record = Sandbox(*store, "a");
  ASSERT_TRUE(store->Put(record).ok());
  record.set_state(1);
  ASSERT_TRUE(store->Put(record).ok());
  ASSERT_TRUE(store->Put(Sandbox(*store, "b")).ok());
  ASSERT_TRUE(store->DeleteSandbox("b").ok());
  EXPECT_TRUE(store->DeleteSandbox("b").ok());
  EXPECT_TRUE(store->DeleteContainer("never was").ok());
  store.reset();
  const Store::Contents contents = Open()->LoadAll();
  ASSERT_THAT(contents.sandboxes, SizeIs(1));
  EXPECT_EQ(contents.sandboxes[0].state(), 1);
}

TEST_F(StoreTest, WritesOfOneThreadKeepTheirOrderWithoutWaiting) {
  std::unique_ptr<Store> store = Open();
  store::SandboxRecord record = Sandbox(*store, "a");
  for (int i = 0; i <= 3000; ++i) {  // more than the queue holds
    record.set_shim_pid(i);
    (void)store->PutLater(record);
  }
  store.reset();
  const Store::Contents contents = Open()->LoadAll();
  ASSERT_THAT(contents.sandboxes, SizeIs(1));
  EXPECT_EQ(contents.sandboxes[0].shim_pid(), 3000);
}

TEST_F(StoreTest, ManyThreadsWriteAtOnce) {
  std::unique_ptr<Store> store = Open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&store, t] {
      for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(store->Put(Sandbox(*store, absl::StrCat(t, "-", i))).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  store.reset();
  EXPECT_THAT(Open()->LoadAll().sandboxes, SizeIs(400));
}

TEST_F(StoreTest, ListIsInTheOrderOfCreation) {
  std::unique_ptr<Store> store = Open();
  for (const char* id : {"z", "m", "a"}) ASSERT_TRUE(store->Put(Sandbox(*store, id)).ok());
  store.reset();
  std::vector<std::string> ids;
  for (const auto& record : Open()->LoadAll().sandboxes) ids.push_back(record.id());
  EXPECT_THAT(ids, ElementsAre("z", "m", "a"));
}

TEST_F(StoreTest, CreatedAtRisesStrictlyWithinADaemon) {
  std::unique_ptr<Store> store = Open();
  std::set<int64_t> seen;
  int64_t last = 0;
  for (int i = 0; i < 1000; ++i) {
    const int64_t now = store->NextCreatedAt();
    EXPECT_GT(now, last);
    last = now;
  }
}

TEST_F(StoreTest, CreatedAtNeverGoesBackOverARestartWithTheClockSetBack) {
  std::unique_ptr<Store> store = Open();
  store::SandboxRecord record = Sandbox(*store, "a");
  const int64_t ahead =
      store->NextCreatedAt() + 3'600'000'000'000;  // as if it is an hour earlier now
  record.set_created_at_ns(ahead);
  ASSERT_TRUE(store->Put(record).ok());
  ASSERT_TRUE(store->DeleteSandbox("a").ok());
  store.reset();
  EXPECT_GT(Open()->NextCreatedAt(), ahead);
}

TEST_F(StoreTest, FileIsForRootAlone) {
  const std::unique_ptr<Store> store = Open();
  ASSERT_TRUE(store->Put(Sandbox(*store, "a")).ok());
  for (const char* name : {"gantry.db", "gantry.db-wal", "gantry.db-shm"}) {
    struct stat info = {};
    ASSERT_EQ(stat(absl::StrCat(root_, "/", name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(StoreTest, MissingRootIsAClearError) {
  const auto store = Store::Open(root_ + "/none");
  EXPECT_EQ(store.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("/none/gantry.db"));
}

// The other half of SurvivesSigkill: writes for ever, and says on descriptor 3 what is committed.
void WriteForEver(const char* root) {
  StatusOr<std::unique_ptr<Store>> store = Store::Open(root);
  if (!store.ok()) _exit(1);
  for (int i = 0;; ++i) {
    store::SandboxRecord record = Sandbox(**store, absl::StrCat(i));
    record.set_message(std::string(5000, 'x'));
    if (!(*store)->Put(record).ok()) _exit(2);
    if (i >= 20 && !(*store)->DeleteSandbox(absl::StrCat(i - 20)).ok()) _exit(3);
    const std::string line = absl::StrCat(i, "\n");
    if (write(3, line.data(), line.size()) < 0) _exit(4);
  }
}

StatusOr<int> WriteUntilKilled(const std::string& root, int kill_after) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SyscallError("pipe2");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  SpawnRequest request;
  request.path = "/proc/self/exe";
  request.args = {"store_writer"};
  request.env = {"GANTRY_STORE_WRITER=" + root};
  request.fds = {{writing.get(), 3}, {2, 2}};
  ASSIGN_OR_RETURN(const ClonedProcess child, Spawn(request));
  writing.Reset();
  int last = -1;
  std::string lines;
  char buffer[256];
  for (ssize_t n = 1; n > 0 && last < kill_after;) {
    n = read(reading.get(), buffer, sizeof buffer);
    lines.append(buffer, n > 0 ? static_cast<size_t>(n) : 0);
    const std::vector<std::string> numbers = absl::StrSplit(lines, '\n');
    if (numbers.size() > 1) last = atoi(numbers[numbers.size() - 2].c_str());
  }
  RETURN_IF_ERROR(SignalPidFd(child.pidfd.get(), SIGKILL));
  RETURN_IF_ERROR(WaitPidFd(child.pidfd.get(), /*block=*/true).status());
  return last;
}

TEST_F(StoreTest, SurvivesSigkillOfTheWriterWithAllThatWasCommitted) {
  for (const int kill_after : {0, 7, 150}) {
    const StatusOr<int> last = WriteUntilKilled(root_, kill_after);
    ASSERT_TRUE(last.ok()) << last.status();
    ASSERT_GE(*last, kill_after);
    const Store::Contents contents = Open()->LoadAll();
    EXPECT_THAT(contents.quarantined, IsEmpty());
    EXPECT_FALSE(contents.salvaged.has_value());
    std::set<std::string> ids;
    for (const auto& record : contents.sandboxes) ids.insert(record.id());
    for (int i = std::max(0, *last - 18); i <= *last; ++i)
      EXPECT_EQ(ids.count(absl::StrCat(i)), 1u);
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
  }
}

TEST(LockDirectory, SecondHolderGetsAClearErrorUntilTheFirstIsGone) {
  std::string path = testing::TempDir() + "/gantry_lock_XXXXXX";
  ASSERT_NE(mkdtemp(path.data()), nullptr);
  const std::string root = path + "/made/on/the/way";
  StatusOr<UniqueFd> first = LockDirectory(root);
  ASSERT_TRUE(first.ok()) << first.status();
  const StatusOr<UniqueFd> second = LockDirectory(root);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(root + " is in use by another"));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat("pid ", getpid())));
  first->Reset();
  EXPECT_TRUE(LockDirectory(root).ok());
  std::filesystem::remove_all(path);
}

TEST(LockDirectory, FileInPlaceOfTheFolderIsAnError) {
  EXPECT_FALSE(LockDirectory("/proc/version").ok());
}

// Runs before main: the test binary executes itself as the writer.
[[maybe_unused]] const bool kIsWriter = [] {
  const char* root = getenv("GANTRY_STORE_WRITER");
  if (root != nullptr) WriteForEver(root);
  return false;
}();

}  // namespace
}  // namespace gantry::cri
