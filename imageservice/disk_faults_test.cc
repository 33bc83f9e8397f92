// A disk that fails under a pull: full, without inodes, read-only, with errors of its own. For both
// forms of a layer: a clear error, nothing left, and the next pull works once the disk does.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

bool Shell(const std::string& command) { return system((command + " >&2").c_str()) == 0; }

// The store is on a file system of its own, in a mount namespace of this process.
class DiskFaults : public PullTest, public ::testing::WithParamInterface<LayerForm> {
 protected:
  DiskFaults()
      : server_([this](const TestRequest& request) { return registry_.Answer(request); }) {}

  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped()) return;
    // The first time only: what a test mounts ends with this process, however it ends.
    static const bool alone =
        unshare(CLONE_NEWNS) == 0 && mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!alone) GTEST_SKIP() << "no mount namespace of our own";
    TarArchive archive;
    for (int i = 0; i < 400; ++i) {
      archive.File(absl::StrCat("d", i % 20, "/f", i),
                   std::string(20'000, static_cast<char>('a' + i % 26)));
    }
    image_.AddLayer(archive.Finish(), TestCompression::kNone);
    registry_.Add("a/b", "1", image_);
  }
  void TearDown() override {
    CloseStore();
    for (const std::string& path : mounted_) {
      EXPECT_EQ(umount2(path.c_str(), MNT_DETACH), 0) << path;
    }
    if (!beside_.empty()) std::filesystem::remove(beside_);
  }

  void CloseStore() {
    puller_.reset();
    if (store_ != nullptr) store_->FlushDeletions();
    store_.reset();
  }
  void Reopen() {
    CloseStore();
    options_.layer_form = GetParam();
    OpenStore();
  }
  void MountMemory(const std::string& path, const std::string& options) {
    ASSERT_EQ(mount("tmpfs", path.c_str(), "tmpfs", 0, options.c_str()), 0) << strerror(errno);
    mounted_.insert(mounted_.begin(), path);
  }
  void Remount(const std::string& path, const std::string& options) {
    ASSERT_EQ(mount("", path.c_str(), nullptr, MS_REMOUNT, options.c_str()), 0) << strerror(errno);
  }
  // ext4 on the file `disk`, by loop. False: this machine has none.
  bool MountExt4(const std::string& disk) {
    disk_ = disk;
    CloseStore();
    // Without a journal nothing is written but what the pull writes.
    return Shell(absl::StrCat("truncate -s 100M ", disk_, " && mkfs.ext4 -q -O ^has_journal ",
                              "-E lazy_itable_init=0 -m 0 ", disk_)) &&
           MountAgain();
  }
  // Memory for disks beside the store.
  std::string Beside() {
    beside_ = directory_.string() + "-disk";
    std::filesystem::create_directory(beside_);
    MountMemory(beside_, "size=256m");
    return beside_;
  }
  bool MountAgain() {
    const std::string path = directory_.string();
    if (!Shell(absl::StrCat("mount -o loop,errors=remount-ro ", disk_, " ", path))) return false;
    mounted_.insert(mounted_.begin(), path);
    return true;
  }
  // Off, checked, and on again.
  void Repair() {
    CloseStore();
    ASSERT_TRUE(Shell("umount " + mounted_.front()));
    mounted_.erase(mounted_.begin());
    (void)Shell("e2fsck -fy " + disk_);
    ASSERT_TRUE(MountAgain());
    Reopen();
  }

  std::string Name() const { return absl::StrCat(server_.host(), "/a/b:1"); }
  Status Try() { return Pull(Name()).status(); }
  // With one of these words, and no image.
  void ExpectFails(const std::vector<std::string>& words) {
    const Status status = Try();
    EXPECT_FALSE(status.ok());
    printf("%s\n", status.ToString().c_str());
    const bool told = std::any_of(words.begin(), words.end(), [&](const std::string& word) {
      return absl::StrContains(status.message(), word);
    });
    EXPECT_TRUE(told) << status;
    EXPECT_TRUE(store_->List().empty());
    EXPECT_TRUE(ChildPids().empty());
  }
  void ExpectNothingLeft() {
    store_->FlushDeletions();
    EXPECT_TRUE(store_->List().empty());
    EXPECT_TRUE(std::filesystem::is_empty(directory_ / "staging"));
    EXPECT_TRUE(std::filesystem::is_empty(directory_ / "layers"));
    EXPECT_TRUE(ChildPids().empty());
  }
  void ExpectPulls() {
    const auto pulled = Pull(Name());
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    EXPECT_EQ(store_->List().size(), 1u);
    EXPECT_EQ(store_->Layer((*pulled)->layers[0])->diff_id, image_.diff_ids()[0]);
  }

  MemoryRegistry registry_;
  TestServer server_;
  TestImage image_;
  std::vector<std::string> mounted_;  // the last one first
  std::string disk_, beside_;
};

