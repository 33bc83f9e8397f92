#include "imageservice/image_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"

#include "imageservice/layer_publish.h"
#include "imageservice/layer_store.h"
#include "imageservice/testing_layer.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;

std::string Digest(char c, int n = 0) {
  std::string number = absl::StrCat(n);
  return "sha256:" + std::string(64 - number.size(), c) + number;
}

class ImageStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/gantry-store-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    scratch_ = dir;
    root_ = scratch_ + "/root";
    Open();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(scratch_);
  }
  void Open() {
    store_.reset();
    auto store = ImageStore::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // A staging directory with one file.
  std::string Stage(ImageStore* store, const std::string& text) {
    auto staging = store->MakeStagingDirectory();
    EXPECT_TRUE(staging.ok());
    std::filesystem::create_directory(*staging + "/fs");
    std::ofstream(*staging + "/fs/file") << text;
    return *staging;
  }
  Status AddLayer(const std::string& digest, uint64_t size = 0) {
    return store_->PublishLayer(Stage(store_.get(), digest), MakeLayer(digest, Digest('d'), size));
  }
  Image MakeImage(char id, std::vector<std::string> tags, std::vector<std::string> layers) {
    Image image;
    image.id = Digest(id);
    image.repo_tags = std::move(tags);
    image.layers = std::move(layers);
    image.diff_ids.assign(image.layers.size(), Digest('d'));
    image.size = 100;
    image.config.env = {"A=b"};
    image.config.labels = {{"k", "v"}};
    return image;
  }
  // As Check would find it.
  ImageStore::Damage Damaged(const std::string& layer) {
    return {layer, {}, absl::DataLossError("as found"), store_->Layer(layer)->made_at_ns};
  }
  size_t Layers() const {
    size_t n = 0;
    for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(root_ + "/layers"))
      ++n;
    return n;
  }

  std::string scratch_, root_;
  std::unique_ptr<ImageStore> store_;
};

TEST_F(ImageStoreTest, KeepsImagesOverARestart) {
  ASSERT_TRUE(AddLayer(Digest('1'), 5000).ok());
  auto put = store_->Put(MakeImage('a', {"docker.io/library/busybox:latest"}, {Digest('1')}));
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ((*put)->size, 5100u);
  Open();
  ASSERT_EQ(store_->List().size(), 1u);
  const Image& image = *store_->List()[0];
  EXPECT_EQ(image.id, Digest('a'));
  EXPECT_EQ(image.size, 5100u);
  EXPECT_THAT(image.config.env, ElementsAre("A=b"));
  EXPECT_EQ(image.config.labels.at("k"), "v");
  EXPECT_EQ(store_->Layer(Digest('1'))->diff_id, Digest('d'));
  EXPECT_EQ(store_->DiskUsage().bytes, 5000u);
  EXPECT_EQ(store_->DiskUsage().inodes, 2u);
}

