// For tests: a store and a puller in a folder of their own, with the real binaries, and the oracle
// that nothing is left.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "imageservice/image_store.h"
#include "imageservice/pull.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_registry.h"
#include "imageservice/testing_server.h"

namespace gantry::images {

inline size_t CountOpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

// The processes whose parent is this one, zombies included.
inline std::vector<int> ChildPids() {
  std::vector<int> pids;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream children(task.path() / "children");
    for (int pid; children >> pid;) pids.push_back(pid);
  }
  return pids;
}

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Calls `done` until it is true or `seconds` have passed.
template <typename Condition>
bool Eventually(Condition done, int seconds = 20) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class PullTest : public ::testing::Test {
 protected:
  PullTest() {
    if (geteuid() != 0) return;
    std::string pattern = (std::filesystem::temp_directory_path() / "gantry-pull-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    descriptors_ = CountOpenDescriptors();
    OpenStore();
  }

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: the unpacker sets owners";
  }

  ~PullTest() override {
    if (directory_.empty()) return;
    puller_.reset();
    if (store_ != nullptr) {
      store_->FlushDeletions();
      EXPECT_TRUE(std::filesystem::is_empty(directory_ / "staging"))
          << "something is left in staging/";
    }
    store_.reset();
    EXPECT_TRUE(ChildPids().empty()) << "a process is left";
    // A connection of the registry's may be on its way out on another thread.
    for (int i = 0; i < 500 && CountOpenDescriptors() != descriptors_; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(CountOpenDescriptors(), descriptors_) << "a descriptor is left";
    std::filesystem::remove_all(directory_);
  }

  void OpenStore() {
    auto store = ImageStore::Open(directory_.string());
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    options_.puller_binary = GANTRY_BIN_DIR "/gantry-puller";
    options_.unpacker_binary = GANTRY_BIN_DIR "/gantry-unpacker";
    options_.registry_config_path = (directory_ / "certs.d").string();
    puller_ = std::make_unique<Puller>(store_.get(), options_);
  }

  StatusOr<std::shared_ptr<const Image>> Pull(const std::string& reference) {
    PullRequest request;
    request.reference = reference;
    return puller_->Pull(request);
  }

  // What a file in the image's layer `index` holds.
  std::string FileIn(const Image& image, size_t index, const std::string& path) const {
    return ReadText(std::filesystem::path(store_->LayerPath(image.layers[index])) / path);
  }

  std::filesystem::path directory_;
  std::unique_ptr<ImageStore> store_;
  PullerOptions options_;
  std::unique_ptr<Puller> puller_;

 private:
  size_t descriptors_ = 0;
};

// A tar with one file, of `size` bytes that do not compress.
inline std::string TarWithFile(const std::string& name, size_t size, uint32_t seed = 1) {
  std::string data(size, '\0');
  for (char& c : data) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return TarArchive().File(name, data).Finish();
}

}  // namespace gantry::images
