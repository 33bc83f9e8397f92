#include "imageservice/erofs_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "imageservice/erofs_verify.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_layer_forms.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

class ErofsWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    if (!CanMountErofs()) GTEST_SKIP() << "needs file-backed EROFS";
  }
  // Both forms hold the same.
  void ExpectSame(const TarArchive& archive) { EXPECT_EQ(forms_.Compare(archive.Finish()), ""); }
  std::string Error(const TarArchive& archive) {
    return std::string(forms_.WriteErofs(archive.Finish()).status().message());
  }

  LayerForms forms_;
};

std::string Capability() {
  std::string capability(20, '\0');
  const uint32_t magic = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE;
  memcpy(capability.data(), &magic, 4);
  return capability;
}

TEST_F(ErofsWriterTest, WritesEveryKindOfEntry) {
  TarArchive archive;
  archive.Add({.name = "./", .type = '5', .mode = 0711, .uid = 1, .mtime = 77})
      .Add({.name = "dir/", .type = '5', .mode = 02750, .uid = 5, .gid = 6, .mtime = 1234})
      .Add({.name = "dir/setuid", .mode = 04755, .uid = 33, .gid = 34}, "run me")
      .Pax({{"SCHILY.xattr.security.capability", Capability()},
            {"SCHILY.xattr.user.mime", "text"},
            {"SCHILY.xattr.user.overlay.opaque", "y"},
            {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
            {"SCHILY.xattr.security.selinux", "x"},
            {"mtime", "99.25"}})
      .Add({.name = "dir/ping", .mode = 0755, .uid = 33}, "x")
      .File("dir/big", std::string(100'000, 'b'))
      .File("dir/empty", "")
      .Symlink("dir/link", "/etc/passwd")
      .HardLink("dir/hard", "dir/setuid")
      .Add({.name = "dir/null", .type = '3', .mode = 0666, .major = 1, .minor = 3})
      .Add({.name = "dir/disk", .type = '4', .mode = 0660, .major = 259, .minor = 70000})
      .Add({.name = "dir/fifo", .type = '6', .mode = 0622})
      .Add({.name = "implicit/parent/f", .uid = 0xfffffffell}, "y");
  ExpectSame(archive);
}

TEST_F(ErofsWriterTest, WritesAnEmptyLayer) {
  ExpectSame(TarArchive());
  EXPECT_EQ(forms_.WriteErofs(TarArchive().Finish())->data_bytes, 0u);
}

TEST_F(ErofsWriterTest, WritesWhiteoutsAndOpaqueDirectories) {
  ExpectSame(TarArchive()
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
                 .File(".wh.twice", "")
                 .File(".wh.twice", "")
                 .File(".wh..wh.plnk/1.2", "")
                 .File(".wh..wh.aufs", ""));
  ExpectSame(TarArchive().File(".wh..wh..opq", ""));
  ExpectSame(TarArchive().File("d/.wh..wh..opq", "").Symlink("d", "/"));
  ExpectSame(TarArchive().File("d/e/.wh..wh..opq", "").File("d", "").Directory("d/e"));
  for (const char* bad : {"a/.wh.", "a/.wh...", ".wh.a/b"}) ExpectSame(TarArchive().File(bad, ""));
}

TEST_F(ErofsWriterTest, ResolvesNamesInsideTheLayer) {
  ExpectSame(TarArchive().File("../precious", "x"));
  ExpectSame(TarArchive().File("/a/./b/../c//d", "x"));
  ExpectSame(TarArchive().Symlink("l", "/tmp/out").File("l/precious", "x"));
  ExpectSame(TarArchive().Symlink("l", "../../..").File("l/f", "x"));
  ExpectSame(TarArchive().Symlink("l", "../precious").File("l", "x", 0777));
  ExpectSame(TarArchive().Symlink("l", "..").Directory("l", 0700));
  ExpectSame(TarArchive().Directory("d").File("d/a", "1").Symlink("d", "/").File("d/b", "2"));
  ExpectSame(TarArchive().Symlink("a", "b").Symlink("b", "a").File("a/f", ""));
  ExpectSame(TarArchive().Symlink("l", ".wh.x/y").File("l/f", ""));
  ExpectSame(TarArchive().File("f", "").File("f/g", ""));
  ExpectSame(TarArchive().Symlink("s", "f").File("f", "").File("s/x", ""));
  for (const char* name : {".", "/", "./", "a/.."}) {
    ExpectSame(TarArchive().Symlink(name, "/etc"));
    ExpectSame(TarArchive().Add({.name = name, .type = '6'}));
  }
  std::string deep;
  for (int i = 0; i < 250; ++i) deep += "d/";
  ExpectSame(TarArchive().Pax({{"path", deep + "f"}}).File("f", "deep"));
}

TEST_F(ErofsWriterTest, LinksOnlyToEarlierEntries) {
  ExpectSame(TarArchive().HardLink("h", "../precious"));
  ExpectSame(TarArchive().HardLink("h", "/etc/passwd"));
  ExpectSame(TarArchive().Directory("d").HardLink("h", "d"));
  ExpectSame(TarArchive().File(".wh.x", "").HardLink("h", "x"));
  ExpectSame(TarArchive().Symlink("l", "/x").Add({.name = "h", .type = '1', .link = "l"}));
  ExpectSame(TarArchive().File("f", "x").HardLink("f", "f"));
  ExpectSame(TarArchive().File("f", "x").File("g", "y").HardLink("g", "f").HardLink("h", "g"));
  ExpectSame(TarArchive().File("f", "x").HardLink("g", "f").File("f", "y").HardLink("h", "g"));
  ExpectSame(TarArchive().File("f", "x").HardLink("d/g", "f").HardLink("d/h", "f").File("d", ""));
  ExpectSame(TarArchive().File(".wh.h", "").File("f", "x").HardLink("h", "f"));
  EXPECT_THAT(Error(TarArchive().File("d/f", "x").HardLink("d", "d/f")),
              HasSubstr("in place of the directory"));
}

TEST_F(ErofsWriterTest, LaterEntriesReplaceEarlierOnes) {
  ExpectSame(TarArchive()
                 .Directory("d")
                 .Pax({{"SCHILY.xattr.user.a", "1"}, {"SCHILY.xattr.user.b", "1"}})
                 .Directory("d")
                 .File("d/a", "1")
                 .Pax({{"SCHILY.xattr.user.b", "2"}, {"SCHILY.xattr.user.c", ""}})
                 .Directory("d", 0700)  // merges
                 .Directory("t")
                 .File("t/x/y", "1")
                 .File("t", "now a file")
                 .File("f", "1", 0600)
                 .File("f", std::string(9000, 'f'), 0644)
                 .Symlink("s", "f")
                 .File("s", "3")
                 .File("g", "4")
                 .Directory("g")
                 .File("g/h", "5"));
  ExpectSame(TarArchive()
                 .Add({.name = "d", .type = '5', .mode = 02775, .uid = 5, .gid = 6})
                 .File("d/implied/f", "x"));
}

TEST_F(ErofsWriterTest, KeepsNamesOfAllBytesAndLengths) {
  TarArchive archive;
  for (int c = 1; c < 256; ++c) {
    if (c == '/') continue;
    const std::string name(1, static_cast<char>(c));
    archive.Pax({{"path", name + "x"}}).File("f", name);
    if (c != '.') archive.Pax({{"path", "one/" + name}}).File("f", "");
  }
  for (size_t length = 200; length <= 255; ++length) {
    archive.Pax({{"path", "long/" + std::string(length, 'n')}}).File("f", "n");
  }
  ExpectSame(archive);
  ExpectSame(TarArchive().Pax({{"path", std::string(256, 'x')}}).File("f", ""));
}

TEST_F(ErofsWriterTest, FillsBlocksToEveryLength) {
  // Directories whose blocks end at every distance from the block's end, with room behind the inode
  // and without.
  TarArchive archive;
  for (int names = 14; names < 18; ++names) {
    for (int length = 1; length < 60; ++length) {
      const std::string directory = "n" + std::to_string(names) + "l" + std::to_string(length);
      for (int i = 0; i < names; ++i) {
        archive.Pax({{"path", directory + "/" + std::string(230, static_cast<char>('a' + i))}})
            .File("f", "");
      }
      archive.Pax({{"path", directory + "/z" + std::string(static_cast<size_t>(length), 'z')}})
          .File("f", "");
    }
  }
  ExpectSame(archive);
}

TEST_F(ErofsWriterTest, KeepsContentOfEveryLengthAroundTheBounds) {
  TarArchive archive;
  for (const size_t size : std::initializer_list<size_t>{
           0,    1,    31,   32,   33,   511,  2047,  2048,    2049,    4031,    4032,   4033,
           4095, 4096, 4097, 8191, 8192, 8193, 65536, 1048575, 1048576, 1048577, 3000000}) {
    std::string content(size, '\0');
    for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251 + size);
    archive.File("f" + std::to_string(size), content);
  }
  for (const size_t size : std::initializer_list<size_t>{1, 100, 4030, 4031, 4032, 4033, 4095}) {
    archive.Pax({{"linkpath", std::string(size, 't')}}).Symlink("l" + std::to_string(size), "");
  }
  ExpectSame(archive);
}

TEST_F(ErofsWriterTest, KeepsAttributesUpToTheBound) {
  TarArchive archive;
  for (const size_t size : std::initializer_list<size_t>{0, 1, 2, 3, 4, 1000, 3900, 3948}) {
    archive.Pax({{"SCHILY.xattr.user.abc", std::string(size, 'v')}})
        .File("f" + std::to_string(size), std::string(100, 'c'));
  }
  archive
      .Pax({{"SCHILY.xattr.user.many", "1"},
            {"SCHILY.xattr.user.z", std::string(3, '\0')},
            {"SCHILY.xattr.user.a", "2"},
            {"SCHILY.xattr.security.capability", Capability()}})
      .File("many", std::string(5000, 'm'));
  archive.Pax({{"SCHILY.xattr.user.big", std::string(3900, 'v')}})
      .Directory("d")
      .File("d/.wh..wh..opq", "")
      .File("d/f", "");
  ExpectSame(archive);
  for (const char* name : {"SCHILY.xattr.user.", "SCHILY.xattr.security.capability"}) {
    ExpectSame(TarArchive().Pax({{name, "x"}}).File("f", ""));
  }
  ExpectSame(TarArchive().Pax({{"SCHILY.xattr.user.b", std::string(3953, 'v')}}).File("f", ""));
}

TEST_F(ErofsWriterTest, ClampsTimes) {
  TarArchive archive;
  for (const char* time : {"0", "0.000000001", "-1.5", "1700000000.999999999", "4294967296.5",
                           "15032385535.25", "15032385536", "99999999999"}) {
    archive.Pax({{"mtime", time}}).File(std::string("f") + time, "");
    archive.Pax({{"mtime", time}}).Directory(std::string("d") + time);
    archive.Pax({{"mtime", time}}).Symlink(std::string("l") + time, "x");
  }
  ExpectSame(archive);
}

TEST_F(ErofsWriterTest, RefusesWhatTheKernelWouldTakeForSomethingElse) {
  ExpectSame(TarArchive().Add({.name = "w", .type = '3'}));
  ExpectSame(TarArchive().Add({.name = "w", .type = '3', .major = 4096}));
  ExpectSame(TarArchive().Add({.name = "w", .type = '4', .major = 1, .minor = 1 << 20}));
  ExpectSame(TarArchive().Add({.name = "b", .type = '4', .major = 4095, .minor = (1 << 20) - 1}));
  ExpectSame(TarArchive().Add({.name = "zero", .type = '4'}));
}

TEST_F(ErofsWriterTest, KeepsHolesAsHoles) {
  TarArchive archive;
  archive.Pax({{"GNU.sparse.size", "67108864"}, {"GNU.sparse.map", "1000000,4"}})
      .File("holes", "data")
      .Pax({{"GNU.sparse.size", "1500"}, {"GNU.sparse.map", "1000,4"}})
      .File("small", "data")
      .Pax({{"GNU.sparse.size", "9000"}, {"GNU.sparse.map", "0,2,5000,2"}})
      .File("twice", "data")
      .File("after", std::string(5000, 'a'));
  ExpectSame(archive);
  struct stat st;
  ASSERT_EQ(stat(forms_.data().c_str(), &st), 0);
  EXPECT_GT(st.st_size, 1 << 26);
  EXPECT_LT(st.st_blocks, 200);
}

TEST_F(ErofsWriterTest, KeepsFilesBehindHolesOfManyGigabytes) {
  TarArchive archive;
  archive.Pax({{"GNU.sparse.size", "5000000000"}, {"GNU.sparse.map", "4999999990,10"}})
      .File("huge", "0123456789")
      .File("after", std::string(5000, 'a'));
  ASSERT_TRUE(forms_.WriteErofs(archive.Finish()).ok());
  auto mount = forms_.Mount();
  ASSERT_TRUE(mount.ok()) << mount.status();
  UniqueFd fd(openat(mount->get(), "huge", O_RDONLY | O_CLOEXEC));
  char bytes[16] = {};
  EXPECT_EQ(pread(fd.get(), bytes, 16, 4'999'999'985), 15);
  EXPECT_EQ(std::string(bytes, 15), std::string("\0\0\0\0\0"
                                                "0123456789",
                                                15));
  fd.Reset(openat(mount->get(), "after", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(pread(fd.get(), bytes, 4, 4995), 4);
  EXPECT_EQ(std::string(bytes, 4), "aaaa");
  const UniqueFd data = forms_.OpenData(), meta = forms_.OpenMeta();
  EXPECT_TRUE(VerifyErofsData(data.get(), meta.get()).ok());
}

TEST_F(ErofsWriterTest, RefusesMoreThanDataCanHold) {
  TarArchive archive;
  for (const char* name : {"a", "b", "c"}) {
    archive.Pax({{"GNU.sparse.size", "8796093022208"}, {"GNU.sparse.map", "0,1"}}).File(name, "x");
  }
  EXPECT_EQ(forms_.WriteErofs(archive.Finish()).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(ErofsWriterTest, GivesEqualBytesForEqualArchives) {
  TarArchive archive;
  for (int i = 0; i < 300; ++i) {
    const std::string name = "d" + std::to_string(i % 7) + "/f" + std::to_string(i);
    archive.File(name, std::string(static_cast<size_t>(i * 31), 'x'));
    if (i % 3 == 0) archive.HardLink("h" + std::to_string(i), name);
  }
  ASSERT_TRUE(forms_.WriteErofs(archive.Finish()).ok());
  const std::string first = forms_.ReadMeta();
  ASSERT_TRUE(forms_.WriteErofs(archive.Finish()).ok());
  EXPECT_EQ(first, forms_.ReadMeta());
}

TEST_F(ErofsWriterTest, StopsAtItsInodeLimit) {
  LayerWriterLimits limits;
  limits.max_inodes = 10;
  EXPECT_EQ(forms_.WriteErofs(TarArchive().File("a/b/c/d/e/f/g/h/i/j/k", "").Finish(), limits)
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace gantry::images
