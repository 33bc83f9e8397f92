#include "imageservice/snapshot.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"

#include "imageservice/testing_layer.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Digest(int n) {
  std::string number = absl::StrCat(n);
  return "sha256:" + std::string(64 - number.size(), 'a') + number;
}

std::string ReadAt(int dirfd, const std::string& path) {
  UniqueFd fd(openat(dirfd, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return absl::StrCat("<", strerror(errno), ">");
  char buffer[100];
  const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
  return n < 0 ? absl::StrCat("<", strerror(errno), ">")
               : std::string(buffer, static_cast<size_t>(n));
}

bool WriteAt(int dirfd, const std::string& path, const std::string& text) {
  UniqueFd fd(openat(dirfd, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  return fd.valid() &&
         write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string HostMounts() {
  std::ifstream in("/proc/self/mountinfo");
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

// Both ways to make an overlay (layer by layer, and mount(2)), of layers in both forms.
struct Way {
  bool mount2;
  LayerForm form;
};

class SnapshotsTest : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    char dir[] = "/tmp/gantry-snapshot-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    root_ = dir;
    before_ = HostMounts();
    auto store = ImageStore::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    Open();
    if (GetParam().form == LayerForm::kErofs &&
        snapshots_->erofs_support() == ErofsSupport::kNone) {
      GTEST_SKIP() << "no EROFS here: " << snapshots_->erofs_reason();
    }
  }
  void TearDown() override {
    if (root_.empty()) return;
    EXPECT_EQ(HostMounts(), before_);
    snapshots_.reset();
    EXPECT_EQ(HostMounts(), before_);
    store_.reset();
    std::filesystem::remove_all(root_);
  }
  void Open() {
    snapshots_.reset();
    auto snapshots =
        Snapshots::Open(store_.get(), root_ + "/containers", {.force_mount2 = GetParam().mount2});
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    snapshots_ = *std::move(snapshots);
  }
  // A layer with what `fill` puts into its tree.
  std::string Layer(int n, const std::function<void(const std::string&)>& fill,
                    const std::string& opaque = "") {
    auto staging = store_->MakeStagingDirectory();
    std::filesystem::create_directory(*staging + "/fs");
    fill(*staging + "/fs");
    if (!opaque.empty()) std::ofstream(*staging + "/opaque", std::ios::binary) << opaque << '\0';
    return Publish(*staging, n);
  }
  std::string Publish(const std::string& staging, int n) {
    if (GetParam().form == LayerForm::kErofs) {
      EXPECT_TRUE(StageAsErofs(staging).ok());
    }
    const Status published = store_->PublishLayer(staging, MakeLayer(Digest(n), Digest(9)));
    EXPECT_TRUE(published.ok()) << published;
    return Digest(n);
  }
  // What a layer's own tree has, whatever a container did.
  std::string ReadInLayer(const std::string& layer, const std::string& path) {
    auto view = snapshots_->View({layer});
    EXPECT_TRUE(view.ok()) << view.status();
    return view.ok() ? ReadAt(view->get(), path) : "";
  }
  static void Put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
  }

  std::string root_, before_;
  std::unique_ptr<ImageStore> store_;
  std::unique_ptr<Snapshots> snapshots_;
};

TEST_P(SnapshotsTest, MergesLayersAndKeepsThemClean) {
  const std::string base = Layer(1, [](const std::string& fs) {
    Put(fs + "/low", "low");
    Put(fs + "/both", "old");
    Put(fs + "/gone", "x");
    Put(fs + "/d/hidden", "x");
  });
  const std::string top = Layer(
      2,
      [](const std::string& fs) {
        Put(fs + "/both", "new");
        Put(fs + "/d/shown", "y");
        mknod((fs + "/gone").c_str(), S_IFCHR, makedev(0, 0));
        chmod(fs.c_str(), 0751);
      },
      "d");
  auto mount = snapshots_->Create("c1", {base, top});
  ASSERT_TRUE(mount.ok()) << mount.status();
  const int fd = mount->get();
  EXPECT_EQ(ReadAt(fd, "low"), "low");
  EXPECT_EQ(ReadAt(fd, "both"), "new");
  EXPECT_EQ(ReadAt(fd, "gone"), "<No such file or directory>");
  EXPECT_EQ(ReadAt(fd, "d/shown"), "y");
  EXPECT_EQ(ReadAt(fd, "d/hidden"), "<No such file or directory>");
  struct stat st;
  ASSERT_EQ(fstat(fd, &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0751u);
  ASSERT_TRUE(WriteAt(fd, "both", "mine"));
  EXPECT_EQ(ReadAt(fd, "both"), "mine");
  EXPECT_EQ(ReadInLayer(top, "both"), "new");
  EXPECT_EQ(ReadAt(AT_FDCWD, snapshots_->UpperDirectory("c1") + "/both"), "mine");
  EXPECT_EQ(HostMounts(), before_);
  EXPECT_THAT(snapshots_->List(), ElementsAre("c1"));
  mount->Reset();
  EXPECT_TRUE(snapshots_->Remove("c1").ok());
  EXPECT_TRUE(snapshots_->Remove("c1").ok());
  EXPECT_TRUE(snapshots_->List().empty());
}

TEST_P(SnapshotsTest, ViewsAreReadOnlyAndShowNoWhiteouts) {
  const std::string base = Layer(1, [](const std::string& fs) {
    Put(fs + "/etc/passwd", "root");
    mknod((fs + "/whiteout").c_str(), S_IFCHR, makedev(0, 0));
  });
  const std::string top = Layer(2, [](const std::string& fs) { Put(fs + "/f", "2"); });
  for (const std::vector<std::string>& layers : {std::vector{base}, std::vector{base, top}}) {
    auto view = snapshots_->View(layers);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(ReadAt(view->get(), "etc/passwd"), "root");
    EXPECT_EQ(faccessat(view->get(), "whiteout", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    EXPECT_FALSE(WriteAt(view->get(), "new", "x"));
    EXPECT_EQ(errno, EROFS);
  }
  EXPECT_TRUE(snapshots_->List().empty());
}

TEST_P(SnapshotsTest, WorksWithoutLayersAndWithOneTwice) {
  auto empty = snapshots_->Create("empty", {});
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_TRUE(WriteAt(empty->get(), "f", "x"));
  EXPECT_TRUE(snapshots_->View({}).ok());
  const std::string a = Layer(1, [](const std::string& fs) { Put(fs + "/f", "a"); });
  const std::string b = Layer(2, [](const std::string& fs) { Put(fs + "/f", "b"); });
  auto twice = snapshots_->Create("twice", {a, b, a});
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_EQ(ReadAt(twice->get(), "f"), "a");
}

TEST_P(SnapshotsTest, StacksManyLayers) {
  std::vector<std::string> layers;
  for (int i = 0; i < 150; ++i) {
    layers.push_back(Layer(i, [&](const std::string& fs) {
      Put(fs + "/f", absl::StrCat(i));
      Put(absl::StrCat(fs, "/only", i), absl::StrCat(i));
    }));
  }
  auto mount = snapshots_->Create("many", layers);
  ASSERT_TRUE(mount.ok()) << mount.status();
  EXPECT_EQ(ReadAt(mount->get(), "f"), "149");
  EXPECT_EQ(ReadAt(mount->get(), "only0"), "0");
  EXPECT_EQ(ReadAt(mount->get(), "only75"), "75");
}

TEST_P(SnapshotsTest, HidesAllBelowAnOpaqueRoot) {
  const std::string base = Layer(1, [](const std::string& fs) { Put(fs + "/old", "x"); });
  auto staging = store_->MakeStagingDirectory();
  Put(*staging + "/fs/new", "y");
  std::ofstream(*staging + "/opaque", std::ios::binary) << '\0';
  Publish(*staging, 2);
  auto view = snapshots_->View({base, Digest(2)});
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(ReadAt(view->get(), "old"), "<No such file or directory>");
  EXPECT_EQ(ReadAt(view->get(), "new"), "y");
}

TEST_P(SnapshotsTest, LeavesNothingBehindAFailure) {
  EXPECT_EQ(snapshots_->Create("c", {Digest(7)}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (const char* id : {"", "..", ".trash", "a/b", "a,b", "a:b"}) {
    EXPECT_EQ(snapshots_->Create(id, {}).status().code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(snapshots_->Remove(id).code(), absl::StatusCode::kInvalidArgument) << id;
  }
  EXPECT_EQ(snapshots_->Create("c", {"../../etc"}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(snapshots_->List().empty());
  ASSERT_TRUE(snapshots_->Create("c", {}).ok());
  EXPECT_EQ(snapshots_->Create("c", {}).status().code(), absl::StatusCode::kAlreadyExists);
  // A layer whose folder has gone behind our back.
  const std::string lost = Layer(3, [](const std::string& fs) { Put(fs + "/f", ""); });
  std::filesystem::remove_all(store_->LayerPath(lost));
  EXPECT_FALSE(snapshots_->Create("d", {lost}).ok());
  EXPECT_THAT(snapshots_->List(), ElementsAre("c"));
}

TEST_P(SnapshotsTest, AttachesElsewhereAndOutlivesTheLayersName) {
  const std::string layer = Layer(1, [](const std::string& fs) { Put(fs + "/f", "data"); });
  auto mount = snapshots_->Create("c", {layer});
  ASSERT_TRUE(mount.ok());
  std::thread([&] {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    const std::string target = root_ + "/target";
    std::filesystem::create_directory(target);
    ASSERT_EQ(move_mount(mount->get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH), 0);
    EXPECT_EQ(ReadAt(AT_FDCWD, target + "/f"), "data");
    std::ifstream in("/proc/thread-self/mountinfo");
    std::stringstream text;
    text << in.rdbuf();
    EXPECT_THAT(text.str(), HasSubstr("volatile"));
  }).join();
}

TEST_P(SnapshotsTest, ServesManyCallersAtOnce) {
  const std::string layer = Layer(1, [](const std::string& fs) { Put(fs + "/f", "data"); });
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string id = absl::StrCat("c-", t, "-", i);
        auto mount = snapshots_->Create(id, {layer});
        ASSERT_TRUE(mount.ok()) << mount.status();
        EXPECT_EQ(ReadAt(mount->get(), "f"), "data");
        mount->Reset();
        EXPECT_TRUE(snapshots_->Remove(id).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(snapshots_->List().empty());
}

TEST_P(SnapshotsTest, FindsWritableLayersAfterARestart) {
  ASSERT_TRUE(snapshots_->Create("b", {}).ok());
  ASSERT_TRUE(snapshots_->Create("a", {}).ok());
  Open();
  EXPECT_THAT(snapshots_->List(), ElementsAre("a", "b"));
  EXPECT_EQ(Snapshots::Open(store_.get(), "/tmp", {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(SnapshotsTest, TakesMount2OnlyWhereItMust) {
  auto workshop = Workshop::Open(root_, {.force_mount2 = GetParam().mount2});
  ASSERT_TRUE(workshop.ok()) << workshop.status();
  if (GetParam().mount2) {
    EXPECT_TRUE((*workshop)->uses_mount2());
  } else {
    // Which one it is depends on the kernel; that it works is what Open has tried.
    RecordProperty("mount2", (*workshop)->uses_mount2() ? "yes" : "no");
    EXPECT_TRUE((*workshop)->MakeOverlay({}).ok());
  }
}

// A user namespace that maps 0 to 100000, and nobody in it.
UniqueFd MappedNamespace() {
  constexpr char kMap[] = "0 100000 65536";
  const auto child = Clone(CloneRequest{.flags = CLONE_NEWUSER});
  EXPECT_TRUE(child.ok()) << child.status();
  if (!child.ok()) return UniqueFd();
  if (child->pid == 0) {
    while (true) pause();
  }
  const std::string proc = absl::StrCat("/proc/", child->pid);
  EXPECT_TRUE(WriteFileAt(AT_FDCWD, proc + "/uid_map", kMap).ok());
  EXPECT_TRUE(WriteFileAt(AT_FDCWD, proc + "/gid_map", kMap).ok());
  auto user_namespace = OpenAt(AT_FDCWD, proc + "/ns/user", O_RDONLY);
  EXPECT_TRUE(SignalPidFd(child->pidfd.get(), SIGKILL).ok());
  EXPECT_TRUE(WaitPidFd(child->pidfd.get(), /*block=*/true).ok());
  return user_namespace.ok() ? *std::move(user_namespace) : UniqueFd();
}

uid_t OwnerAt(int dirfd, const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(fstatat(dirfd, path.c_str(), &info, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), 0) << path;
  return info.st_uid;
}

TEST_P(SnapshotsTest, OwnersAreMappedForAContainerInAUserNamespace) {
  const std::string base = Layer(1, [](const std::string& fs) {
    Put(fs + "/root", "r");
    Put(fs + "/app", "a");
    EXPECT_EQ(chown((fs + "/app").c_str(), 1000, 1000), 0);
  });
  const std::string top = Layer(2, [](const std::string& fs) { Put(fs + "/top", "t"); });
  const UniqueFd user_namespace = MappedNamespace();
  ASSERT_TRUE(snapshots_->ProbeIdMap(user_namespace.get()).ok());
  auto mount = snapshots_->Create("c1", {base, top}, {user_namespace.get(), 100000, 100000});
  ASSERT_TRUE(mount.ok()) << mount.status();
  EXPECT_EQ(OwnerAt(mount->get(), ""), 100000U);
  EXPECT_EQ(OwnerAt(mount->get(), "root"), 100000U);
  EXPECT_EQ(OwnerAt(mount->get(), "app"), 101000U);
  EXPECT_EQ(OwnerAt(mount->get(), "top"), 100000U);
  // What it writes has these owners on disk, and the layers keep theirs.
  EXPECT_TRUE(WriteAt(mount->get(), "app", "changed"));
  EXPECT_EQ(OwnerAt(AT_FDCWD, snapshots_->UpperDirectory("c1") + "/app"), 101000U);
  auto view = snapshots_->View({base});
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(OwnerAt(view->get(), "app"), 1000U);
  // Another container of the same layers is not touched by it.
  auto plain = snapshots_->Create("c2", {base, top});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(OwnerAt(plain->get(), "app"), 1000U);
}

TEST_P(SnapshotsTest, NothingOfTheMappingStaysInTheStore) {
  const std::string base = Layer(1, [](const std::string& fs) { Put(fs + "/root", "r"); });
  std::vector<std::string> before;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/workshop"))
    before.push_back(entry.path());
  const UniqueFd user_namespace = MappedNamespace();
  ASSERT_TRUE(snapshots_->Create("c1", {base}, {user_namespace.get(), 100000, 100000}).ok());
  ASSERT_TRUE(snapshots_->Volume({base}, "root", -1).ok());
  std::vector<std::string> after;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/workshop"))
    after.push_back(entry.path());
  EXPECT_EQ(after, before);
  EXPECT_EQ(ReadInLayer(base, "root"), "r");
}

TEST_P(SnapshotsTest, AMappingThatTheFileSystemCannotIsAnError) {
  const std::string base = Layer(1, [](const std::string& fs) { Put(fs + "/root", "r"); });
  const UniqueFd no_namespace(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(snapshots_->ProbeIdMap(no_namespace.get()).ok());
  EXPECT_FALSE(snapshots_->Create("c1", {base}, {no_namespace.get(), 1, 1}).ok());
  EXPECT_THAT(snapshots_->List(), ElementsAre());
}

TEST_P(SnapshotsTest, Row77AVolumeIsReadOnlyAndItsProgramsCanBeRun) {
  const std::string base = Layer(1, [](const std::string& fs) {
    Put(fs + "/d/old", "old");
    Put(fs + "/d/gone", "x");
  });
  const std::string top = Layer(2, [](const std::string& fs) {
    Put(fs + "/d/new", "new");
    mknod((fs + "/d/gone").c_str(), S_IFCHR, makedev(0, 0));
  });
  for (const auto& layers : {std::vector{base}, std::vector{base, top}}) {
    auto mount = snapshots_->Volume(layers, "", -1);
    ASSERT_TRUE(mount.ok()) << mount.status();
    EXPECT_EQ(ReadAt(mount->get(), "d/old"), "old");
    EXPECT_FALSE(WriteAt(mount->get(), "d/old", "changed"));
    EXPECT_EQ(errno, EROFS);
    struct statvfs info = {};
    ASSERT_EQ(fstatvfs(mount->get(), &info), 0);
    EXPECT_EQ(info.f_flag & (ST_RDONLY | ST_NOEXEC | ST_NOSUID | ST_NODEV),
              static_cast<unsigned long>(ST_RDONLY | ST_NOSUID | ST_NODEV));
  }
  auto merged = snapshots_->Volume({base, top}, "", -1);
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(ReadAt(merged->get(), "d/gone"), "<No such file or directory>");
  EXPECT_EQ(ReadAt(merged->get(), "d/new"), "new");
}

TEST_P(SnapshotsTest, Row77APartOfAVolumeIsInsideOfIt) {
  const std::string layer = Layer(1, [](const std::string& fs) {
    Put(fs + "/d/e/file", "inside");
    std::filesystem::create_symlink("e", fs + "/d/link");
    std::filesystem::create_symlink("/etc", fs + "/d/absolute");
    std::filesystem::create_symlink("../../..", fs + "/d/out");
  });
  for (const char* path : {"d/e", "d/link", "d/e/../e"}) {
    auto part = snapshots_->Volume({layer}, path, -1);
    ASSERT_TRUE(part.ok()) << part.status();
    EXPECT_EQ(ReadAt(part->get(), "file"), "inside") << path;
    EXPECT_FALSE(WriteAt(part->get(), "file", "changed")) << path;
  }
  for (const char* path : {"d/absolute", "d/out", "..", "/d/e", "d/out/etc"}) {
    const Status status = snapshots_->Volume({layer}, path, -1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr("leads out of the image")) << path;
  }
  for (const char* path : {"nothing", "d/e/file/more"}) {
    EXPECT_THAT(std::string(snapshots_->Volume({layer}, path, -1).status().message()),
                HasSubstr("is not in the image"))
        << path;
  }
}

TEST_P(SnapshotsTest, Row77AVolumeIsMappedToo) {
  const std::string layer = Layer(1, [](const std::string& fs) { Put(fs + "/d/file", "f"); });
  const UniqueFd user_namespace = MappedNamespace();
  auto volume = snapshots_->Volume({layer}, "d", user_namespace.get());
  ASSERT_TRUE(volume.ok()) << volume.status();
  EXPECT_EQ(OwnerAt(volume->get(), "file"), 100000U);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, SnapshotsTest,
    ::testing::Values(Way{false, LayerForm::kDirectory}, Way{true, LayerForm::kDirectory},
                      Way{false, LayerForm::kErofs}, Way{true, LayerForm::kErofs}),
    [](const auto& way) {
      return absl::StrCat(way.param.mount2 ? "Mount2" : "ByLayer", "Of",
                          way.param.form == LayerForm::kErofs ? "Erofs" : "Directories");
    });

}  // namespace
}  // namespace gantry::images
