// Layers that attack the node: each past vulnerability of unpacking, tried on both forms of a
// layer. What they share: nothing outside the layer changes, and both forms have the same tree or
// the same refusal.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

#include "imageservice/tar_archive.h"
#include "imageservice/testing_layer_forms.h"

namespace gantry::images {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class LayerAttacks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    if (!CanMountErofs()) GTEST_SKIP() << "needs file-backed EROFS";
    std::ofstream(Precious()) << "gold";
    ASSERT_EQ(chmod(Precious().c_str(), 0600), 0);
    ASSERT_EQ(mkdir(Yard().c_str(), 0700), 0);
  }
  void TearDown() override {
    if (!IsSkipped()) ExpectUntouched();
  }

  // Beside the layer's root: what a traversal would reach.
  std::string Precious() const { return forms_.folder() + "/precious"; }
  std::string Yard() const { return forms_.folder() + "/yard"; }
  // The same without the slash in front: where an absolute path leads inside a layer.
  std::string Inside(const std::string& path) const { return path.substr(1); }

  void ExpectUntouched() const {
    std::stringstream text;
    text << std::ifstream(Precious()).rdbuf();
    EXPECT_EQ(text.str(), "gold");
    struct stat st = {};
    ASSERT_EQ(lstat(Precious().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFREG | 0600u);
    EXPECT_EQ(st.st_nlink, 1u);
    EXPECT_EQ(st.st_uid, 0u);
    ASSERT_EQ(lstat(Yard().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFDIR | 0700u);
    EXPECT_TRUE(std::filesystem::is_empty(Yard()));
    for (const auto& entry : std::filesystem::directory_iterator(forms_.folder())) {
      EXPECT_THAT(entry.path().filename().string(),
                  ::testing::AnyOf("precious", "yard", "fs", "data", "meta"));
    }
  }

  // What both forms have, path by path.
  TreeListing Tree(const TarArchive& archive) {
    EXPECT_EQ(forms_.Compare(archive.Finish()), "");
    const auto listing = ListErofs(forms_.OpenMeta().get(), forms_.OpenData().get());
    EXPECT_TRUE(listing.ok()) << listing.status();
    return listing.ok() ? *listing : TreeListing();
  }
  void ExpectRefused(const TarArchive& archive, const std::string& why) {
    const Status directory = forms_.WriteDirectory(archive.Finish()).status();
    const Status erofs = forms_.WriteErofs(archive.Finish()).status();
    for (const Status& status : {directory, erofs}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), AllOf(StartsWith("entry "), HasSubstr(why)));
    }
  }
  static bool Has(const TreeListing& tree, const std::string& path) { return tree.count(path) > 0; }
  static std::string Line(const TreeListing& tree, const std::string& path) {
    const auto it = tree.find(path);
    return it == tree.end() ? "missing" : it->second;
  }

  LayerForms forms_;
};

// ---- names that lead out ----

TEST_F(LayerAttacks, CVE_2014_9358_Row75_NamesAboveTheRootAreRefused) {
  for (const std::string name :
       {"../precious", "a/../../precious", "/../precious", "./../precious", "..", "a/../..",
        "a/b/../../../precious", ".wh...", "../.wh.precious", "../.wh..wh..opq"}) {
    SCOPED_TRACE(name);
    ExpectRefused(TarArchive().File(name, "x"), name == ".wh..." ? "whiteout" : "above the root");
  }
  ExpectRefused(TarArchive().Pax({{"path", "../precious"}}).File("f", "x"), "above the root");
  ExpectRefused(TarArchive().Add({.name = "l", .type = 'L'}, "../precious").File("f", "x"),
                "above the root");
  ExpectRefused(TarArchive().Directory("../yard", 0777), "above the root");
  ExpectRefused(TarArchive().Symlink("../yard/l", "x"), "above the root");
}

TEST_F(LayerAttacks, CVE_2014_9358_AbsoluteNamesAreBelowTheRoot) {
  const TreeListing tree = Tree(TarArchive()
                                    .File(Precious(), "mine")
                                    .File("//double//f", "x")
                                    .File("a/./b/../c", "x")
                                    .Directory(Yard(), 0777));
  EXPECT_TRUE(Has(tree, Inside(Precious())));
  EXPECT_TRUE(Has(tree, Inside(Yard())));
  EXPECT_TRUE(Has(tree, "double/f"));
  EXPECT_TRUE(Has(tree, "a/c"));
}

