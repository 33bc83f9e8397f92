// The folder of configurations while files come, go and are replaced in it, and it itself.
#include "cri/network/conf_directory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kBound = absl::Seconds(30);

class ConfDirectoryTest : public ::testing::Test {
 protected:
  ConfDirectoryTest() {
    root_ = testing::TempDir() + "/gantry_conf_XXXXXX";
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
    path_ = root_ + "/cni/net.d";
    std::filesystem::create_directories(path_);
    log_file_ = *OpenAt(AT_FDCWD, root_ + "/log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    // A tick that never comes: what is seen has been told by inotify.
    options_.grace = absl::ZeroDuration();
    options_.watch = {absl::Milliseconds(20), absl::Hours(1)};
  }
  ~ConfDirectoryTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& name, const std::string& text) {
    std::ofstream(path_ + "/" + name) << text;
  }
  static std::string List(const std::string& network) {
    return R"({"name": ")" + network + R"(", "plugins": [{"type": "t"}]})";
  }
  void PutNetwork(const std::string& name, const std::string& network) { Put(name, List(network)); }
  ConfDirectory Open() { return ConfDirectory(path_, options_, logger()); }
  [[nodiscard]] Logger logger() const {
    return Logger(LogFormat::kText, LogLevel::kInfo, log_file_.get());
  }
  [[nodiscard]] std::string Log() const { return ReadFileAt(AT_FDCWD, root_ + "/log").value(); }

  static std::string NameOf(const ConfDirectory& directory) {
    const auto config = directory.Current();
    return config.ok() ? (*config)->name : std::string(config.status().message());
  }
  // What is in force once it begins with `part`, or after all patience.
  static std::string WaitFor(const ConfDirectory& directory, const std::string& part) {
    const absl::Time end = absl::Now() + kBound;
    while (!absl::StartsWith(NameOf(directory), part) && absl::Now() < end) usleep(2000);
    return NameOf(directory);
  }

  std::string root_;
  std::string path_;
  UniqueFd log_file_;
  ConfDirectory::Options options_;
};

TEST_F(ConfDirectoryTest, FirstValidFileByNameIsInForceAndBadOnesAreLogged) {
  Put("10-bad.conflist", "{");
  PutNetwork("20-good.conflist", "good");
  PutNetwork("30-later.conf", "later");
  Put("40-bad-too.json", "[]");
  PutNetwork("00-not.txt", "other");
  const ConfDirectory directory = Open();
  EXPECT_EQ(NameOf(directory), "good");
  EXPECT_EQ(directory.InForce().file, "20-good.conflist");
  EXPECT_THAT(directory.InForce().problem, HasSubstr("40-bad-too.json: must be an object"));
  EXPECT_THAT(Log(), HasSubstr("10-bad.conflist: "));
  EXPECT_THAT(Log(), HasSubstr("network=good file=20-good.conflist"));
}

TEST_F(ConfDirectoryTest, ChangesAreSeen) {
  const ConfDirectory directory = Open();
  EXPECT_THAT(NameOf(directory), HasSubstr("no CNI configuration in " + path_));
  EXPECT_THAT(NameOf(directory), HasSubstr("gantry config network --bridge"));
  PutNetwork("20.conflist", "one");
  EXPECT_EQ(WaitFor(directory, "one"), "one");
  PutNetwork("20.conflist", "two2");  // in place: the folder itself does not change
  EXPECT_EQ(WaitFor(directory, "two2"), "two2");
  PutNetwork("10.conflist.tmp", "three");
  std::filesystem::rename(path_ + "/10.conflist.tmp", path_ + "/10.conflist");
  EXPECT_EQ(WaitFor(directory, "three"), "three");
  std::filesystem::remove(path_ + "/10.conflist");
  EXPECT_EQ(WaitFor(directory, "two2"), "two2");
}

TEST_F(ConfDirectoryTest, LastGoodOneStaysWhenAllAreBadNow) {
  const ConfDirectory directory = Open();
  PutNetwork("10.conflist", "good");
  EXPECT_EQ(WaitFor(directory, "good"), "good");
  Put("10.conflist", "half of a fi");
  const absl::Time end = absl::Now() + kBound;
  while (directory.InForce().problem.empty() && absl::Now() < end) usleep(2000);
  EXPECT_THAT(directory.InForce().problem, HasSubstr("no valid CNI configuration in"));
  EXPECT_EQ(NameOf(directory), "good");
  PutNetwork("10.conflist", "whole");
  EXPECT_EQ(WaitFor(directory, "whole"), "whole");
}

