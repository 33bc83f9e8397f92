// The EROFS form against everything else there is: archives nobody wrote by hand, GNU tar, loop
// devices, overlayfs, owners mapped, and how much time and memory it needs.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <malloc.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "imageservice/erofs_verify.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_layer_forms.h"
#include "imageservice/testing_usage.h"
#include "runtime/linux/mount.h"

namespace gantry::images {
namespace {

class ErofsLayerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    if (!CanMountErofs()) GTEST_SKIP() << "needs file-backed EROFS";
  }
  void ExpectSame(const TarArchive& archive) { EXPECT_EQ(forms_.Compare(archive.Finish()), ""); }

  LayerForms forms_;
};

// ---- generated archives ----

// Few names, so that entries meet: replace, merge, link, hide and lead into each other.
class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  TarArchive Make(int entries) {
    TarArchive archive;
    for (int i = 0; i < entries; ++i) Add(&archive);
    return archive;
  }

 private:
  uint64_t Pick(uint64_t below) { return random_() % below; }
  std::string Path() {
    static constexpr const char* kNames[] = {"a", "b", "c", "!", "d-e", "ab", "..", "."};
    std::string path;
    for (uint64_t i = Pick(4); i > 0; --i) path += std::string(kNames[Pick(8)]) + "/";
    return path + kNames[Pick(6)];
  }
  void AddFile(TarArchive* archive) {
    static constexpr size_t kSizes[] = {0, 10, 2048, 2049, 5000, 20000};
    archive->Pax({{"mtime", absl::StrCat(Pick(2'000'000'000), ".", Pick(999))},
                  {"SCHILY.xattr.user.x", std::string(Pick(2) * Pick(3000), 'x')}});
    const std::string content(kSizes[Pick(6)], static_cast<char>('a' + Pick(26)));
    archive->Add({.name = Path(),
                  .mode = static_cast<uint32_t>(Pick(010000)),
                  .uid = static_cast<int64_t>(Pick(70000)),
                  .gid = 5},
                 content);
  }
  void Add(TarArchive* archive) {
    switch (Pick(10)) {
      case 0:
      case 1:
      case 2:
        return AddFile(archive);
      case 3:
      case 4:
        archive->Add({.name = Path(),
                      .type = '5',
                      .mode = static_cast<uint32_t>(Pick(010000)),
                      .gid = static_cast<int64_t>(Pick(9)),
                      .mtime = 7});
        return;
      case 5:
        archive->Symlink(Path(), (Pick(2) ? "/" : "") + Path());
        return;
      case 6:
        archive->HardLink(Path(), Path());
        return;
      case 7:
        archive->Add({.name = Path(),
                      .type = static_cast<char>('3' + Pick(2)),
                      .mode = 0600,
                      .major = 1 + Pick(300),
                      .minor = Pick(1000)});
        return;
      case 8:
        archive->File(absl::StrCat(Path(), "/.wh..wh..opq"), "");
        return;
      default:
        const std::string path = Path();
        const size_t slash = path.rfind('/') + 1;
        archive->File(absl::StrCat(path.substr(0, slash), ".wh.", path.substr(slash)), "");
    }
  }

  std::mt19937_64 random_;
};

TEST_F(ErofsLayerTest, EqualsTheDirectoryFormOfGeneratedArchives) {
  int good = 0;
  for (uint64_t seed = 1; seed <= 250; ++seed) {
    // Most long ones hold an error somewhere; the forms must agree about that too.
    const TarArchive archive = Generator(seed).Make(static_cast<int>(2 + seed % 9));
    ASSERT_EQ(forms_.Compare(archive.Finish()), "") << "seed " << seed;
    if (forms_.WriteErofs(archive.Finish()).ok()) ++good;
  }
  EXPECT_GT(good, 40);
}

TEST_F(ErofsLayerTest, HoldsDirectoriesOfTenThousandNames) {
  TarArchive archive;
  for (int i = 0; i < 10'000; ++i) {
    archive.File(absl::StrCat("d/", i * 7919 % 10'000, "-name"), i % 100 == 0 ? "x" : "");
  }
  for (int i = 0; i < 10'000; i += 30) archive.File(absl::StrCat("d/.wh.", i, "-gone"), "");
  ExpectSame(archive);
  auto mount = forms_.Mount();
  ASSERT_TRUE(mount.ok());
  for (int i = 0; i < 10'000; i += 7) {
    struct stat st;
    EXPECT_EQ(fstatat(mount->get(), absl::StrCat("d/", i, "-name").c_str(), &st, 0), 0);
    EXPECT_NE(fstatat(mount->get(), absl::StrCat("d/", i, "-nam").c_str(), &st, 0), 0);
  }
}

TEST_F(ErofsLayerTest, HoldsThousandsOfLinksToOneFile) {
  TarArchive archive;
  archive.File("file", std::string(3000, 'f')).Symlink("link", "file");
  for (int i = 0; i < 5'000; ++i) archive.HardLink(absl::StrCat("d", i % 10, "/", i), "file");
  for (int i = 0; i < 100; ++i) archive.HardLink(absl::StrCat("l", i), "link");
  ExpectSame(archive);
}

TEST_F(ErofsLayerTest, HoldsDeepTrees) {
  TarArchive archive;
  std::string path;
  for (int i = 0; i < 255; ++i) {
    path += std::string(i % 3 == 0 ? 15 : 1, 'd') + "/";
    archive.Pax({{"path", path}}).Directory("d", 0700);
  }
  archive.Pax({{"path", path + "f"}}).File("f", "deep");
  // And deeper than a name can say, through a link.
  archive.Pax({{"linkpath", path}}).Symlink("link", "").File("link/a/b/c", "deeper");
  ExpectSame(archive);
}

// ---- against GNU tar ----

TEST_F(ErofsLayerTest, EqualsWhatGnuTarExtracts) {
  TarArchive archive;
  archive.Add({.name = "./", .type = '5', .mode = 0755, .mtime = 77});
  for (int i = 0; i < 200; ++i) {
    // tar sets a directory's time when it leaves it.
    const std::string d = absl::StrCat("./d", i / 40, "/");
    if (i % 40 == 0) archive.Add({.name = d, .type = '5', .mode = 02750, .uid = i, .mtime = i});
    archive.Add(
        {.name = d + std::to_string(i), .mode = 0640, .uid = i, .gid = 7, .mtime = int64_t{i} * 9},
        std::string(static_cast<size_t>(i * i), 'x'));
    if (i % 10 == 0) archive.HardLink(absl::StrCat(d, "hard", i), d + std::to_string(i));
    if (i % 10 == 1) archive.Symlink(absl::StrCat(d, "soft", i), "../nowhere");
  }
  archive.Add({.name = "./null", .type = '3', .mode = 0666, .major = 1, .minor = 3})
      .Add({.name = "./fifo", .type = '6', .mode = 0600})
      .Pax({{"mtime", "5.5"}, {"SCHILY.xattr.user.x", "y"}})
      .File("./attributes", "1");
  const std::string tar = forms_.folder() + "/layer.tar", out = forms_.folder() + "/tar";
  std::ofstream(tar, std::ios::binary) << archive.Finish();
  mkdir(out.c_str(), 0755);
  ASSERT_EQ(system(absl::StrCat("tar -C ", out,
                                " --xattrs --xattrs-include='*' --numeric-owner -xpf ", tar)
                       .c_str()),
            0);
  ASSERT_TRUE(forms_.WriteErofs(archive.Finish()).ok());
  auto mount = forms_.Mount();
  ASSERT_TRUE(mount.ok());
  UniqueFd root(open(out.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto expected = ListTree(root.get(), {}), found = ListTree(mount->get(), {});
  ASSERT_TRUE(expected.ok() && found.ok());
  EXPECT_EQ(Difference(*expected, *found), "");
}

// ---- mounted in other ways ----

class LoopDevice {
 public:
  explicit LoopDevice(const std::string& path) {
    UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    for (int tries = 0; tries < 20 && control.valid() && !device_.valid(); ++tries) {
      const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
      path_ = absl::StrCat("/dev/loop", number);
      UniqueFd device(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
      loop_config config = {};
      config.fd = static_cast<uint32_t>(file.get());
      config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
      // Another test may take the same free one first.
      if (device.valid() && ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) {
        device_ = std::move(device);
      }
    }
  }
  bool valid() const { return device_.valid(); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd device_;  // with AUTOCLEAR the last to close it frees the device
};

TEST_F(ErofsLayerTest, MountsByLoopDevices) {
  ASSERT_TRUE(forms_
                  .WriteErofs(TarArchive()
                                  .File("small", "s")
                                  .File("big", std::string(50'000, 'b'))
                                  .File("last", std::string(4097, 'l'))
                                  .Finish())
                  .ok());
  const LoopDevice meta(forms_.meta()), data(forms_.data());
  if (!meta.valid() || !data.valid()) GTEST_SKIP() << "no loop devices here";
  auto by_loop = NewMount("erofs", meta.path(), {{"device", data.path()}, {"ro", ""}}, 0);
  ASSERT_TRUE(by_loop.ok()) << by_loop.status();
  const auto expected = ListErofs(forms_.OpenMeta().get(), forms_.OpenData().get());
  const auto found = ListTree(by_loop->get(), {});
  ASSERT_TRUE(expected.ok() && found.ok()) << found.status();
  EXPECT_EQ(Difference(*expected, *found), "");
}

// A user namespace in which 0 is 100000 outside, held by a child that waits.
class MappedNamespace {
 public:
  MappedNamespace() {
    int ready[2];
    GANTRY_CHECK(pipe2(ready, O_CLOEXEC) == 0);
    child_ = fork();
    if (child_ == 0) {
      const char ok = unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
      (void)!write(ready[1], &ok, 1);
      pause();
      _exit(0);
    }
    char ok = 0;
    (void)!read(ready[0], &ok, 1);
    close(ready[0]);
    close(ready[1]);
    if (!ok) return;
    for (const char* map : {"uid_map", "gid_map"}) {
      std::ofstream(absl::StrCat("/proc/", child_, "/", map)) << "0 100000 65536";
    }
    fd_.Reset(open(absl::StrCat("/proc/", child_, "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ~MappedNamespace() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  int fd() const { return fd_.get(); }

 private:
  pid_t child_ = -1;
  UniqueFd fd_;
};

TEST_F(ErofsLayerTest, MountsWithOwnersMapped) {
  ASSERT_TRUE(forms_
                  .WriteErofs(TarArchive()
                                  .Add({.name = "f", .uid = 0, .gid = 5}, "x")
                                  .Add({.name = "g", .uid = 7}, std::string(9000, 'x'))
                                  .Finish())
                  .ok());
  auto mount = forms_.Mount();
  ASSERT_TRUE(mount.ok());
  const MappedNamespace users;
  if (users.fd() < 0) GTEST_SKIP() << "no user namespaces here";
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(users.fd());
  ASSERT_TRUE(SetMountAttributes(mount->get(), attributes, false, "layer").ok());
  struct stat st;
  ASSERT_EQ(fstatat(mount->get(), "f", &st, 0), 0);
  EXPECT_EQ(st.st_uid, 100'000u);
  EXPECT_EQ(st.st_gid, 100'005u);
  ASSERT_EQ(fstatat(mount->get(), "g", &st, 0), 0);
  EXPECT_EQ(st.st_uid, 100'007u);
}

TEST_F(ErofsLayerTest, ShowsWhiteoutsAndOpaqueDirectoriesToOverlayfs) {
  LayerForms lower;
  ASSERT_TRUE(lower
                  .WriteErofs(TarArchive()
                                  .File("gone", "1")
                                  .File("kept", "1")
                                  .File("opaque/old", "1")
                                  .File("merged/old", "1")
                                  .File("later/old", "1")
                                  .File("swapped/old", "1")
                                  .Finish())
                  .ok());
  ASSERT_TRUE(forms_
                  .WriteErofs(TarArchive()
                                  .File(".wh.gone", "")
                                  .File("opaque/.wh..wh..opq", "")
                                  .File("opaque/new", "2")
                                  .File("merged/new", "2")
                                  .File(".wh.later", "")
                                  .File("later/new", "2")
                                  .File("swapped", "2")
                                  .Finish())
                  .ok());
  const std::string base = forms_.folder();
  const absl::Cleanup unmount = [&] {
    // Nothing is there when all went well.
    for (const char* name : {"/l1", "/l2"}) (void)umount2((base + name).c_str(), MNT_DETACH);
  };
  for (const char* name : {"/upper", "/work", "/l1", "/l2", "/all"})
    mkdir((base + name).c_str(), 0755);
  auto low = lower.Mount(), high = forms_.Mount();
  ASSERT_TRUE(low.ok() && high.ok());
  UniqueFd l1(open((base + "/l1").c_str(), O_PATH | O_CLOEXEC)),
      l2(open((base + "/l2").c_str(), O_PATH | O_CLOEXEC));
  ASSERT_TRUE(MoveMount(low->get(), l1.get(), "l1").ok());
  ASSERT_TRUE(MoveMount(high->get(), l2.get(), "l2").ok());
  {
    auto overlay = NewMount("overlay", "overlay",
                            {{"lowerdir", absl::StrCat(base, "/l2:", base, "/l1")},
                             {"upperdir", base + "/upper"},
                             {"workdir", base + "/work"}},
                            0);
    ASSERT_TRUE(overlay.ok()) << overlay.status();
    const auto listing = ListTree(overlay->get(), {});
    ASSERT_TRUE(listing.ok()) << listing.status();
    std::vector<std::string> paths;
    for (const auto& [path, line] : *listing) paths.push_back(path);
    EXPECT_THAT(paths,
                ::testing::ElementsAre(".", "kept", "later", "later/new", "merged", "merged/new",
                                       "merged/old", "opaque", "opaque/new", "swapped"));
  }
  low->Reset();
  high->Reset();
  EXPECT_TRUE(Unmount(base + "/l1", 0).ok());
  EXPECT_TRUE(Unmount(base + "/l2", 0).ok());
}

// What the verifier accepts of damaged images, the kernel mounts and reads to the end.
TEST_F(ErofsLayerTest, MountsWhateverTheVerifierAccepts) {
  TarArchive archive;
  archive.Pax({{"SCHILY.xattr.user.mime", "text"}})
      .File("d/small", "run me")
      .File("d/big", std::string(10'000, 'b'))
      .HardLink("d/hard", "d/small")
      .Symlink("link", "d/small")
      .File(".wh.gone", "")
      .File("d/e/.wh..wh..opq", "")
      .Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  const auto written = forms_.WriteErofs(archive.Finish());
  ASSERT_TRUE(written.ok());
  const std::string meta = forms_.ReadMeta();
  int mounted = 0;
  for (size_t at = kErofsSuperAt; at < meta.size(); at += 17) {
    std::string changed = meta;
    changed[at] = static_cast<char>(static_cast<size_t>(changed[at]) ^ (1 + at * 37 % 255));
    std::ofstream(forms_.meta(), std::ios::binary) << WithRightSums(changed);
    if (!VerifyErofs(forms_.OpenMeta().get(), written->data_bytes).ok()) continue;
    auto mount = forms_.Mount();
    ASSERT_TRUE(mount.ok()) << at << ": " << mount.status();
    const auto listing = ListTree(mount->get(), {});
    ASSERT_TRUE(listing.ok()) << at << ": " << listing.status();
    ++mounted;
  }
  EXPECT_GT(mounted, 20);
}

// ---- time and memory ----

// Entries without an archive around them.
TarEntry Entry(TarType type, std::string name, uint64_t size = 0) {
  TarEntry entry;
  entry.type = type;
  entry.name = std::move(name);
  entry.mode = 0644;
  entry.size = size;
  return entry;
}

Status Feed(ErofsWriter* writer, const TarEntry& entry, absl::string_view data = "") {
  RETURN_IF_ERROR(writer->OnEntry(entry));
  if (!data.empty()) RETURN_IF_ERROR(writer->OnData(0, data));
  return writer->OnEntryEnd();
}

// A walk for each marker would take hours; the seconds are printed, and the test's time limit is
// what ends it.
TEST_F(ErofsLayerTest, GHSA_rp3h_jf77_q9p4_AMillionEntriesAndMarkersAreLinear) {
  UniqueFd data(open(forms_.data().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  UniqueFd meta(open(forms_.meta().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const double start = CpuSeconds();
  {
    ErofsWriter writer(data.get(), meta.get(), {});
    for (int i = 0; i < 500'000; ++i) {
      ASSERT_TRUE(Feed(&writer, Entry(TarType::kFile, absl::StrCat("d/e", i % 100, "/f", i))).ok());
      ASSERT_TRUE(
          Feed(&writer, Entry(TarType::kFile, absl::StrCat("d/e", i % 100, "/.wh..wh..opq"))).ok());
    }
    // Whole trees replaced again and again.
    for (int i = 0; i < 1'000; ++i) {
      ASSERT_TRUE(Feed(&writer, Entry(TarType::kDirectory, "swap")).ok());
      ASSERT_TRUE(Feed(&writer, Entry(TarType::kFile, "swap/a/b/c")).ok());
      ASSERT_TRUE(Feed(&writer, Entry(TarType::kFile, "swap")).ok());
    }
    auto result = writer.Finish();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->inodes, 1u + 1 + 100 + 500'000 + 1);
  }
  printf("1,003,000 entries: %.2f s of CPU\n", CpuSeconds() - start);
  const double verify = CpuSeconds();
  const UniqueFd written = forms_.OpenMeta();
  EXPECT_TRUE(VerifyErofs(written.get(), 0).ok());
  printf("verified in %.2f s of CPU\n", CpuSeconds() - verify);
}

Status WriteSixtyThousand(int data, int meta) {
  ErofsWriter writer(data, meta, {});
  const std::string content(16'000, 'c');
  for (int i = 0; i < 60'000; ++i) {
    const std::string name = absl::StrCat("usr/lib/python3/dist-packages/package-", i % 900,
                                          "/module_with_a_usual_name_", i, ".py");
    const size_t size = static_cast<size_t>(i) * 7919 % content.size();
    RETURN_IF_ERROR(Feed(&writer, Entry(TarType::kFile, name, size),
                         absl::string_view(content).substr(0, size)));
  }
  return writer.Finish().status();
}

TEST_F(ErofsLayerTest, NeedsLittleMemoryForSixtyThousandFiles) {
  UniqueFd data(open(forms_.data().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  UniqueFd meta(open(forms_.meta().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const pid_t child = fork();
  if (child == 0) {
    // The peak of this process alone, whatever the parent used before.
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5";
    const size_t before = PeakKilobytes();
    const bool ok = WriteSixtyThousand(data.get(), meta.get()).ok();
    const size_t used = PeakKilobytes() - before;
    printf("60,000 files: %zu kB\n", used);
    fflush(stdout);
    _exit(!ok ? 1 : used < 24'000 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
#ifndef __SANITIZE_ADDRESS__  // which needs memory of its own
  EXPECT_EQ(WEXITSTATUS(status), 0);
#endif
  const UniqueFd written = forms_.OpenMeta();
  EXPECT_TRUE(VerifyErofs(written.get(), std::filesystem::file_size(forms_.data())).ok());
}

}  // namespace
}  // namespace gantry::images
