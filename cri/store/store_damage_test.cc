// What the store makes of files that a crash, a disk or a hand has damaged: it always opens.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/store/sqlite.h"
#include "cri/store/store.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kRecords = 200;

class StoreDamageTest : public ::testing::Test {
 protected:
  StoreDamageTest() {
    root_ = testing::TempDir() + "/gantry_damage_XXXXXX";
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
    path_ = root_ + "/gantry.db";
    Fill();
  }
  ~StoreDamageTest() override { std::filesystem::remove_all(root_); }

  void Fill() {
    const auto store = Store::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    for (int i = 0; i < kRecords; ++i) {
      store::SandboxRecord record;
      record.set_id(absl::StrCat("id", i));
      record.set_created_at_ns((*store)->NextCreatedAt());
      record.set_config(std::string(700, static_cast<char>('a' + i % 26)));
      (void)(*store)->PutLater(record);
    }
  }

  // With the database closed: its last connection has folded the log into the file.
  void Run(const std::string& sql) {
    const auto database = OpenSqlite(path_);
    ASSERT_TRUE(database.ok()) << database.status();
    const Status status = Execute(database->get(), sql.c_str());
    ASSERT_TRUE(status.ok()) << status;
  }

  void Overwrite(off_t offset, absl::string_view bytes) {
    const auto fd = OpenAt(AT_FDCWD, path_, O_WRONLY);
    ASSERT_TRUE(fd.ok());
    ASSERT_EQ(pwrite(fd->get(), bytes.data(), bytes.size(), offset),
              static_cast<ssize_t>(bytes.size()));
  }

  // Opens, checks that the store can write, and returns what it found.
  Store::Contents OpenAndWrite(const std::string& description) {
    const auto store = Store::Open(root_);
    EXPECT_TRUE(store.ok()) << description << ": " << store.status();
    if (!store.ok()) return {};
    Store::Contents contents = (*store)->LoadAll();
    store::SandboxRecord record;
    record.set_id("new");
    record.set_created_at_ns((*store)->NextCreatedAt());
    const Status status = (*store)->Put(record);
    EXPECT_TRUE(status.ok()) << description << ": " << status;
    return contents;
  }

  std::string root_;
  std::string path_;
};

TEST_F(StoreDamageTest, TornRecordIsQuarantinedAndTheOthersAreRead) {
  Run("UPDATE sandboxes SET detail = substr(detail, 1, 300) WHERE id = 'id7'");
  Run("UPDATE sandboxes SET detail = zeroblob(40) WHERE id = 'id8'");
  Run("UPDATE sandboxes SET detail = '' WHERE id = 'id9'");
  const Store::Contents contents = OpenAndWrite("torn");
  EXPECT_THAT(contents.sandboxes, SizeIs(kRecords - 3));
  ASSERT_THAT(contents.quarantined, SizeIs(3));
  EXPECT_EQ(contents.quarantined[0].table, "sandboxes");
  EXPECT_EQ(contents.quarantined[0].id, "id7");
  EXPECT_EQ(contents.quarantined[0].reason, "the checksum does not match");

  // Once: the next start finds them set aside, not again.
  EXPECT_THAT(OpenAndWrite("again").quarantined, IsEmpty());
  const auto database = OpenSqlite(path_);
  Statement count(database->get(), "SELECT count(*) FROM quarantine WHERE length(detail) >= 0");
  ASSERT_TRUE(count.Step().ok());
  EXPECT_EQ(count.Number(0), 3);
}

TEST_F(StoreDamageTest, RecordUnderAnotherNameIsQuarantined) {
  Run("UPDATE sandboxes SET id = 'other' WHERE id = 'id7'");
  const Store::Contents contents = OpenAndWrite("renamed");
  EXPECT_THAT(contents.sandboxes, SizeIs(kRecords - 1));
  ASSERT_THAT(contents.quarantined, SizeIs(1));
  EXPECT_EQ(contents.quarantined[0].id, "other");
}

