#include "runtime/linux/file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace gantry {
namespace {

namespace fs = std::filesystem;

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-file-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string dir_;
};

TEST_F(File, WhatIsWrittenIsReadBack) {
  const std::string text(100'000, 'x');
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, dir_ + "/f", text, 0600).ok());
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, dir_ + "/f"), text);
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, dir_ + "/f", "short", 0600).ok());
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, dir_ + "/f"), "short");
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, "/dev/null"), "");
}

TEST_F(File, TheLimitIsALimit) {
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, dir_ + "/f", "12345", 0600).ok());
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, dir_ + "/f", 5), "12345");
  EXPECT_EQ(ReadFileAt(AT_FDCWD, dir_ + "/f", 4).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(File, ErrorsNameThePathAndKeepTheErrno) {
  const Status status = ReadFileAt(AT_FDCWD, dir_ + "/nonsuch").status();
  EXPECT_EQ(status.message(), "open " + dir_ + "/nonsuch: No such file or directory");
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_EQ(ErrnoOf(WriteFileAt(AT_FDCWD, dir_ + "/nonsuch", "x")), ENOENT);
}

TEST_F(File, DirectoriesAreMadeOnTheWay) {
  EXPECT_TRUE(MakeDirectories(AT_FDCWD, dir_ + "/a/b", 0700).ok());
  EXPECT_TRUE(MakeDirectories(AT_FDCWD, dir_ + "/a/b", 0700).ok());
  auto base = OpenAt(AT_FDCWD, dir_, O_PATH | O_DIRECTORY);
  ASSERT_TRUE(base.ok());
  EXPECT_TRUE(MakeDirectories(base->get(), "c/d", 0700).ok());
  EXPECT_TRUE(fs::is_directory(dir_ + "/c/d"));
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, dir_ + "/f", "", 0600).ok());
  EXPECT_EQ(ErrnoOf(MakeDirectories(AT_FDCWD, dir_ + "/f/x", 0700).status()), ENOTDIR);
}

}  // namespace
}  // namespace gantry