TEST_F(ConfDirectoryTest, EmptyFolderIsNoNetworkAfterTheGrace) {
  PutNetwork("10.conflist", "good");
  const ConfDirectory strict = Open();
  options_.grace = absl::Hours(1);
  const ConfDirectory patient = Open();
  std::filesystem::remove(path_ + "/10.conflist");
  EXPECT_THAT(WaitFor(strict, "no CNI"), HasSubstr("no CNI configuration"));
  EXPECT_EQ(NameOf(patient), "good");
}

TEST_F(ConfDirectoryTest, FolderMayGoAndComeAgainWithAllAboveIt) {
  PutNetwork("10.conflist", "old");
  const ConfDirectory directory = Open();
  EXPECT_EQ(NameOf(directory), "old");
  for (const std::string network : {"first", "second"}) {
    std::filesystem::remove_all(root_ + "/cni");
    EXPECT_THAT(WaitFor(directory, "no CNI"), HasSubstr("no CNI configuration"));
    std::filesystem::create_directories(path_);
    PutNetwork("10.conflist", network);
    EXPECT_EQ(WaitFor(directory, network), network);
  }
  // A new folder is moved into the place of the old one.
  std::filesystem::create_directories(root_ + "/new");
  std::ofstream(root_ + "/new/10.conflist") << List("moved");
  std::filesystem::rename(path_, root_ + "/cni/old");
  std::filesystem::rename(root_ + "/new", path_);
  EXPECT_EQ(WaitFor(directory, "moved"), "moved");
}

TEST_F(ConfDirectoryTest, FolderThatDoesNotExistYetIsWaitedFor) {
  std::filesystem::remove_all(root_ + "/cni");
  const ConfDirectory directory = Open();
  EXPECT_THAT(NameOf(directory), HasSubstr("no CNI configuration in " + path_));
  std::filesystem::create_directories(path_);
  PutNetwork("10.conflist", "late");
  EXPECT_EQ(WaitFor(directory, "late"), "late");
}

TEST_F(ConfDirectoryTest, LinksThatAreSwappedAreSeen) {
  // As a ConfigMap is mounted: the files are links through one link that is renamed.
  for (const std::string version : {"v1", "v2"}) {
    std::filesystem::create_directories(path_ + "/.." + version);
    std::ofstream(path_ + "/.." + version + "/10.conflist") << List(version);
  }
  std::filesystem::create_directory_symlink("..v1", path_ + "/..data");
  std::filesystem::create_symlink("..data/10.conflist", path_ + "/10.conflist");
  const ConfDirectory directory = Open();
  EXPECT_EQ(NameOf(directory), "v1");
  std::filesystem::create_directory_symlink("..v2", path_ + "/..new");
  std::filesystem::rename(path_ + "/..new", path_ + "/..data");
  EXPECT_EQ(WaitFor(directory, "v2"), "v2");
}

TEST_F(ConfDirectoryTest, PluginsOfTheNetworksFolderAreSeen) {
  PutNetwork("10.conflist", "net");
  const ConfDirectory directory = Open();
  std::filesystem::create_directories(path_ + "/net");
  Put("net/50.conf", R"({"type": "more"})");
  const absl::Time end = absl::Now() + kBound;
  while ((*directory.Current())->plugins.size() < 2 && absl::Now() < end) usleep(2000);
  ASSERT_EQ((*directory.Current())->plugins.size(), 2u);
  EXPECT_EQ((*directory.Current())->plugins[1].type, "more");
}

TEST_F(ConfDirectoryTest, WithoutInotifyItLooksNowAndThen) {
  options_.watch.period = absl::Milliseconds(20);
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit tight = limit;
  tight.rlim_cur = 0;  // no descriptor more, for whatever
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  const ConfDirectory directory = Open();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  PutNetwork("10.conflist", "seen");
  EXPECT_EQ(WaitFor(directory, "seen"), "seen");
}

TEST_F(ConfDirectoryTest, OnlyBadFilesAreNamedWithTheirReasons) {
  Put("10.conf", "[]");
  Put("20.conflist", R"({"name": "n"})");
  const ConfDirectory directory = Open();
  EXPECT_THAT(NameOf(directory), HasSubstr("10.conf: must be an object; 20.conflist: \"plugins\""));
}

TEST_F(ConfDirectoryTest, ReadersSeeOneWholeConfigurationWhileItIsReplaced) {
  PutNetwork("10.conflist", "a");
  const ConfDirectory directory = Open();
  bool ending = false;
  std::thread writer([this, &ending] {
    for (int i = 0; i < 200; ++i) PutNetwork("10.conflist", std::string(1, i % 2 == 0 ? 'a' : 'b'));
    ending = true;
  });
  std::string seen;
  while (seen.size() < 1000) seen += NameOf(directory);
  writer.join();
  EXPECT_TRUE(ending);
  EXPECT_THAT(seen, Not(HasSubstr(" ")));  // never an error
}

}  // namespace
}  // namespace gantry::cri