TEST_F(ImageStoreTest, FindsByEveryName) {
  Image image =
      MakeImage('a', {"docker.io/library/busybox:1.36", "docker.io/library/busybox:latest"}, {});
  image.repo_digests = {"docker.io/library/busybox@" + Digest('e')};
  ASSERT_TRUE(store_->Put(image).ok());
  const std::string hex(64, 'a');
  for (const std::string& name : {std::string("busybox"), std::string("busybox:1.36"),
                                  std::string("docker.io/busybox:latest"), "busybox@" + Digest('e'),
                                  "busybox:9@" + Digest('e'), Digest('a'), Digest('a').substr(7),
                                  Digest('a').substr(7, 12), Digest('a').substr(0, 30)}) {
    auto found = store_->Find(name);
    ASSERT_TRUE(found.ok()) << name << found.status();
    EXPECT_NE(*found, nullptr) << name;
  }
  for (const std::string& name : {std::string("busybox:2"), std::string("alpine"), Digest('f'),
                                  std::string("aaaaaaaaaaa"), "busybox@" + Digest('f')}) {
    auto found = store_->Find(name);
    ASSERT_TRUE(found.ok()) << name << found.status();
    EXPECT_EQ(*found, nullptr) << name;
  }
  for (const char* name : {"", "UPPER", "a b", "../x", "busybox@sha256:short"}) {
    EXPECT_EQ(store_->Find(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  Image twin = MakeImage('a', {}, {});
  twin.id.back() = '1';
  ASSERT_TRUE(store_->Put(twin).ok());
  EXPECT_EQ(store_->Find(std::string(12, 'a')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ImageStoreTest, MovesTagsAndMergesNames) {
  ASSERT_TRUE(
      store_->Put(MakeImage('a', {"docker.io/library/x:1", "docker.io/library/x:2"}, {})).ok());
  ASSERT_TRUE(store_->Put(MakeImage('b', {"docker.io/library/x:2"}, {})).ok());
  EXPECT_EQ((*store_->Find("x:2"))->id, Digest('b'));
  EXPECT_THAT((*store_->Find(Digest('a')))->repo_tags, ElementsAre("docker.io/library/x:1"));
  auto merged = store_->Put(MakeImage('b', {"docker.io/library/y:1"}, {}));
  EXPECT_THAT((*merged)->repo_tags, ElementsAre("docker.io/library/x:2", "docker.io/library/y:1"));
  Open();
  EXPECT_THAT((*store_->Find("y:1"))->repo_tags,
              ElementsAre("docker.io/library/x:2", "docker.io/library/y:1"));
  EXPECT_THAT((*store_->Find(Digest('a')))->repo_tags, ElementsAre("docker.io/library/x:1"));
}

TEST_F(ImageStoreTest, WritesNothingForWhatIsRecorded) {
  ASSERT_TRUE(store_->Put(MakeImage('a', {"docker.io/library/x:1"}, {})).ok());
  const auto written = [&] { return std::filesystem::file_size(root_ + "/gantry.db-wal"); };
  const auto before = written();
  Image again = MakeImage('a', {"docker.io/library/x:1"}, {});
  again.pulled_at_ns = 5;
  const auto same = store_->Put(again);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ((*same)->pulled_at_ns, 0);
  EXPECT_EQ(written(), before);
  again.config.env = {"A=c"};
  ASSERT_TRUE(store_->Put(again).ok());
  EXPECT_GT(written(), before);
}

TEST_F(ImageStoreTest, RemovesLayersOnlyWhenNobodyUsesThem) {
  for (char c : {'1', '2', '3'}) ASSERT_TRUE(AddLayer(Digest(c)).ok());
  ASSERT_TRUE(
      store_
          ->Put(MakeImage('a', {"docker.io/library/a:1"}, {Digest('1'), Digest('2'), Digest('3')}))
          .ok());
  ASSERT_TRUE(store_->Put(MakeImage('b', {"docker.io/library/b:1"}, {Digest('1')})).ok());
  store_->HoldLayers("container", {Digest('1'), Digest('2')});
  ASSERT_TRUE(store_->Remove("a:1").ok());
  EXPECT_TRUE(store_->HasLayer(Digest('1')));
  EXPECT_TRUE(store_->HasLayer(Digest('2')));
  EXPECT_FALSE(store_->HasLayer(Digest('3')));
  store_->ReleaseLayers("container");
  EXPECT_TRUE(store_->HasLayer(Digest('1')));
  EXPECT_FALSE(store_->HasLayer(Digest('2')));
  store_->FlushDeletions();
  EXPECT_EQ(Layers(), 1u);
  EXPECT_EQ(store_->DiskUsage().inodes, 2u);
  EXPECT_TRUE(store_->Remove("a:1").ok());
  EXPECT_TRUE(store_->Remove(Digest('b')).ok());
  store_->FlushDeletions();
  EXPECT_EQ(store_->DiskUsage().bytes, 0u);
  EXPECT_TRUE(std::filesystem::is_empty(root_ + "/staging"));
}

TEST_F(ImageStoreTest, RefusesImagesWithoutTheirLayers) {
  EXPECT_EQ(store_->Put(MakeImage('a', {}, {Digest('1')})).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(AddLayer(Digest('1')).ok());
  Image image = MakeImage('a', {}, {Digest('1')});
  image.diff_ids = {Digest('f')};
  EXPECT_EQ(store_->Put(image).status().code(), absl::StatusCode::kDataLoss);
  image.id = "sha256:../../etc";
  EXPECT_EQ(store_->Put(image).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ImageStoreTest, DoesNotListAnImageWithALayerMissing) {
  ASSERT_TRUE(AddLayer(Digest('1')).ok());
  ASSERT_TRUE(AddLayer(Digest('2')).ok());
  ASSERT_TRUE(
      store_->Put(MakeImage('a', {"docker.io/library/a:1"}, {Digest('1'), Digest('2')})).ok());
  store_.reset();
  std::ofstream(std::filesystem::path(store_ ? "" : root_) / "layers" /
                ("sha256-" + Digest('1').substr(7)) / "layer.json")
      << "{";
  Open();
  EXPECT_TRUE(store_->List().empty());
  EXPECT_FALSE(store_->HasLayer(Digest('1')));
  EXPECT_TRUE(store_->HasLayer(Digest('2')));
  store_->CollectUnused(std::chrono::hours(1));
  EXPECT_TRUE(store_->HasLayer(Digest('2')));
  store_->CollectUnused(std::chrono::seconds(0));
  EXPECT_FALSE(store_->HasLayer(Digest('2'))) << "it came from an archive: nothing repairs it";
}

TEST_F(ImageStoreTest, Row69OneDamagedLayerCostsNoOtherOne) {
  for (const char c : {'1', '2', '3'}) ASSERT_TRUE(AddLayer(Digest(c)).ok());
  Image image = MakeImage('a', {}, {Digest('1'), Digest('2')});
  image.repo_digests = {"docker.io/library/a@" + Digest('e')};
  ASSERT_TRUE(store_->Put(image).ok());
  Image twin = MakeImage('b', {"docker.io/library/b:1"}, {Digest('2')});
  ASSERT_TRUE(store_->Put(twin).ok());
  ASSERT_TRUE(store_->SetAside(Damaged(Digest('1'))).ok());
  store_->CollectUnused(std::chrono::seconds(0));
  ASSERT_TRUE(store_->Remove("b:1").ok());
  Open();
  store_->CollectUnused(std::chrono::seconds(0));
  EXPECT_TRUE(store_->HasLayer(Digest('2'))) << "the repair needs it";
  EXPECT_FALSE(store_->HasLayer(Digest('3')));
  // It comes back with other blobs: what it had before is nobody's now.
  ASSERT_TRUE(AddLayer(Digest('4')).ok());
  ASSERT_TRUE(store_->Put(MakeImage('a', {}, {Digest('4')})).ok());
  EXPECT_FALSE(store_->HasLayer(Digest('2')));
}

TEST_F(ImageStoreTest, OnlyWhatIsCertainlyDamagedIsSetAside) {
  ASSERT_TRUE(AddLayer(Digest('1')).ok());
  ImageStore::Damage unread = Damaged(Digest('1'));
  errno = EIO;
  unread.what = SyscallError("open", "layer.json");
  EXPECT_FALSE(unread.certain());
  EXPECT_FALSE(store_->SetAside(unread).ok());
  ImageStore::Damage before = Damaged(Digest('1'));
  --before.made_at_ns;
  EXPECT_TRUE(store_->SetAside(before).ok()) << "it was removed and pulled again meanwhile";
  EXPECT_TRUE(store_->HasLayer(Digest('1')));
}

TEST_F(ImageStoreTest, AnIdOfAnotherAlgorithmIsFoundAndRemoved) {
  Image image = MakeImage('a', {}, {});
  image.id = "sha512:" + std::string(128, 'a');
  ASSERT_TRUE(store_->Put(image).ok());
  EXPECT_EQ((*store_->Find(image.id))->id, image.id);
  ASSERT_TRUE(store_->Remove(image.id).ok());
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(ImageStoreTest, Row71SetsATornRecordAside) {
  ASSERT_TRUE(store_->Put(MakeImage('a', {}, {})).ok());
  ASSERT_TRUE(store_->Put(MakeImage('b', {}, {})).ok());
  store_.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((root_ + "/gantry.db").c_str(), &db), SQLITE_OK);
  const std::string sql =
      "UPDATE images SET record = substr(record, 1, 20) WHERE id = '" + Digest('a') + "'";
  ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  Open();
  ASSERT_EQ(store_->List().size(), 1u);
  EXPECT_EQ(store_->List()[0]->id, Digest('b'));
  sqlite3_stmt* statement = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(db, "SELECT reason FROM images_quarantine", -1, &statement, nullptr),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_step(statement), SQLITE_ROW);
  EXPECT_STREQ(reinterpret_cast<const char*>(sqlite3_column_text(statement, 0)),
               "the checksum is wrong");
  sqlite3_finalize(statement);
  sqlite3_close(db);
}

TEST_F(ImageStoreTest, PublishesOnceAndOnlyFromStaging) {
  ASSERT_TRUE(AddLayer(Digest('1')).ok());
  const std::string second = Stage(store_.get(), "other");
  ASSERT_TRUE(store_->PublishLayer(second, MakeLayer(Digest('1'), Digest('d'), 1)).ok());
  EXPECT_FALSE(std::filesystem::exists(second));
  std::ifstream in(store_->LayerPath(Digest('1')) + "/file");
  std::string text;
  in >> text;
  EXPECT_EQ(text, Digest('1'));
  for (const std::string& path :
       {scratch_, root_ + "/staging", root_ + "/staging/../layers", std::string("/etc")}) {
    EXPECT_EQ(store_->PublishLayer(path, MakeLayer(Digest('2'), Digest('d'), 1)).code(),
              absl::StatusCode::kInvalidArgument)
        << path;
  }
  EXPECT_EQ(
      store_->PublishLayer(Stage(store_.get(), "x"), MakeLayer("sha256:../../x", Digest('d'), 1))
          .code(),
      absl::StatusCode::kInvalidArgument);
}

TEST_F(ImageStoreTest, MarksOpaqueDirectoriesWithoutFollowingLinks) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  std::string staging = Stage(store_.get(), "x");
  std::filesystem::create_directories(staging + "/fs/a/b");
  std::ofstream(staging + "/opaque", std::ios::binary) << std::string("a/b\0\0", 5);
  ASSERT_TRUE(store_->PublishLayer(staging, MakeLayer(Digest('1'), Digest('d'), 1)).ok());
  char value = 0;
  EXPECT_EQ(getxattr((store_->LayerPath(Digest('1')) + "/a/b").c_str(), "trusted.overlay.opaque",
                     &value, 1),
            1);
  EXPECT_EQ(getxattr(store_->LayerPath(Digest('1')).c_str(), "trusted.overlay.opaque", &value, 1),
            1);
  EXPECT_FALSE(
      std::filesystem::exists(root_ + "/layers/sha256-" + Digest('1').substr(7) + "/opaque"));
  // Hostile lists.
  std::filesystem::create_directory(scratch_ + "/victim");
  for (const std::string& path :
       {std::string("l"), std::string("../.."), scratch_ + "/victim", std::string("l/x")}) {
    staging = Stage(store_.get(), "x");
    std::filesystem::create_symlink(scratch_ + "/victim", staging + "/fs/l");
    std::ofstream(staging + "/opaque", std::ios::binary) << path << '\0';
    EXPECT_FALSE(store_->PublishLayer(staging, MakeLayer(Digest('2'), Digest('d'), 1)).ok())
        << path;
  }
  staging = Stage(store_.get(), "x");
  std::filesystem::create_symlink("/etc/passwd", staging + "/opaque");
  EXPECT_FALSE(store_->PublishLayer(staging, MakeLayer(Digest('2'), Digest('d'), 1)).ok());
  EXPECT_EQ(listxattr((scratch_ + "/victim").c_str(), nullptr, 0), 0);
}

// SIGKILL at any moment of publishing: a layer's name means a complete layer.
TEST_F(ImageStoreTest, IsCompleteOrAbsentAfterSigkill) {
  store_.reset();
  int published = 0;
  for (int round = 0; round < 25; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto store = ImageStore::Open(root_);
      if (!store.ok()) _exit(2);
      for (int i = 0;; ++i) {
        const std::string digest = Digest('b', round * 100 + i % 100);
        auto staging = (*store)->MakeStagingDirectory();
        std::filesystem::create_directory(*staging + "/fs");
        for (int f = 0; f < 20; ++f) std::ofstream(absl::StrCat(*staging, "/fs/", f)) << digest;
        if (write(pipe_fds[1], "x", 1) != 1) _exit(3);
        if (!(*store)->PublishLayer(*staging, MakeLayer(digest, Digest('d'), 4096)).ok()) _exit(4);
        Image image = MakeImage('c', {"docker.io/library/x:1"}, {digest});
        if (!(*store)->Put(image).ok()) _exit(5);
      }
    }
    close(pipe_fds[1]);
    char byte;
    for (int n = 0; n < 1 + round % 4; ++n) ASSERT_EQ(read(pipe_fds[0], &byte, 1), 1);
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(200 * round);
    while (std::chrono::steady_clock::now() < until) {
    }
    kill(child, SIGKILL);
    close(pipe_fds[0]);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    Open();
    for (const auto& entry : std::filesystem::directory_iterator(root_ + "/layers")) {
      std::string digest = entry.path().filename();
      digest[6] = ':';
      ASSERT_TRUE(store_->HasLayer(digest));
      ++published;
      for (int f = 0; f < 20; ++f) {
        std::ifstream in(absl::StrCat(store_->LayerPath(digest), "/", f));
        std::string text;
        in >> text;
        ASSERT_EQ(text, digest);
      }
    }
    for (const auto& image : store_->List()) {
      for (const auto& layer : image->layers) ASSERT_TRUE(store_->HasLayer(layer));
    }
    store_->FlushDeletions();
    EXPECT_TRUE(std::filesystem::is_empty(root_ + "/staging"));
    store_.reset();
  }
  EXPECT_GT(published, 10);
}

TEST_F(ImageStoreTest, HoldsUnderConcurrentPutRemoveAndHold) {
  ASSERT_TRUE(AddLayer(Digest('0')).ok());
  ASSERT_TRUE(store_->Put(MakeImage('e', {"docker.io/library/keep:1"}, {Digest('0')})).ok());
  std::atomic<int> wrong{0}, kept{0};
  auto puller = [&](char id) {
    for (int i = 0; i < 30; ++i) {
      const std::string hold = absl::StrCat("pull-", std::string(1, id));
      const std::vector<std::string> layers = {Digest('0'), Digest('1')};
      store_->HoldLayers(hold, layers);
      if (!store_->HasLayer(Digest('1')) && !AddLayer(Digest('1')).ok()) ++wrong;
      if (!store_
               ->Put(MakeImage(id, {absl::StrCat("docker.io/library/", std::string(1, id), ":1")},
                               layers))
               .ok())
        ++wrong;
      store_->ReleaseLayers(hold);
      if (!store_->Remove(absl::StrCat(std::string(1, id), ":1")).ok()) ++wrong;
    }
  };
  auto runner = [&] {
    for (int i = 0; i < 300; ++i) {
      store_->HoldLayers("container", {Digest('0'), Digest('1')});
      auto image = store_->Find("a:1");
      if (image.ok() && *image != nullptr) {
        // Held before it was seen: its layers stay.
        if (!store_->HasLayer(Digest('1'))) ++wrong;
        ++kept;
      }
      if (store_->List().empty()) ++wrong;
      store_->ReleaseLayers("container");
    }
  };
  std::thread a(puller, 'a'), b(puller, 'b'), c(runner);
  a.join();
  b.join();
  c.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(store_->HasLayer(Digest('0')));
  EXPECT_FALSE(store_->HasLayer(Digest('1')));
  store_->FlushDeletions();
  EXPECT_EQ(Layers(), 1u);
  EXPECT_EQ(store_->DiskUsage().inodes, 2u);
}

TEST_F(ImageStoreTest, Row69AMissingLayerHidesItsImagesAndTheyComeBack) {
  ASSERT_TRUE(AddLayer(Digest('1')).ok());
  ASSERT_TRUE(AddLayer(Digest('2')).ok());
  Image image = MakeImage('a', {"docker.io/library/a:1", "docker.io/library/a:2"}, {Digest('1')});
  image.repo_digests = {"docker.io/library/a@" + Digest('e')};
  ASSERT_TRUE(store_->Put(image).ok());
  ASSERT_TRUE(store_->Put(MakeImage('b', {"docker.io/library/b:1"}, {Digest('2')})).ok());
  EXPECT_TRUE(store_->Check(false).empty());
  std::filesystem::remove_all(store_->LayerPath(Digest('1')));
  const auto damaged = store_->Check(false);
  ASSERT_EQ(damaged.size(), 1u);
  EXPECT_EQ(damaged[0].layer, Digest('1'));
  EXPECT_THAT(damaged[0].images, ElementsAre(Digest('a')));
  ASSERT_TRUE(store_->SetAside(damaged[0]).ok());
  EXPECT_EQ(*store_->Find("a:1"), nullptr);
  EXPECT_NE(*store_->Find("b:1"), nullptr);
  ASSERT_EQ(store_->Incomplete().size(), 1u);
  // Another image takes one of its names; the others are its own again.
  ASSERT_TRUE(store_->Put(MakeImage('c', {"docker.io/library/a:2"}, {Digest('2')})).ok());
  Open();
  ASSERT_EQ(store_->Incomplete().size(), 1u);
  ASSERT_TRUE(AddLayer(Digest('1')).ok());
  ASSERT_TRUE(store_->Put(MakeImage('a', {}, {Digest('1')})).ok());
  EXPECT_TRUE(store_->Incomplete().empty());
  EXPECT_EQ((*store_->Find("a:1"))->id, Digest('a'));
  EXPECT_EQ((*store_->Find("a:2"))->id, Digest('c'));
  EXPECT_EQ((*store_->Find("a@" + Digest('e')))->id, Digest('a'));
}

TEST_F(ImageStoreTest, RemovesAnIncompleteImageByEachName) {
  for (const std::string& name : {std::string("a:1"), Digest('a'), "a@" + Digest('e')}) {
    ASSERT_TRUE(AddLayer(Digest('1')).ok());
    Image image = MakeImage('a', {"docker.io/library/a:1"}, {Digest('1')});
    image.repo_digests = {"docker.io/library/a@" + Digest('e')};
    ASSERT_TRUE(store_->Put(image).ok());
    ASSERT_TRUE(store_->SetAside(Damaged(Digest('1'))).ok());
    ASSERT_EQ(store_->Incomplete().size(), 1u);
    ASSERT_TRUE(store_->Remove(name).ok());
    EXPECT_TRUE(store_->Incomplete().empty()) << name;
    Open();
    EXPECT_TRUE(store_->Incomplete().empty()) << name;
  }
}

TEST_F(ImageStoreTest, Row70ADeepCheckFindsWhatWasChanged) {
  for (const char c : {'1', '2'}) {
    const std::string staging = Stage(store_.get(), std::string(3 << 20, c));
    ASSERT_TRUE(StageAsErofs(staging).ok());
    ASSERT_TRUE(store_->PublishLayer(staging, MakeLayer(Digest(c), Digest('d'))).ok());
  }
  EXPECT_TRUE(store_->Check(true).empty());
  const auto folder = std::filesystem::path(store_->LayerPath(Digest('1'))).parent_path();
  std::fstream data(folder / "data", std::ios::in | std::ios::out | std::ios::binary);
  data.seekp(2 << 20);
  data.put('x');
  data.close();
  EXPECT_TRUE(store_->Check(false).empty());
  const auto damaged = store_->Check(true);
  ASSERT_EQ(damaged.size(), 1u);
  EXPECT_EQ(damaged[0].layer, Digest('1'));
  EXPECT_EQ(damaged[0].what.code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace gantry::images
