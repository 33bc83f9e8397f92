#include "imageservice/erofs_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <unistd.h>

#include <cstring>

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

}  // namespace
}  // namespace gantry::images
