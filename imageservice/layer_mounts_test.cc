// EROFS layers in the workshop: mounted once, shared, kept over a restart, gone with the layer.
#include "imageservice/layer_mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"

#include "imageservice/snapshot.h"
#include "imageservice/testing_layer.h"
#include "imageservice/workshop_namespace.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kBig = 16 << 20;

std::string Digest(int n) {
  const std::string number = absl::StrCat(n);
  return "sha256:" + std::string(64 - number.size(), 'a') + number;
}

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

// What the workshop's threads have mounted.
std::string WorkshopMounts() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (ReadText(task.path() / "comm") == "gantry:workshop\n")
      return ReadText(task.path() / "mountinfo");
  }
  return "no workshop";
}

// Pages of an open file that are in the page cache.
size_t CachedPages(int fd) {
  struct stat st = {};
  fstat(fd, &st);
  const auto size = static_cast<size_t>(st.st_size);
  void* map = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return 0;
  std::vector<unsigned char> pages((size + 4095) / 4096);
  mincore(map, size, pages.data());
  munmap(map, size);
  return static_cast<size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; }));
}

void ReadAllOf(int fd) {
  std::vector<char> buffer(1 << 20);
  while (read(fd, buffer.data(), buffer.size()) > 0) {
  }
}

class LayerMountsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    char dir[] = "/tmp/gantry-mounts-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    scratch_ = dir;
    before_ = ReadText("/proc/self/mountinfo");
    Open();
    if (snapshots_->erofs_support() == ErofsSupport::kNone)
      GTEST_SKIP() << "no EROFS here: " << snapshots_->erofs_reason();
  }
  void TearDown() override {
    if (scratch_.empty()) return;
    snapshots_.reset();
    store_.reset();
    EXPECT_TRUE(UnpinWorkshop(scratch_ + "/pin").ok());
    EXPECT_EQ(ReadText("/proc/self/mountinfo"), before_);
    std::filesystem::remove_all(scratch_);
  }
  // As a gantryd that starts.
  void Open() {
    snapshots_.reset();
    store_.reset();
    auto store = ImageStore::Open(scratch_ + "/root");
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    WorkshopOptions options;
    options.pin = scratch_ + "/pin";
    auto snapshots = Snapshots::Open(store_.get(), scratch_ + "/root/snapshots", options);
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    snapshots_ = *std::move(snapshots);
  }
  std::string Layer(int n, const std::string& file, const std::string& text,
                    LayerForm form = LayerForm::kErofs) {
    auto staging = store_->MakeStagingDirectory();
    std::filesystem::create_directory(*staging + "/fs");
    std::ofstream(*staging + "/fs/" + file) << text;
    if (form == LayerForm::kErofs) {
      EXPECT_TRUE(StageAsErofs(*staging).ok());
    }
    const Status published = store_->PublishLayer(*staging, MakeLayer(Digest(n), Digest(9)));
    EXPECT_TRUE(published.ok()) << published;
    return Digest(n);
  }
  UniqueFd OpenIn(const UniqueFd& mount, const std::string& path) {
    auto file = OpenAt(mount.get(), path, O_RDONLY);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? *std::move(file) : UniqueFd();
  }
  UniqueFd Container(const std::string& id, const std::vector<std::string>& layers) {
    auto mount = snapshots_->Create(id, layers);
    EXPECT_TRUE(mount.ok()) << mount.status();
    return mount.ok() ? *std::move(mount) : UniqueFd();
  }
  std::string Folder(const std::string& layer) const {
    return std::filesystem::path(store_->LayerPath(layer)).parent_path();
  }

  std::string scratch_, before_;
  std::unique_ptr<ImageStore> store_;
  std::unique_ptr<Snapshots> snapshots_;
};

TEST_F(LayerMountsTest, ABaseIsInThePageCacheOnce) {
  const std::string base = Layer(1, "big", std::string(kBig, 'b'));
  std::vector<std::string> images;
  for (int i = 2; i < 22; ++i) images.push_back(Layer(i, "small", absl::StrCat(i)));
  const UniqueFd first = OpenIn(Container("c0", {base, images[0]}), "big");
  EXPECT_LT(CachedPages(first.get()), kBig / 4096);
  ReadAllOf(first.get());
  ASSERT_EQ(CachedPages(first.get()), kBig / 4096);
  // Nobody else has read it, and finds it there.
  for (size_t i = 1; i < images.size(); ++i) {
    const UniqueFd other = OpenIn(Container(absl::StrCat("c", i), {base, images[i]}), "big");
    EXPECT_EQ(CachedPages(other.get()), kBig / 4096) << i;
  }
  // Nor is it there a second time, as the file below.
  const UniqueFd below(open((Folder(base) + "/data").c_str(), O_RDONLY | O_CLOEXEC));
  if (WorkshopMounts().find("directio") == std::string::npos) {
    std::cout << "no directio here: pages of the file itself: " << CachedPages(below.get()) << "\n";
  } else {
    posix_fadvise(below.get(), 0, 0, POSIX_FADV_DONTNEED);  // what writing it left
    ReadAllOf(OpenIn(Container("again", {base}), "big").get());
    EXPECT_EQ(CachedPages(below.get()), 0U);
  }
}

