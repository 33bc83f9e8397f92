#include "shim/container_log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kTime = 1'790'000'000'000'000'042;
constexpr char kStamp[] = "2026-09-21T14:13:20.000000042Z";

class ContainerLog : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/container_log.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/0.log";
    ASSERT_TRUE(file_.Open(path_).ok());
  }
  void TearDown() override {
    for (const char* name : {"/0.log", "/0.log.old", "/a/b/0.log", "/link", "/fifo"}) {
      unlink((directory_ + name).c_str());
    }
    rmdir((directory_ + "/a/b").c_str());
    rmdir((directory_ + "/a").c_str());
    rmdir(directory_.c_str());
  }
  // The lines of the log without their time stamps.
  std::vector<std::string> Lines() {
    const std::string text = ReadFileAt(AT_FDCWD, path_, 64 << 20).value();
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    EXPECT_EQ(lines.back(), "") << "the log ends inside a line";
    lines.pop_back();
    for (std::string& line : lines) {
      EXPECT_EQ(line.substr(0, 31), absl::StrCat(kStamp, " "));
      line = line.substr(31);
    }
    return lines;
  }
  void Write(absl::string_view data) { cutter_.Write(data, kTime, &file_); }

  std::string directory_, path_;
  LogFile file_;
  std::string memory_ = std::string(3 * kMaxLogRecord, '\0');
  RecordBuffer buffer_{memory_.data(), memory_.size()};
  LineCutter cutter_{"stdout", &buffer_};
};

TEST_F(ContainerLog, WritesOneRecordALine) {
  Write("one\n\ntwo\n");
  EXPECT_THAT(Lines(), ElementsAre("stdout F one", "stdout F ", "stdout F two"));
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640U);
}

TEST_F(ContainerLog, JoinsALineThatComesInPieces) {
  Write("hel");
  Write("lo");
  EXPECT_THAT(Lines(), ElementsAre());
  Write("\nwor");
  EXPECT_THAT(Lines(), ElementsAre("stdout F hello"));
  Write("ld\n");
  EXPECT_THAT(Lines(), ElementsAre("stdout F hello", "stdout F world"));
}

struct LengthCase {
  const char* what;
  size_t length;
  std::vector<std::pair<char, size_t>> records;  // tag, length
};

TEST_F(ContainerLog, CutsLongLinesAt16KiB) {
  const LengthCase cases[] = {
      {"below the limit", 16383, {{'F', 16383}}},
      {"at the limit", 16384, {{'F', 16384}}},
      {"above the limit", 16385, {{'P', 16384}, {'F', 1}}},
      {"twice the limit", 32768, {{'P', 16384}, {'F', 16384}}},
      {"twice and one", 32769, {{'P', 16384}, {'P', 16384}, {'F', 1}}},
  };
  for (const LengthCase& c : cases) {
    for (const size_t step : {size_t{1}, size_t{1000}, size_t{16384}, size_t{65536}}) {
      ASSERT_EQ(truncate(path_.c_str(), 0), 0);
      const std::string line = std::string(c.length, 'x') + "\n";
      for (size_t at = 0; at < line.size(); at += step) Write(line.substr(at, step));
      std::vector<std::string> expected;
      for (const auto& [tag, length] : c.records) {
        expected.push_back(
            absl::StrCat("stdout ", std::string(1, tag), " ", std::string(length, 'x')));
      }
      EXPECT_EQ(Lines(), expected) << c.what << ", in steps of " << step;
    }
  }
}

TEST_F(ContainerLog, WritesAnUnterminatedTailAsPartial) {
  Write("prompt> ");
  cutter_.Finish(kTime, &file_);
  cutter_.Finish(kTime, &file_);
  EXPECT_THAT(Lines(), ElementsAre("stdout P prompt> "));
}

TEST_F(ContainerLog, WritesATailOfExactlyTheLimitOnce) {
  Write(std::string(16384, 'y'));
  EXPECT_THAT(Lines(), ElementsAre());
  cutter_.Finish(kTime, &file_);
  EXPECT_THAT(Lines(), ElementsAre("stdout P " + std::string(16384, 'y')));
}