TEST_F(LayerAttacks, CVE_2014_6407_LinksOnTheWayAreResolvedInsideTheLayer) {
  TreeListing tree =
      Tree(TarArchive().Symlink("l", forms_.folder()).File("l/precious", "mine", 0777));
  EXPECT_TRUE(Has(tree, Inside(Precious())));
  tree = Tree(TarArchive().Symlink("l", "../../../..").File("l/precious", "mine"));
  EXPECT_TRUE(Has(tree, "precious"));
  tree = Tree(TarArchive()
                  .Symlink("one", "two/..")
                  .Symlink("two", "/three")
                  .Directory("three")
                  .File("one/f", "x"));
  EXPECT_TRUE(Has(tree, "f"));
  // A directory that becomes a link between two entries.
  tree = Tree(TarArchive()
                  .Directory("d")
                  .File("d/a", "1")
                  .Symlink("d", Yard())
                  .File("d/b", "2")
                  .File("d/.wh.precious", ""));
  EXPECT_FALSE(Has(tree, "d/a"));
  EXPECT_TRUE(Has(tree, Inside(Yard()) + "/b"));
  ExpectRefused(TarArchive().Symlink("a", "b").Symlink("b", "a").File("a/f", ""), "too many links");
}

TEST_F(LayerAttacks, CVE_2014_9356_ALinkAsTheLastNameIsReplacedAndNotFollowed) {
  TreeListing tree = Tree(TarArchive().Symlink("l", Precious()).File("l", "x", 0777));
  EXPECT_THAT(Line(tree, "l"), StartsWith("81ff"));
  tree = Tree(TarArchive().Symlink("l", Yard()).Directory("l", 0777));
  EXPECT_THAT(Line(tree, "l"), StartsWith("41ff"));
  tree = Tree(TarArchive()
                  .Symlink("l", Precious())
                  .Add({.name = "l", .type = '6', .mode = 0777, .uid = 7}));
  EXPECT_THAT(Line(tree, "l"), StartsWith("11ff 7:"));
  tree = Tree(TarArchive().Symlink("l", Yard()).File("l/.wh..wh..opq", "").File(".wh.l", ""));
  EXPECT_THAT(Line(tree, "l"), HasSubstr(" -> "));
  EXPECT_THAT(Line(tree, Inside(Yard())), HasSubstr("trusted.overlay.opaque"));
}

TEST_F(LayerAttacks, CVE_2014_9356_HardLinksLeadToEarlierEntriesOnly) {
  ExpectRefused(TarArchive().HardLink("h", "../precious"),
                "hard link target: the name leads above");
  ExpectRefused(TarArchive().HardLink("h", Precious()), "no earlier entry");
  ExpectRefused(TarArchive().HardLink("h", "f").File("f", "later"), "no earlier entry");
  ExpectRefused(TarArchive().Symlink("l", forms_.folder()).HardLink("h", "l/precious"),
                "no earlier entry");
  ExpectRefused(TarArchive().Symlink("l", "..").HardLink("h", "l/precious"), "no earlier entry");
  ExpectRefused(TarArchive().Directory("d").HardLink("h", "d"), "hard link to the directory");
  ExpectRefused(TarArchive().File(".wh.x", "").HardLink("h", "x"), "no earlier entry");
  ExpectRefused(TarArchive().HardLink("h", "/"), "hard link");
}

TEST_F(LayerAttacks, CVE_2021_32760_AModeChangeThroughALinkTouchesNobody) {
  const TarArchive::Header hard{.name = "h", .type = '1', .link = "l", .mode = 04777, .uid = 1234};
  TreeListing tree = Tree(TarArchive().Symlink("l", Precious()).Add(hard));
  EXPECT_THAT(Line(tree, "h"), AllOf(StartsWith("a1ff 0:0"), HasSubstr(" -> ")));
  // A hard link's own mode and owner are not applied to the file either.
  tree = Tree(TarArchive().File("l", "x", 0600).Add(hard));
  EXPECT_THAT(Line(tree, "l"), AllOf(StartsWith("8180 0:0"), HasSubstr("nlink 2")));
  tree = Tree(
      TarArchive().Add({.name = "s", .type = '2', .link = Precious(), .mode = 0777, .uid = 1234}));
  EXPECT_THAT(Line(tree, "s"), StartsWith("a1ff 1234:0"));
}

