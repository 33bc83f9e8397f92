#include "shim/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"

namespace gantry::shim {
namespace {

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/journal.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    unlink((directory_ + "/journal").c_str());
    rmdir(directory_.c_str());
  }
  static proto::ExitRecord Exit(int code) {
    proto::ExitRecord exit;
    exit.set_exit_code(code);
    exit.set_finished_at_ns(77);
    exit.set_oom_killed(code == 137);
    return exit;
  }
  std::string Text() { return ReadFileAt(AT_FDCWD, directory_ + "/journal").value(); }
  std::string directory_;
};

// The tmpfs was full when it was created: only that is lost.
TEST_F(JournalTest, ARecordOfAnUnknownContainerHidesNothingBehindIt) {
  Journal journal = Journal::Open(directory_).value();
  journal.Created("known", 10, 100);
  journal.Started("unknown", 55);
  journal.Exited("unknown", Exit(3));
  journal.Deleted("unknown");
  journal.Exited("known", Exit(4));
  const JournalContents contents = ReadJournal(directory_).value();
  ASSERT_EQ(contents.containers.size(), 1U);
  EXPECT_EQ(contents.containers.at("known").exit().exit_code(), 4);
}

TEST_F(JournalTest, TellsWhatWasRecorded) {
  Journal journal = Journal::Open(directory_).value();
  journal.Process("shim", getpid());
  journal.Created("a", 10, 100);
  journal.Started("a", 55);
  journal.Created("b", 11, 101);
  journal.Started("b", 56);
  journal.Exited("b", Exit(137));
  journal.Created("c", 12, 102);
  journal.Deleted("c");
  const JournalContents contents = ReadJournal(directory_).value();
  EXPECT_EQ(contents.shim.pid, getpid());
  EXPECT_GT(contents.shim.start_time, 0U);
  EXPECT_EQ(contents.pump.pid, -1);
  ASSERT_EQ(contents.containers.size(), 2U);
  EXPECT_EQ(contents.containers.at("a").phase(), proto::PHASE_RUNNING);
  EXPECT_EQ(contents.containers.at("a").pid_start_time(), 100U);
  EXPECT_EQ(contents.containers.at("a").started_at_ns(), 55);
  EXPECT_EQ(contents.containers.at("b").phase(), proto::PHASE_EXITED);
  EXPECT_EQ(contents.containers.at("b").exit().exit_code(), 137);
  EXPECT_TRUE(contents.containers.at("b").exit().oom_killed());
}

TEST_F(JournalTest, AMissingFileIsAnEmptyJournal) {
  EXPECT_TRUE(ReadJournal(directory_).value().containers.empty());
}

TEST_F(JournalTest, ATornTailCostsTheLastRecordOnly) {
  Journal journal = Journal::Open(directory_).value();
  journal.Created("a", 10, 100);
  const size_t first = Text().size();
  journal.Created("b", 11, 101);
  const std::string whole = Text();
  for (size_t cut = first; cut < whole.size(); ++cut) {
    ASSERT_TRUE(CreateFileAt(AT_FDCWD, directory_ + "/journal", whole.substr(0, cut), 0600).ok());
    EXPECT_EQ(ReadJournal(directory_).value().containers.size(), 1U) << "cut at " << cut;
  }
  // A writer that comes back goes on behind the good prefix.
  Journal again = Journal::Open(directory_).value();
  again.Created("c", 12, 102);
  const JournalContents contents = ReadJournal(directory_).value();
  EXPECT_TRUE(contents.containers.contains("a") && contents.containers.contains("c"));
}

TEST_F(JournalTest, GarbageEndsTheGoodPrefix) {
  Journal journal = Journal::Open(directory_).value();
  journal.Created("a", 10, 100);
  const std::string good = Text();
  for (const char* bad : {"\n", "zzzzzzzz created b 1 2\n", "00000000 \n", "created b 1 2\n"}) {
    ASSERT_TRUE(CreateFileAt(AT_FDCWD, directory_ + "/journal", good + bad + good, 0600).ok());
    EXPECT_EQ(ReadJournal(directory_).value().containers.size(), 1U) << bad;
  }
}

TEST_F(JournalTest, ACrashLoopDoesNotGrowItForEver) {
  Journal journal = Journal::Open(directory_).value();
  journal.Created("keep", 1, 2);
  for (int i = 0; i < 5000; ++i) {
    const std::string id = absl::StrCat("container-", i);
    journal.Created(id, i, 3);
    journal.Started(id, 4);
    journal.Exited(id, Exit(1));
    journal.Deleted(id);
  }
  EXPECT_LT(Text().size(), 160U << 10);
  EXPECT_EQ(ReadJournal(directory_).value().containers.size(), 1U);
}

}  // namespace
}  // namespace gantry::shim
