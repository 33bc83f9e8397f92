// What the store of layers does when a step of it fails.
#include "imageservice/layer_store.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "imageservice/reference.h"
#include "imageservice/testing_layer.h"

namespace gantry::images {
namespace {

namespace fs = std::filesystem;

const std::string kDigest = "sha256:" + std::string(64, '1');
const std::string kDiffId = "sha256:" + std::string(64, 'd');

class LayerStoreTest : public ::testing::Test {
 protected:
  LayerStoreTest() {
    std::string pattern = (fs::temp_directory_path() / "gantry-layers-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~LayerStoreTest() override {
    store_.reset();
    fs::remove_all(root_);
  }
  void Open() {
    store_.reset();
    auto store = LayerStore::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  Status Publish(const std::string& text) {
    ASSIGN_OR_RETURN(const std::string staging, store_->MakeStagingDirectory());
    fs::create_directory(staging + "/fs");
    std::ofstream(staging + "/fs/file") << text;
    return store_->Publish(staging, MakeLayer(kDigest, kDiffId));
  }
  std::string Content() const {
    std::ifstream file(store_->TreePath(kDigest) + "/file");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string root_;
  std::unique_ptr<LayerStore> store_;
};

TEST_F(LayerStoreTest, WhatAPredecessorOfOurPidThrewAwayIsNoObstacle) {
  for (int i = 0; i < 12; ++i) {
    const std::string tree = absl::StrCat(root_, "/staging/trash-", getpid(), "-", i);
    fs::create_directories(tree + "/full");
    for (int file = 0; file < 200; ++file) std::ofstream(absl::StrCat(tree, "/full/", file)) << 'x';
  }
  Open();
  store_->Flush();
  EXPECT_TRUE(fs::is_empty(root_ + "/staging"));
}

TEST_F(LayerStoreTest, AFolderThatIsNotKnownIsNoObstacleForItsLayer) {
  Open();
  // A publication that failed behind its rename.
  fs::create_directories(store_->TreePath(kDigest));
  std::ofstream(store_->TreePath(kDigest) + "/file") << "unknown";
  ASSERT_FALSE(store_->Has(kDigest));
  const Status published = Publish("new");
  ASSERT_TRUE(published.ok()) << published;
  EXPECT_EQ(Content(), "new");
  store_->Flush();
  EXPECT_TRUE(fs::is_empty(root_ + "/staging"));
}

TEST_F(LayerStoreTest, ALayerThatCannotBeRenamedAwayStaysKnown) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: mounts";
  Open();
  ASSERT_TRUE(Publish("kept").ok());
  const std::string folder = store_->FolderPath(kDigest);
  // What is mounted on cannot be renamed: EBUSY.
  ASSERT_EQ(mount(folder.c_str(), folder.c_str(), nullptr, MS_BIND, nullptr), 0);
  const Status deleted = store_->Delete(kDigest, [] { return true; });
  ASSERT_EQ(umount2(folder.c_str(), MNT_DETACH), 0);
  EXPECT_FALSE(deleted.ok());
  EXPECT_TRUE(store_->Has(kDigest));
  EXPECT_EQ(Content(), "kept");
  EXPECT_TRUE(store_->Delete(kDigest, [] { return true; }).ok());
  EXPECT_FALSE(store_->Has(kDigest));
}

}  // namespace
}  // namespace gantry::images