TEST_F(LayerAttacks, CVE_2021_29136_TheRootIsADirectory) {
  for (const std::string name : {".", "/", "./", "a/..", "//", "./."}) {
    SCOPED_TRACE(name);
    ExpectRefused(TarArchive().Symlink(name, Yard()), "the root of the layer is no directory");
    ExpectRefused(TarArchive().File("f", "").HardLink(name, "f"), "the root of the layer");
    ExpectRefused(TarArchive().Add({.name = name, .type = '6'}), "the root of the layer");
    ExpectRefused(TarArchive().Add({.name = name, .type = '3', .major = 1, .minor = 3}),
                  "the root of the layer");
    // A file's name that ends in a slash is a directory, as of old.
    if (name.back() == '/') continue;
    ExpectRefused(TarArchive().File(name, "x"), "the root of the layer is no directory");
  }
  EXPECT_THAT(Line(Tree(TarArchive().Directory("./", 0711)), "."), StartsWith("41c9"));
}

// ---- what a layer may not bring ----

TEST_F(LayerAttacks, Rule_DevicesThatAreWhiteoutsOrOutOfRangeAreRefused) {
  ExpectRefused(TarArchive().Add({.name = "w", .type = '3'}), "character device 0:0");
  ExpectRefused(TarArchive().Add({.name = "w", .type = '3', .major = 4096}), "out of range");
  ExpectRefused(TarArchive().Add({.name = "w", .type = '4', .major = 1, .minor = 1 << 20}),
                "out of range");
  const TreeListing tree =
      Tree(TarArchive().Add({.name = "sda", .type = '4', .mode = 0666, .major = 8}));
  EXPECT_THAT(Line(tree, "sda"), HasSubstr("device 8:0"));
}

std::string Capability(uint32_t magic, size_t size) {
  std::string value(size, '\0');
  memcpy(value.data(), &magic, sizeof(magic));
  return value;
}

