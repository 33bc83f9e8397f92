#include "imageservice/layer_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

#include "imageservice/layer_unpack.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_usage.h"
#include "imageservice/tree_walk.h"
#include "runtime/linux/mount.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A scratch folder with the layer's root in "root" and something precious beside it.
class LayerWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    char dir[] = "/tmp/gantry-writer-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    scratch_ = dir;
    ASSERT_EQ(mkdir((scratch_ + "/root").c_str(), 0755), 0);
    std::ofstream(scratch_ + "/precious") << "gold";
    chmod((scratch_ + "/precious").c_str(), 0600);
    Open();
  }
  void TearDown() override {
    root_.Reset();
    if (!scratch_.empty()) std::filesystem::remove_all(scratch_);
  }
  void Open() {
    root_.Reset(open((scratch_ + "/root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }

  StatusOr<LayerWriter::Result> Unpack(const std::string& tar,
                                       const LayerWriterLimits& limits = {}) {
    std::filesystem::remove_all(scratch_ + "/root");
    mkdir((scratch_ + "/root").c_str(), 0755);
    Open();
    LayerWriter writer(root_.get(), limits);
    ASSIGN_OR_RETURN(auto unpacker, LayerUnpacker::Create(&writer, {}));
    RETURN_IF_ERROR(unpacker->Feed(tar));
    RETURN_IF_ERROR(unpacker->Finish().status());
    return writer.Finish();
  }
  std::string Error(const TarArchive& tar) {
    return std::string(Unpack(tar.Finish()).status().message());
  }

  std::string At(const std::string& path) const { return scratch_ + "/root/" + path; }
  std::string Read(const std::string& path) const {
    std::ifstream in(At(path), std::ios::binary);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }
  struct stat Stat(const std::string& path) const {
    struct stat st = {};
    EXPECT_EQ(lstat(At(path).c_str(), &st), 0) << path;
    return st;
  }
  bool Exists(const std::string& path) const {
    struct stat st;
    return lstat(At(path).c_str(), &st) == 0;
  }
  bool IsWhiteout(const std::string& path) const {
    const struct stat st = Stat(path);
    return S_ISCHR(st.st_mode) && st.st_rdev == 0;
  }
  // Nothing beside the root changed.
  void ExpectUntouched() const {
    std::ifstream in(scratch_ + "/precious");
    std::string text;
    in >> text;
    EXPECT_EQ(text, "gold");
    struct stat st;
    ASSERT_EQ(stat((scratch_ + "/precious").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0600u);
    EXPECT_EQ(st.st_nlink, 1u);
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch_)) ++n;
    EXPECT_EQ(n, 2u);
  }

  std::string scratch_;
  UniqueFd root_;
};

TEST_F(LayerWriterTest, WritesEveryKindOfEntry) {
  std::string capability(20, '\0');
  const uint32_t magic = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE;
  memcpy(capability.data(), &magic, 4);
  const std::string tar =
      TarArchive()
          .Add({.name = "./", .type = '5', .mode = 0711, .uid = 1, .mtime = 77})
          .Add({.name = "dir/", .type = '5', .mode = 02750, .uid = 5, .gid = 6, .mtime = 1234})
          .Add({.name = "dir/setuid", .mode = 04755, .uid = 33, .gid = 34}, "run me")
          .Pax({{"SCHILY.xattr.security.capability", capability},
                {"SCHILY.xattr.user.mime", "text"},
                {"SCHILY.xattr.user.overlay.opaque", "y"},
                {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
                {"SCHILY.xattr.security.selinux", "x"},
                {"mtime", "99.25"}})
          .Add({.name = "dir/ping", .mode = 0755, .uid = 33}, "x")
          .Symlink("dir/link", "/etc/passwd")
          .HardLink("dir/hard", "dir/setuid")
          .Add({.name = "dir/null", .type = '3', .mode = 0666, .major = 1, .minor = 3})
          .Add({.name = "dir/fifo", .type = '6', .mode = 0622})
          .Add({.name = "implicit/parent/f", .uid = 0xfffffffell}, "y")
          .Finish();
  auto result = Unpack(tar);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->opaque.empty());
  EXPECT_EQ(Stat("").st_mode & 07777, 0711u);
  EXPECT_EQ(Stat("").st_mtime, 77);
  EXPECT_EQ(Stat("dir").st_mode & 07777, 02750u);
  EXPECT_EQ(Stat("dir").st_gid, 6u);
  EXPECT_EQ(Stat("dir").st_mtime, 1234);
  EXPECT_EQ(Stat("dir/setuid").st_mode & 07777, 04755u);
  EXPECT_EQ(Stat("dir/setuid").st_uid, 33u);
  EXPECT_EQ(Stat("dir/setuid").st_mtime, 1'000'000);
  EXPECT_EQ(Stat("dir/hard").st_ino, Stat("dir/setuid").st_ino);
  EXPECT_EQ(Stat("dir/ping").st_mtim.tv_nsec, 250'000'000);
  char names[256];
  const ssize_t n = listxattr(At("dir/ping").c_str(), names, sizeof(names));
  ASSERT_GT(n, 0);
  EXPECT_EQ(std::string(names, static_cast<size_t>(n)),
            std::string("security.capability\0user.mime\0", 30));
  EXPECT_EQ(std::filesystem::read_symlink(At("dir/link")), "/etc/passwd");
  EXPECT_EQ(Stat("dir/null").st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat("dir/null").st_mode & 07777, 0666u);
  EXPECT_TRUE(S_ISFIFO(Stat("dir/fifo").st_mode));
  EXPECT_EQ(Stat("implicit/parent/f").st_uid, 0xfffffffeu);
  EXPECT_EQ(Stat("implicit").st_mode & 07777, 0755u);
  EXPECT_EQ(Stat("implicit").st_mtime, 0);
}

// docker 2014-6407, 2014-9356, 2018-15664 and the tar traversal family.
TEST_F(LayerWriterTest, KeepsHostilePathsInside) {
  EXPECT_THAT(Error(TarArchive().File("../precious", "x")),
              HasSubstr("entry 1 \"../precious\": the name leads above"));
  EXPECT_THAT(Error(TarArchive().File("a/../../precious", "x")), HasSubstr("above the root"));
  EXPECT_TRUE(Unpack(TarArchive().File("/a/./b/../c//d", "x").Finish()).ok());
  EXPECT_EQ(Read("a/c/d"), "x");
  // A link out, then a write through it: resolved inside the root, as a container would see it.
  ASSERT_TRUE(Unpack(TarArchive().Symlink("l", scratch_).File("l/precious", "x").Finish()).ok());
  EXPECT_EQ(Read(scratch_.substr(1) + "/precious"), "x");
  ASSERT_TRUE(Unpack(TarArchive().Symlink("l", "../../..").File("l/f", "x").Finish()).ok());
  EXPECT_EQ(Read("f"), "x");
  // A link as the last component is replaced, never written through.
  ASSERT_TRUE(Unpack(TarArchive().Symlink("l", "../precious").File("l", "x", 0777).Finish()).ok());
  EXPECT_TRUE(S_ISREG(Stat("l").st_mode));
  ASSERT_TRUE(Unpack(TarArchive().Symlink("l", "..").Directory("l", 0700).Finish()).ok());
  EXPECT_TRUE(S_ISDIR(Stat("l").st_mode));
  // A directory swapped for a link between two entries.
  ASSERT_TRUE(
      Unpack(
          TarArchive().Directory("d").File("d/a", "1").Symlink("d", "/").File("d/b", "2").Finish())
          .ok());
  EXPECT_EQ(Read("b"), "2");
  EXPECT_THAT(Error(TarArchive().Symlink("a", "b").Symlink("b", "a").File("a/f", "")),
              HasSubstr("too many links"));
  ExpectUntouched();
}

// containerd 2021-32760: chmod or a link to a file of the host.
TEST_F(LayerWriterTest, LinksOnlyToEarlierEntries) {
  EXPECT_THAT(Error(TarArchive().HardLink("h", "../precious")), HasSubstr("hard link target"));
  EXPECT_THAT(Error(TarArchive().HardLink("h", scratch_ + "/precious")),
              HasSubstr("no earlier entry"));
  EXPECT_THAT(Error(TarArchive().Symlink("l", "..").HardLink("h", "l/precious")),
              HasSubstr("no earlier entry"));
  EXPECT_THAT(Error(TarArchive().Directory("d").HardLink("h", "d")),
              HasSubstr("hard link to the directory"));
  EXPECT_THAT(Error(TarArchive().File(".wh.x", "").HardLink("h", "x")),
              HasSubstr("no earlier entry"));
  // To a symbolic link: the link itself, and its mode change touches nobody.
  ASSERT_TRUE(Unpack(TarArchive()
                         .Symlink("l", scratch_ + "/precious")
                         .Add({.name = "h", .type = '1', .link = "l", .mode = 0777})
                         .Finish())
                  .ok());
  EXPECT_TRUE(S_ISLNK(Stat("h").st_mode));
  ASSERT_TRUE(Unpack(TarArchive().File("f", "x").HardLink("f", "f").Finish()).ok());
  EXPECT_EQ(Read("f"), "x");
  ASSERT_TRUE(Unpack(TarArchive().File("f", "x").File("g", "y").HardLink("g", "f").Finish()).ok());
  EXPECT_EQ(Read("g"), "x");
  ExpectUntouched();
}

// umoci 2021-29136.
TEST_F(LayerWriterTest, TakesTheRootOnlyAsADirectory) {
  for (const char* name : {".", "/", "./", "a/.."}) {
    EXPECT_THAT(Error(TarArchive().Symlink(name, "/etc")),
                HasSubstr("the root of the layer is no directory"))
        << name;
    EXPECT_FALSE(Unpack(TarArchive().HardLink(name, "f").Finish()).ok());
    EXPECT_THAT(Error(TarArchive().Add({.name = name, .type = '6'})),
                HasSubstr("the root of the layer"))
        << name;
  }
  ExpectUntouched();
}

TEST_F(LayerWriterTest, WritesWhiteoutsAndReportsOpaqueDirectories) {
  auto result = Unpack(TarArchive()
                           .File("gone/.wh.old", "")
                           .File("d/mine", "1")
                           .File("d/.wh..wh..opq", "")  // after its sibling, which stays
                           .File("keep", "2")
                           .File(".wh.keep", "")  // of its own entry: no effect
                           .Directory("both")
                           .File("both/f", "")
                           .File(".wh.both", "")  // hides the lower directory, not ours
                           .File(".wh.later", "")
                           .File("later/f", "3")
                           .File(".wh.file", "")
                           .File("file", "4")
                           .File(".wh..wh.plnk/1.2", "")
                           .File(".wh..wh.aufs", "")
                           .Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(IsWhiteout("gone/old"));
  EXPECT_EQ(Read("d/mine"), "1");
  EXPECT_EQ(Read("keep"), "2");
  EXPECT_TRUE(Exists("both/f"));
  EXPECT_EQ(Read("later/f"), "3");
  EXPECT_EQ(Read("file"), "4");
  EXPECT_FALSE(Exists(".wh..wh.plnk"));
  EXPECT_THAT(result->opaque, ElementsAre("both", "d", "later"));
  EXPECT_THAT(Error(TarArchive().File("a/.wh.", "")), HasSubstr("a whiteout of nothing"));
  EXPECT_THAT(Error(TarArchive().File("a/.wh...", "")), HasSubstr("a whiteout of nothing"));
  EXPECT_THAT(Error(TarArchive().File(".wh.a/b", "")), HasSubstr("a whiteout as a directory"));
  EXPECT_THAT(Unpack(TarArchive().File(".wh..wh..opq", "").Finish())->opaque, ElementsAre(""));
  // An opaque mark that a later entry made meaningless.
  EXPECT_TRUE(
      Unpack(TarArchive().File("d/.wh..wh..opq", "").Symlink("d", "/").Finish())->opaque.empty());
}

TEST_F(LayerWriterTest, RefusesWhatTheKernelWouldTakeForSomethingElse) {
  EXPECT_THAT(Error(TarArchive().Add({.name = "w", .type = '3'})),
              HasSubstr("character device 0:0"));
  EXPECT_THAT(Error(TarArchive().Add({.name = "w", .type = '3', .major = 4096})),
              HasSubstr("out of range"));
  EXPECT_THAT(Error(TarArchive().Add({.name = "w", .type = '4', .major = 1, .minor = 1 << 20})),
              HasSubstr("out of range"));
  EXPECT_THAT(Error(TarArchive().Pax({{"SCHILY.xattr.security.capability", "junk"}}).File("f", "")),
              HasSubstr("malformed security.capability"));
  EXPECT_THAT(Error(TarArchive().File("f", "").File("f/g", "")),
              HasSubstr("\"f\" on the way is no directory"));
  EXPECT_THAT(Error(TarArchive().Pax({{"path", std::string(256, 'x')}}).File("f", "")),
              HasSubstr("255 bytes"));
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "d/";
  EXPECT_THAT(Error(TarArchive().Pax({{"path", deep + "f"}}).File("f", "")),
              HasSubstr("256 components"));
}

TEST_F(LayerWriterTest, LaterEntriesReplaceEarlierOnes) {
  auto result = Unpack(TarArchive()
                           .Directory("d")
                           .File("d/a", "1")
                           .Directory("d", 0700)  // merges
                           .Directory("t")
                           .File("t/x/y", "1")
                           .File("t", "now a file")
                           .File("f", "1", 0600)
                           .File("f", "22", 0644)
                           .Symlink("s", "f")
                           .File("s", "3")
                           .File("g", "4")
                           .Directory("g")
                           .File("g/h", "5")
                           .Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Read("d/a"), "1");
  EXPECT_EQ(Stat("d").st_mode & 0777, 0700u);
  EXPECT_EQ(Read("t"), "now a file");
  EXPECT_EQ(Read("f"), "22");
  EXPECT_EQ(Read("s"), "3");
  EXPECT_EQ(Read("g/h"), "5");
}

TEST_F(LayerWriterTest, GivesImpliedDirectoriesToRootWhateverTheirParent) {
  ASSERT_TRUE(Unpack(TarArchive()
                         .Add({.name = "d", .type = '5', .mode = 02775, .uid = 5, .gid = 6})
                         .File("d/implied/f", "x")
                         .Finish())
                  .ok());
  EXPECT_EQ(Stat("d").st_mode & 07777, 02775u);
  EXPECT_EQ(Stat("d/implied").st_mode & 07777, 0755u);
  EXPECT_EQ(Stat("d/implied").st_gid, 0u);
}

TEST_F(LayerWriterTest, ForgetsTheMarksOfWhatALaterEntryReplaces) {
  auto result = Unpack(TarArchive()
                           .File("d/e/.wh..wh..opq", "")
                           .File("d/.wh..wh..opq", "")
                           .File("d-e/.wh..wh..opq", "")
                           .File("d", "")
                           .Directory("d/")
                           .Directory("d/e")
                           .Finish());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->opaque, ElementsAre("d-e"));
}

TEST_F(LayerWriterTest, BoundsAttributesAndTimes) {
  const std::string big(4000, 'x');
  EXPECT_THAT(Error(TarArchive().Pax({{"SCHILY.xattr.user.big", big}}).File("f", "")),
              HasSubstr("more than 3968 bytes of extended attributes"));
  EXPECT_THAT(Error(TarArchive().Pax({{"SCHILY.xattr.user.", "x"}}).File("f", "")),
              HasSubstr("name of an extended attribute"));
  ASSERT_TRUE(Unpack(TarArchive()
                         .Pax({{"mtime", "99999999999"}, {"SCHILY.xattr.trusted.x", big}})
                         .File("late", "")
                         .Pax({{"mtime", "-1.5"}})
                         .File("early", "")
                         .Finish())
                  .ok());
  EXPECT_EQ(Stat("late").st_mtime, kMaxLayerTime);
  EXPECT_EQ(Stat("early").st_mtime, 0);
}

TEST_F(LayerWriterTest, WritesHolesAsHoles) {
  TarArchive archive;
  archive.Pax({{"GNU.sparse.size", "1073741824"}, {"GNU.sparse.map", "1000000,4"}})
      .File("holes", "data");
  ASSERT_TRUE(Unpack(archive.Finish()).ok());
  EXPECT_EQ(Stat("holes").st_size, 1073741824);
  EXPECT_LT(Stat("holes").st_blocks, 100);
}

TEST_F(LayerWriterTest, GHSA_rp3h_jf77_q9p4_AMillionEntriesAndMarkersAreLinear) {
  // In memory, so that no disk is filled.
  auto memory = NewMount("tmpfs", "layer", {{"size", "4g"}, {"nr_inodes", "0"}}, 0);
  ASSERT_TRUE(memory.ok()) << memory.status();
  LayerWriter writer(memory->get(), {});
  TarEntry file, marker;
  file.mode = 0644;
  const double start = CpuSeconds();
  for (int i = 0; i < 500'000; ++i) {
    file.name = absl::StrCat("d/e", i % 100, "/f", i);
    marker.name = absl::StrCat("d/e", i % 100, "/.wh..wh..opq");
    for (const TarEntry* entry : {&file, &marker}) {
      ASSERT_TRUE(writer.OnEntry(*entry).ok());
      ASSERT_TRUE(writer.OnEntryEnd().ok());
    }
    if (i == 249'999) printf("500,000 entries: %.2f s of CPU\n", CpuSeconds() - start);
  }
  const auto result = writer.Finish();
  // A walk for each marker would take hours: the test's time limit is what ends it.
  printf("1,000,000 entries: %.2f s of CPU\n", CpuSeconds() - start);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->opaque.size(), 100u);
}

TEST_F(LayerWriterTest, StopsAtItsInodeLimit) {
  LayerWriterLimits limits;
  limits.max_inodes = 10;
  EXPECT_EQ(Unpack(TarArchive().File("a/b/c/d/e/f/g/h/i/j/k", "").Finish(), limits).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(LayerWriterTest, DeletesDeepTreesWithFewDescriptors) {
  UniqueFd at(open(scratch_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  UniqueFd here(openat(at.get(), "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 1500; ++i) {
    ASSERT_EQ(mkdirat(here.get(), "deeper", 0755), 0);
    UniqueFd next(openat(here.get(), "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    here = std::move(next);
  }
  here.Reset();
  EXPECT_EQ(MeasureTree(scratch_ + "/root")->inodes, 1501u);
  EXPECT_TRUE(RemoveTree(at.get(), "root").ok());
  EXPECT_FALSE(Exists(""));
  EXPECT_TRUE(RemoveTree(at.get(), "root").ok());
}

}  // namespace
}  // namespace gantry::images