TEST_F(StoreDamageTest, FlippedByteInARecordIsQuarantined) {
  const auto text = ReadFileAt(AT_FDCWD, path_, 16 << 20);
  ASSERT_TRUE(text.ok());
  const size_t place = text->find(std::string(600, 'b'));
  ASSERT_NE(place, std::string::npos);
  Overwrite(static_cast<off_t>(place), "X");
  const Store::Contents contents = OpenAndWrite("flipped");
  EXPECT_THAT(contents.sandboxes, SizeIs(kRecords - 1));
  EXPECT_THAT(contents.quarantined, SizeIs(1));
  EXPECT_FALSE(contents.salvaged.has_value());
}

TEST_F(StoreDamageTest, CorruptFileIsSetAsideAndWhatItStillGivesIsKept) {
  Run("CREATE TABLE images(id TEXT PRIMARY KEY, detail); INSERT INTO images VALUES('i', x'00ff')");
  const auto size = std::filesystem::file_size(path_);
  // The header of a page in the middle, where records are.
  Overwrite(static_cast<off_t>(size / 2 / 4096 * 4096), std::string(64, '\xee'));
  const Store::Contents contents = OpenAndWrite("bad page");
  ASSERT_TRUE(contents.salvaged.has_value());
  EXPECT_TRUE(std::filesystem::exists(contents.salvaged->corrupt_path));
  EXPECT_TRUE(absl::StartsWith(contents.salvaged->corrupt_path, path_ + ".corrupt-"));
  EXPECT_GT(contents.sandboxes.size(), kRecords * 3 / 4);
  // The tables of others too.
  const auto database = OpenSqlite(path_);
  Statement images(database->get(), "SELECT detail FROM images WHERE id = 'i'");
  ASSERT_TRUE(images.Step().ok());
  EXPECT_EQ(images.Bytes(0), absl::string_view("\0\xff", 2));
}

TEST_F(StoreDamageTest, Row71FileThatIsNoDatabaseIsSetAside) {
  std::filesystem::resize_file(path_, 0);
  Overwrite(0, std::string(10000, 'n'));
  const Store::Contents contents = OpenAndWrite("no database");
  EXPECT_TRUE(contents.salvaged.has_value());
  EXPECT_THAT(contents.sandboxes, IsEmpty());
}

TEST_F(StoreDamageTest, EmptyAndTruncatedFilesOpen) {
  const auto size = std::filesystem::file_size(path_);
  for (const auto left : {size - 4096, size / 2, uintmax_t{5000}, uintmax_t{50}, uintmax_t{0}}) {
    std::filesystem::resize_file(path_, left);
    OpenAndWrite(absl::StrCat("truncated to ", left));
  }
}

TEST_F(StoreDamageTest, RandomDamageNeverStopsTheStart) {
  std::mt19937 random(7);  // NOLINT(cert-msc51-cpp): the same damage in every run
  for (int round = 0; round < 60; ++round) {
    const auto size = std::filesystem::file_size(path_);
    for (int i = 0; i < 8; ++i) {
      const char byte = static_cast<char>(random());
      Overwrite(static_cast<off_t>(random() % size), absl::string_view(&byte, 1));
    }
    OpenAndWrite(absl::StrCat("round ", round));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
    Fill();
  }
}

TEST_F(StoreDamageTest, NewerSchemaIsRefusedAndLeftAsItIs) {
  Run("UPDATE schema SET version = 2 WHERE component = 'records'");
  const auto store = Store::Open(root_);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("version 2 of a newer gantryd"));
  Run("UPDATE schema SET version = 1 WHERE component = 'records'");
  EXPECT_THAT(OpenAndWrite("old again").sandboxes, SizeIs(kRecords));
}

TEST_F(StoreDamageTest, DamagedClockDoesNotMakeTheFuture) {
  Run("UPDATE clock SET created_at = 9000000000000000000");
  const auto store = Store::Open(root_);
  ASSERT_TRUE(store.ok());
  EXPECT_LT((*store)->NextCreatedAt(), 9000000000000000000);
}

}  // namespace
}  // namespace gantry::cri
