// CVE-2025-47290 (containerd 2.1.0): somebody who changes the tree while a layer is unpacked into
// it must not turn the unpacker against the rest of the machine. Nobody but root reaches a staging
// folder; this is about what holds when somebody does.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"

#include "imageservice/layer_writer.h"
#include "imageservice/tar_archive.h"
#include "imageservice/tree_walk.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

class LayerRace : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    char pattern[] = "/tmp/gantry-race-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    scratch_ = pattern;
    ASSERT_EQ(mkdir(Yard().c_str(), 0700), 0);
    ASSERT_EQ(mkdir((Yard() + "/below").c_str(), 0700), 0);
    std::ofstream(Yard() + "/precious") << "gold";
    ASSERT_EQ(chmod((Yard() + "/precious").c_str(), 0600), 0);
    before_ = Look();
  }
  void TearDown() override {
    if (!scratch_.empty()) std::filesystem::remove_all(scratch_);
  }

  std::string Root() const { return scratch_ + "/root"; }
  std::string Yard() const { return scratch_ + "/yard"; }

  // Everything of the yard that an unpacker could change.
  std::string Look() const {
    std::string text;
    std::vector<std::string> paths = {Yard()};
    for (const auto& entry : std::filesystem::recursive_directory_iterator(Yard())) {
      paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      struct stat st = {};
      EXPECT_EQ(lstat(path.c_str(), &st), 0);
      absl::StrAppend(&text, path, " ", absl::Hex(st.st_mode), " ", st.st_uid, " ", st.st_nlink,
                      " ", S_ISREG(st.st_mode) ? st.st_size : 0, " ", st.st_mtim.tv_sec, ".",
                      st.st_mtim.tv_nsec, "\n");
    }
    return text;
  }

  // The layer's root, with the links that lead out in it.
  void MakeRoot() const {
    ASSERT_EQ(mkdir(Root().c_str(), 0700), 0);
    ASSERT_EQ(symlink("../yard", (Root() + "/trap").c_str()), 0);
    ASSERT_EQ(symlink("../yard/precious", (Root() + "/trap-file").c_str()), 0);
  }
  Status Unpack(const std::string& tar) const {
    UniqueFd root(open(Root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    LayerWriter writer(root.get(), {});
    TarReader reader(&writer, {});
    RETURN_IF_ERROR(reader.Feed(tar));
    RETURN_IF_ERROR(reader.Finish());
    return writer.Finish().status();
  }
  Status Remove() const {
    UniqueFd scratch(open(scratch_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return RemoveTree(scratch.get(), "root");
  }

  std::string scratch_, before_;
};

// Exchanges names of the layer with links that lead out, as fast as it can.
class Attacker {
 public:
  explicit Attacker(const std::string& root) : root_(root) {
    for (const char* name : {"/d", "/n", "/i", "/implied-0", "/implied-1", "/f", "/s"})
      names_.push_back(root_ + name);
    thread_ = std::thread([this] { Run(); });
  }
  ~Attacker() {
    stop_ = true;
    thread_.join();
  }

 private:
  void Run() {
    while (!stop_) {
      for (const std::string& name : names_) {
        for (const char* trap : {"/trap", "/trap-file"}) {
          const std::string path = root_ + trap;
          // There and back: the link is at its place again for the next.
          if (renameat2(AT_FDCWD, name.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0)
            break;
          (void)renameat2(AT_FDCWD, name.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE);
        }
      }
    }
  }

  const std::string root_;
  std::vector<std::string> names_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

std::string Rounds(int rounds) {
  TarArchive archive;
  for (int i = 0; i < rounds; ++i) {
    archive.Add({.name = "d", .type = '5', .mode = 0777, .uid = 7})
        .File("d/below/in", "harm", 0666)
        .File("d/precious", "harm", 0666)
        .File("d/.wh.below", "")
        .Add({.name = "n", .type = '6', .mode = 0666, .uid = 7})
        .Add({.name = "n", .type = '3', .mode = 0666, .uid = 7, .major = 1, .minor = 3})
        .File("i/f", "harm")  // implied
        .Add({.name = "f", .mode = 0666, .uid = 7}, "harm")
        .HardLink("h", "f")
        .Add({.name = "s", .type = '2', .link = "d", .mode = 0777, .uid = 7})
        .File("s/g", "harm")
        .File("d", "")
        .Symlink("i", "d")  // which the next round resolves inside
        .File(absl::StrCat("implied-", i, "/f"), "harm");
  }
  return archive.Finish();
}

TEST_F(LayerRace, CVE_2025_47290_WhoRenamesMeanwhileTurnsNothingOutwards) {
  const std::string tar = Rounds(20);
  int finished = 0;
  for (int i = 0; i < 60; ++i) {
    MakeRoot();
    {
      // What happens to the layer is not the question: it may fail, or have what was renamed.
      const Attacker attacker(Root());
      finished += Unpack(tar).ok() ? 1 : 0;
    }
    ASSERT_EQ(Look(), before_) << "round " << i;
    ASSERT_TRUE(Remove().ok());
  }
  printf("%d of 60 layers were finished under attack\n", finished);
  MakeRoot();
  EXPECT_TRUE(Unpack(tar).ok());
  EXPECT_EQ(Look(), before_);
}

}  // namespace
}  // namespace gantry::images