TEST_P(DiskFaults, AFullDiskIsResourceExhausted) {
  CloseStore();
  MountMemory(directory_, "size=5m");
  Reopen();
  const Status status = Try();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), AnyOf(HasSubstr("No space left"), HasSubstr("full")));
  ExpectNothingLeft();
  Remount(directory_, "size=64m");
  ExpectPulls();
}

TEST_P(DiskFaults, ADiskWithoutInodesIsResourceExhausted) {
  CloseStore();
  MountMemory(directory_, "size=64m");
  Reopen();
  struct statvfs fs = {};
  ASSERT_EQ(statvfs(directory_.c_str(), &fs), 0);
  const uint64_t used = fs.f_files - fs.f_ffree;
  // The folder of a layer and a part of what is in it; then all but the folder.
  for (const uint64_t room : {4u, 2u, 1u, 0u}) {
    SCOPED_TRACE(room);
    // Refused until the kernel has let go of what the last try removed.
    const std::string inodes = absl::StrCat("nr_inodes=", used + room);
    ASSERT_TRUE(Eventually([&] {
      return mount("", directory_.c_str(), nullptr, MS_REMOUNT, inodes.c_str()) == 0;
    })) << strerror(errno);
    const Status status = Try();
    if (status.ok()) continue;  // the EROFS form needs no more
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("No space left"));
    ExpectNothingLeft();
  }
  EXPECT_TRUE(store_->List().empty());
  Remount(directory_, "nr_inodes=10000");
  ExpectPulls();
}

// What ext4 does of itself when it finds its disk damaged.
TEST_P(DiskFaults, ADiskThatTurnsReadOnlyIsToldAndThePullAfterTheRepairWorks) {
  if (!MountExt4(Beside() + "/disk")) GTEST_SKIP() << "no ext4 by loop here";
  Reopen();
  struct stat st = {};
  ASSERT_EQ(stat(directory_.c_str(), &st), 0);
  const std::string link = absl::StrCat("/sys/dev/block/", major(st.st_dev), ":", minor(st.st_dev));
  const std::string device = std::filesystem::read_symlink(link).filename();
  std::ofstream trigger(absl::StrCat("/sys/fs/ext4/", device, "/trigger_fs_error"));
  if (!(trigger << "gantry test" << std::flush)) GTEST_SKIP() << "this kernel takes no such order";
  ExpectFails({"Read-only file system"});
  Repair();
  ExpectNothingLeft();
  ExpectPulls();
}

// A thin disk whose own store is full: the sync says what no write said.
TEST_P(DiskFaults, AThinDiskThatRunsOutIsToldAtTheSyncAndTheNextPullWorks) {
  const std::string beside = Beside();
  if (!MountExt4(beside + "/disk")) GTEST_SKIP() << "no ext4 by loop here";
  Reopen();
  ASSERT_TRUE(Shell("sync -f " + directory_.string()));
  struct statvfs fs = {};
  ASSERT_EQ(statvfs(beside.c_str(), &fs), 0);
  const uint64_t used = (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
  Remount(beside, absl::StrCat("size=", used + (1 << 20)));
  ExpectFails({"No space left", "Input/output error"});
  Remount(beside, "size=256m");
  Repair();
  ExpectNothingLeft();
  ExpectPulls();
}

// A disk that takes no write any more: a sealed memory file under the loop device, whose EPERM
// becomes the EIO of a broken disk. The repair is a copy on a new one.
TEST_P(DiskFaults, AnInputOutputErrorIsToldAndThePullFromACopyWorks) {
  UniqueFd broken(memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_TRUE(broken.valid());
  const std::string path = absl::StrCat("/proc/", getpid(), "/fd/", broken.get());
  const std::string copy = Beside() + "/copy";
  if (!MountExt4(path)) GTEST_SKIP() << "no ext4 by loop here";
  Reopen();
  ASSERT_TRUE(Shell("sync -f " + directory_.string()));
  ASSERT_EQ(fcntl(broken.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0) << strerror(errno);
  ExpectFails({"Input/output error"});
  ASSERT_TRUE(Shell(absl::StrCat("cp ", path, " ", copy)));
  disk_ = copy;
  Repair();
  ExpectNothingLeft();
  ExpectPulls();
}

INSTANTIATE_TEST_SUITE_P(Forms, DiskFaults,
                         ::testing::Values(LayerForm::kErofs, LayerForm::kDirectory),
                         [](const auto& form) {
                           return form.param == LayerForm::kErofs ? "Erofs" : "Directory";
                         });

}  // namespace
}  // namespace gantry::images