TEST_F(LayerAttacks, Rule_AttributesThatCommandTheKernelOrOverlayfsAreDropped) {
  TarArchive archive;
  const std::vector<std::pair<std::string, std::string>> records = {
      {"SCHILY.xattr.trusted.overlay.opaque", "y"},
      {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
      {"SCHILY.xattr.trusted.overlay.metacopy", "x"},
      {"SCHILY.xattr.trusted.x", "x"},
      {"SCHILY.xattr.user.overlay.opaque", "y"},
      {"SCHILY.xattr.user.overlay.whiteout", "y"},
      {"SCHILY.xattr.security.selinux", "x"},
      {"SCHILY.xattr.security.ima", "x"},
      {"SCHILY.xattr.security.evm", "x"},
      {"SCHILY.xattr.security.apparmor", "x"},
      {"SCHILY.xattr.system.posix_acl_access", "x"},
      {"SCHILY.xattr.btrfs.compression", "x"},
      {"SCHILY.xattr.user.kept", "x"}};
  archive.Pax(records).File("f", "").Pax(records).Directory("d").Pax(records).Symlink("s", "f");
  const TreeListing tree = Tree(archive);
  for (const char* path : {"f", "d"}) {
    EXPECT_THAT(Line(tree, path), AllOf(HasSubstr(" user.kept=x"), Not(HasSubstr("overlay")),
                                        Not(HasSubstr("trusted")), Not(HasSubstr("security")),
                                        Not(HasSubstr("system")), Not(HasSubstr("btrfs"))));
  }
  EXPECT_THAT(Line(tree, "s"), Not(HasSubstr("kept")));
}

TEST_F(LayerAttacks, Rule_AFileCapabilityIsWellFormedAndOfAFile) {
  const std::string name = "SCHILY.xattr.security.capability";
  for (const std::string& bad :
       {std::string("junk"), std::string(), Capability(VFS_CAP_REVISION_2, 24),
        Capability(VFS_CAP_REVISION_3, 20), Capability(VFS_CAP_REVISION_1, 12),
        Capability(0x04000000, 24), Capability(VFS_CAP_REVISION_2 | 2, 20)}) {
    ExpectRefused(TarArchive().Pax({{name, bad}}).File("f", ""), "malformed security.capability");
  }
  const std::string good = Capability(VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, 20);
  const TreeListing tree =
      Tree(TarArchive().Pax({{name, good}}).File("f", "").Pax({{name, good}}).Directory("d"));
  EXPECT_THAT(Line(tree, "f"), HasSubstr("security.capability"));
  EXPECT_THAT(Line(tree, "d"), Not(HasSubstr("security.capability")));
}

TEST_F(LayerAttacks, CVE_2024_40635_AnOwnerThatOverflowsIsRefused) {
  for (const int64_t id : {int64_t{-1}, int64_t{-2}, int64_t{0xffffffff}, int64_t{1} << 32,
                           (int64_t{1} << 32) + 1, INT64_MAX, INT64_MIN}) {
    SCOPED_TRACE(id);
    const char* why = id < 0 ? "negative uid or gid" : "out of range";
    // The seven bytes of the field do not hold the last two: then it is the checksum or the range.
    if (id != INT64_MAX && id != INT64_MIN) {
      ExpectRefused(TarArchive().Add({.name = "f", .uid = id}), why);
      ExpectRefused(TarArchive().Add({.name = "f", .gid = id}), why);
    }
    ExpectRefused(TarArchive().Pax({{"uid", std::to_string(id)}}).File("f", ""), "");
    ExpectRefused(TarArchive().Pax({{"gid", std::to_string(id)}}).File("f", ""), "");
  }
  const TreeListing tree = Tree(TarArchive()
                                    .Add({.name = "most", .uid = 0xfffffffe, .gid = 0xfffffffe})
                                    .Pax({{"uid", "4294967294"}})
                                    .File("pax", ""));
  EXPECT_THAT(Line(tree, "most"), HasSubstr(" 4294967294:4294967294 "));
  EXPECT_THAT(Line(tree, "pax"), HasSubstr(" 4294967294:0 "));
}

TEST_F(LayerAttacks, Rule_WhiteoutsHideLowerLayersOnly) {
  const TreeListing tree = Tree(TarArchive()
                                    .File("d/mine", "1")
                                    .File("d/.wh..wh..opq", "")  // behind its sibling
                                    .File("keep", "2")
                                    .File(".wh.keep", "")
                                    .Directory("both/below")
                                    .File(".wh.both", "")
                                    .File(".wh..wh.plnk/1.2", "")
                                    .File(".wh..wh.aufs", ""));
  EXPECT_TRUE(Has(tree, "d/mine"));
  EXPECT_THAT(Line(tree, "keep"), StartsWith("81a4"));
  EXPECT_THAT(Line(tree, "both"), HasSubstr("trusted.overlay.opaque"));
  EXPECT_TRUE(Has(tree, "both/below"));
  EXPECT_EQ(tree.size(), 6u);  // with the root
  ExpectRefused(TarArchive().File("a/.wh.", ""), "a whiteout of nothing");
  ExpectRefused(TarArchive().File("a/.wh...", ""), "a whiteout of nothing");
  ExpectRefused(TarArchive().File(".wh.a/b", ""), "a whiteout as a directory");
}

TEST_F(LayerAttacks, Rule_NamesHaveBoundsAndAreBytes) {
  std::string deep;
  for (int i = 0; i < 257; ++i) deep += "d/";
  ExpectRefused(TarArchive().Pax({{"path", deep}}).Directory("d"), "256 components");
  ExpectRefused(TarArchive().Pax({{"path", std::string(256, 'x')}}).File("f", ""), "255 bytes");
  ExpectRefused(TarArchive().Pax({{"path", std::string("a\0b", 3)}}).File("f", ""), "NUL");
  ExpectRefused(TarArchive().Pax({{"linkpath", std::string("a\0b", 3)}}).Symlink("f", "x"), "NUL");
  ExpectRefused(TarArchive().Symlink("f", ""), "a symbolic link to nothing");
  // é in one code point and in two, ß and ss, K and the Kelvin sign: different names all.
  const TreeListing tree = Tree(TarArchive()
                                    .File("\xc3\xa9", "")
                                    .File("e\xcc\x81", "")
                                    .File("\xc3\x9f", "")
                                    .File("ss", "")
                                    .File("SS", "")
                                    .File("k", "")
                                    .File("K", "")
                                    .File("\xe2\x84\xaa", "")
                                    .File("\xff\xfe", ""));
  EXPECT_EQ(tree.size(), 10u);
}

}  // namespace
}  // namespace gantry::images