TEST_F(LayerMountsTest, ALayerIsMountedOnceAndOutlivesTheDaemon) {
  const std::string base = Layer(1, "big", std::string(kBig, 'b'));
  const UniqueFd mount = Container("c1", {base});
  const UniqueFd before = OpenIn(mount, "big");
  ReadAllOf(before.get());
  const std::string line =
      absl::StrCat("/layers/", std::filesystem::path(Folder(base)).filename().string(), "/fs ");
  EXPECT_THAT(WorkshopMounts(), HasSubstr(line));
  Open();
  EXPECT_THAT(WorkshopMounts(), HasSubstr(line));  // the one that was there
  const UniqueFd after = OpenIn(Container("c2", {base}), "big");
  EXPECT_EQ(CachedPages(after.get()), kBig / 4096);
  std::string mounts = WorkshopMounts();
  EXPECT_THAT(mounts.replace(mounts.find(line), line.size(), ""), Not(HasSubstr(line)));
}

TEST_F(LayerMountsTest, NoContainerNoPin) {
  Container("c1", {Layer(1, "f", "x")});
  EXPECT_TRUE(OpenPinnedWorkshop(scratch_ + "/pin").ok());
  ASSERT_TRUE(snapshots_->Remove("c1").ok());
  snapshots_.reset();
  EXPECT_TRUE(absl::IsNotFound(OpenPinnedWorkshop(scratch_ + "/pin").status()));
  EXPECT_EQ(ReadText("/proc/self/mountinfo"), before_);
}

TEST_F(LayerMountsTest, APinOfAnotherStoreIsGivenUp) {
  snapshots_.reset();
  std::filesystem::create_directory(scratch_ + "/other");
  auto other = Workshop::Open(scratch_ + "/other", {.pin = scratch_ + "/pin"});
  ASSERT_TRUE(other.ok()) << other.status();
  other->reset();
  Open();
  EXPECT_EQ(ReadText(absl::StrCat("/proc/self/fd/",
                                  OpenIn(Container("c", {Layer(1, "f", "mine")}), "f").get())),
            "mine");
}

TEST_F(LayerMountsTest, ADeletedLayerIsMountedNowhere) {
  const std::string layer = Layer(1, "f", std::string(100'000, 'x'));
  Container("c1", {layer});
  EXPECT_THAT(WorkshopMounts(), HasSubstr("erofs"));
  ASSERT_TRUE(snapshots_->Remove("c1").ok());
  store_->CollectUnused(std::chrono::seconds(-1));
  store_->FlushDeletions();
  EXPECT_THAT(WorkshopMounts(), Not(HasSubstr("erofs")));
  EXPECT_EQ(store_->DiskUsage().bytes, 0U);
  // The same digest again is another publication.
  Layer(1, "f", "new");
  const UniqueFd file = OpenIn(Container("c2", {layer}), "f");
  EXPECT_EQ(ReadText(absl::StrCat("/proc/self/fd/", file.get())), "new");
}

TEST_F(LayerMountsTest, Row70ADamagedLayerIsNeverMountedAndHurtsNoOther) {
  const std::string bad = Layer(1, "f", "x"), good = Layer(2, "g", "y");
  std::fstream meta(Folder(bad) + "/meta", std::ios::in | std::ios::out | std::ios::binary);
  meta.seekp(4096 + 8);  // in the root's inode
  meta.put('\x5a');
  meta.close();
  const Status status = snapshots_->Create("c1", {bad}).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(bad));
  EXPECT_THAT(WorkshopMounts(), Not(HasSubstr("erofs")));
  EXPECT_TRUE(snapshots_->List().empty());
  EXPECT_TRUE(snapshots_->Create("c2", {good}).ok());
}

TEST_F(LayerMountsTest, Row69AFileThatIsMissingOrShortIsFoundAtTheStart) {
  const std::string gone = Layer(1, "f", std::string(100'000, 'x'));
  const std::string cut = Layer(2, "f", std::string(100'000, 'y'));
  const std::string good = Layer(3, "f", std::string(100'000, 'z'));
  std::filesystem::remove(Folder(gone) + "/data");
  std::filesystem::resize_file(Folder(cut) + "/data", 8192);
  Open();
  EXPECT_FALSE(store_->HasLayer(gone));
  EXPECT_FALSE(store_->HasLayer(cut));
  EXPECT_TRUE(snapshots_->Create("c", {good}).ok());
}

TEST_F(LayerMountsTest, BothFormsStackAndManyLayersDo) {
  std::vector<std::string> layers;
  for (int i = 1; i <= 128; ++i) {
    layers.push_back(Layer(i, absl::StrCat("f", i), absl::StrCat(i),
                           i % 3 == 0 ? LayerForm::kDirectory : LayerForm::kErofs));
  }
  const UniqueFd mount = Container("c", layers);
  for (const int i : {1, 3, 64, 128}) {
    EXPECT_EQ(*ReadFileAt(mount.get(), absl::StrCat("f", i)), absl::StrCat(i));
  }
}

TEST_F(LayerMountsTest, LoopDevicesGoWithTheMount) {
  const std::string layer = Layer(1, "big", std::string(kBig, 'l'));
  {
    auto mount = MountErofs(Folder(layer), ErofsSupport::kLoop);
    if (!mount.ok() && absl::IsUnavailable(mount.status())) GTEST_SKIP() << mount.status();
    ASSERT_TRUE(mount.ok()) << mount.status();
    EXPECT_EQ(*ReadFileAt(mount->get(), "big", kBig), std::string(kBig, 'l'));
  }
  for (const auto& device : std::filesystem::directory_iterator("/sys/block")) {
    const std::string backing = ReadText(device.path() / "loop/backing_file");
    EXPECT_THAT(backing, Not(HasSubstr(scratch_)));
  }
  EXPECT_EQ(MountErofs(Folder(layer), ErofsSupport::kNone).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace gantry::images
