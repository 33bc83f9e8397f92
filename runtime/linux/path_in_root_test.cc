#include "runtime/linux/path_in_root.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/linux/file.h"

namespace gantry {
namespace {

namespace fs = std::filesystem;

class PathInRoot : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-path-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    base_ = name;
    fs::create_directories(base_ + "/root");
    fs::create_directories(base_ + "/outside");
    auto root = OpenAt(AT_FDCWD, base_ + "/root", O_PATH | O_DIRECTORY);
    ASSERT_TRUE(root.ok());
    root_ = std::move(*root);
  }
  void TearDown() override { fs::remove_all(base_); }

  void Link(const std::string& name, const std::string& target) {
    fs::create_symlink(target, base_ + "/root/" + name);
  }
  bool Exists(const std::string& path) { return fs::exists(base_ + "/root/" + path); }
  StatusOr<UniqueFd> Ensure(const std::string& path, NodeKind kind = NodeKind::kDirectory) {
    return EnsureInRoot(root_.get(), path, kind);
  }
  void ExpectNothingOutside() { EXPECT_TRUE(fs::is_empty(base_ + "/outside")); }

  std::string base_;
  UniqueFd root_;
};

TEST_F(PathInRoot, MissingDirectoriesAreMade) {
  EXPECT_TRUE(Ensure("/a/b/c").ok());
  EXPECT_TRUE(fs::is_directory(base_ + "/root/a/b/c"));
  EXPECT_TRUE(Ensure("a/b/c").ok()) << "a second time";
}

TEST_F(PathInRoot, AMissingFileIsMadeEmpty) {
  EXPECT_TRUE(Ensure("/a/file", NodeKind::kFile).ok());
  EXPECT_TRUE(fs::is_regular_file(base_ + "/root/a/file"));
}

TEST_F(PathInRoot, AbsoluteLinksStayInside) {
  Link("etc", base_ + "/outside");
  EXPECT_TRUE(Ensure("/etc/x").ok());
  EXPECT_TRUE(Exists(base_ + "/outside/x")) << "made below the root, under the same name";
  ExpectNothingOutside();
}

TEST_F(PathInRoot, LinksThatClimbStayInside) {
  Link("up", "../../../../.." + base_ + "/outside");
  EXPECT_TRUE(Ensure("/up/x", NodeKind::kFile).ok());
  EXPECT_TRUE(Ensure("/../../../y").ok());
  EXPECT_TRUE(Exists("y"));
  ExpectNothingOutside();
}

TEST_F(PathInRoot, WhatLeadsOutIsNotBeneath) {
  ASSERT_TRUE(Ensure("/a/b").ok());
  Link("inside", "a/b");
  Link("up", "../outside");
  Link("absolute", "/a");
  for (const char* path : {"a/b", "inside", "a/../a", "."}) {
    EXPECT_TRUE(OpenBeneath(root_.get(), path, O_PATH).ok()) << path;
  }
  for (const char* path : {"..", "up", "absolute", "/a", "a/../../outside"}) {
    EXPECT_EQ(ErrnoOf(OpenBeneath(root_.get(), path, O_PATH).status()), EXDEV) << path;
  }
  EXPECT_EQ(ErrnoOf(OpenBeneath(root_.get(), "none", O_PATH).status()), ENOENT);
}

TEST_F(PathInRoot, ADanglingLinkIsMadeWhereItPoints) {
  // As /var/run -> /run in images whose /run is empty and was not packed.
  fs::create_directories(base_ + "/root/var");
  Link("var/run", "/run");
  EXPECT_TRUE(Ensure("/var/run/secrets/x").ok());
  EXPECT_TRUE(Exists("run/secrets/x"));
}

TEST_F(PathInRoot, LoopsEnd) {
  Link("a", "b");
  Link("b", "a");
  EXPECT_EQ(ErrnoOf(Ensure("/a/x").status()), ELOOP);
}

TEST_F(PathInRoot, AFileOnTheWayIsAnError) {
  ASSERT_TRUE(Ensure("/file", NodeKind::kFile).ok());
  EXPECT_EQ(ErrnoOf(Ensure("/file/x").status()), ENOTDIR);
}

TEST_F(PathInRoot, MagicLinksAreRefused) {
  StatusOr<UniqueFd> proc = OpenAt(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY);
  ASSERT_TRUE(proc.ok());
  EXPECT_EQ(ErrnoOf(OpenInRoot(proc->get(), "self/cwd", O_PATH).status()), ELOOP);
}

TEST_F(PathInRoot, AParentAndANameAreWhatANodeIsMadeBy) {
  auto node = EnsureParentInRoot(root_.get(), "/dev/net/tun");
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->name, "tun");
  EXPECT_TRUE(Exists("dev/net"));
  EXPECT_FALSE(Exists("dev/net/tun"));
  for (const char* path : {"", "/", "/a/..", "."}) {
    EXPECT_FALSE(EnsureParentInRoot(root_.get(), path).ok()) << path;
  }
}

TEST_F(PathInRoot, AParentIsToldFromANameThatOccursTwice) {
  auto node = EnsureParentInRoot(root_.get(), "/a/b/a");
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_TRUE(Exists("a/b"));
  EXPECT_FALSE(Exists("a/b/a"));
}

}  // namespace
}  // namespace gantry