TEST_F(ContainerLog, KeepsBinaryBytes) {
  std::string bytes;
  for (int c = 0; c < 256; ++c) {
    if (c != '\n') bytes.push_back(static_cast<char>(c));
  }
  Write(bytes + "\r\n");
  EXPECT_THAT(Lines(), ElementsAre("stdout F " + bytes + "\r"));
}

TEST_F(ContainerLog, WritesThousandsOfLinesOfOneRead) {
  std::string text;
  std::vector<std::string> expected;
  for (int i = 0; i < 30'000; ++i) {
    absl::StrAppend(&text, i, "\n");
    expected.push_back(absl::StrCat("stdout F ", i));
  }
  Write(text);
  EXPECT_EQ(Lines(), expected);
}

TEST_F(ContainerLog, WritesLinesOfAllLengthsThroughTheLeastBuffer) {
  RecordBuffer least(memory_.data(), kMaxLogRecord);
  LineCutter cutter("stderr", &least);
  std::string text;
  std::vector<std::string> expected;
  for (size_t length = 0; length <= kMaxLogLine; length += 1365) {
    const std::string line(length, 'z');
    text += line + "\n";
    expected.push_back("stderr F " + line);
  }
  cutter.Write(text, kTime, &file_);
  EXPECT_EQ(Lines(), expected);
}

TEST_F(ContainerLog, ReopenLeavesTheRenamedFileAlone) {
  Write("old\nhal");
  const std::string old = path_ + ".old";
  ASSERT_EQ(rename(path_.c_str(), old.c_str()), 0);
  ASSERT_TRUE(file_.Reopen().ok());
  Write("f\nnew\n");
  EXPECT_THAT(Lines(), ElementsAre("stdout F half", "stdout F new"));
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, old), absl::StrCat(kStamp, " stdout F old\n"));
}

TEST_F(ContainerLog, MakesMissingParents) {
  LogFile other;
  EXPECT_TRUE(other.Open(directory_ + "/a/b/0.log").ok());
}

TEST_F(ContainerLog, RefusesLinksAndFifos) {
  ASSERT_EQ(symlink("0.log", (directory_ + "/link").c_str()), 0);
  ASSERT_EQ(mkfifo((directory_ + "/fifo").c_str(), 0600), 0);
  LogFile other;
  EXPECT_EQ(ErrnoOf(other.Open(directory_ + "/link")), ELOOP);
  EXPECT_FALSE(other.Open(directory_ + "/fifo").ok());
}

// In a process of its own, with a limit on the size of files: /dev/full would not be a regular
// file.
int WithFileLimit(rlim_t bytes, const std::function<bool()>& check) {
  const pid_t child = fork();
  if (child == 0) {
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    _exit(check() ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST_F(ContainerLog, BreaksOffALineOnceAndGoesOnBehindIt) {
  EXPECT_EQ(WithFileLimit(100,
                          [this] {
                            Write(std::string(40, 'a') + "\n" + std::string(40, 'b') + "\n");
                            Write("lost\n");
                            rlimit limit{};
                            getrlimit(RLIMIT_FSIZE, &limit);
                            limit.rlim_cur = limit.rlim_max;
                            setrlimit(RLIMIT_FSIZE, &limit);
                            Write("c\n");
                            return true;
                          }),
            0);
  // Of the second line 19 bytes had room.
  const std::string text = *ReadFileAt(AT_FDCWD, path_);
  EXPECT_EQ(text,
            absl::StrCat(kStamp, " stdout F ", std::string(40, 'a'), "\n",
                         absl::string_view(kStamp).substr(0, 19), "\n", kStamp, " stdout F c\n"));
}

TEST_F(ContainerLog, CountsWhatADiskThatIsFullDrops) {
  EXPECT_EQ(WithFileLimit(100,
                          [this] {
                            Write("0123456789012345678901234567890123456789\n");
                            Write("0123456789012345678901234567890123456789\n");
                            return file_.dropped_bytes() == 2 * (30 + 10 + 41) - 100;
                          }),
            0);
}

}  // namespace
}  // namespace gantry::shim
