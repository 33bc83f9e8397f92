#include "imageservice/layer_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "imageservice/tar_archive.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

// Keeps what the reader delivers.
class Recorder : public TarConsumer {
 public:
  struct File {
    TarEntry entry;
    std::string data;
    bool ended = false;
  };
  Status OnEntry(const TarEntry& entry) override {
    files.push_back({entry, std::string(entry.size < (64u << 20) ? entry.size : 0, '\0'), false});
    return absl::OkStatus();
  }
  Status OnData(uint64_t offset, absl::string_view bytes) override {
    std::string& data = files.back().data;
    if (offset + bytes.size() > data.size()) return absl::InternalError("data past the size");
    data.replace(offset, bytes.size(), bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  Status OnEntryEnd() override {
    files.back().ended = true;
    return absl::OkStatus();
  }
  std::vector<File> files;
};

Status Read(absl::string_view bytes, Recorder* recorder, size_t piece = 1 << 20,
            TarLimits limits = {}) {
  TarReader reader(recorder, limits);
  for (size_t i = 0; i < bytes.size(); i += piece) {
    if (Status status = reader.Feed(bytes.substr(i, piece)); !status.ok()) return status;
  }
  return reader.Finish();
}

std::string Error(absl::string_view bytes, TarLimits limits = {}) {
  Recorder recorder;
  return std::string(Read(bytes, &recorder, 1 << 20, limits).message());
}

TEST(TarReader, DeliversEntriesWhateverThePiecesAre) {
  const std::string archive = TarArchive()
                                  .Directory("a/", 01777)
                                  .Add({.name = "a/f", .mode = 04755, .uid = 7, .gid = 8}, "hello")
                                  .Symlink("a/s", "f")
                                  .HardLink("a/h", "a/f")
                                  .Add({.name = "a/dev", .type = '4', .major = 8, .minor = 1})
                                  .Add({.name = "a/fifo", .type = '6'})
                                  .File("big", std::string(70'000, 'x'))
                                  .Finish();
  for (size_t piece : {size_t{1}, size_t{7}, size_t{511}, size_t{512}, archive.size()}) {
    Recorder got;
    ASSERT_TRUE(Read(archive, &got, piece).ok());
    ASSERT_EQ(got.files.size(), 7u);
    EXPECT_EQ(got.files[0].entry.type, TarType::kDirectory);
    EXPECT_EQ(got.files[0].entry.mode, 01777u);
    EXPECT_EQ(got.files[1].data, "hello");
    EXPECT_EQ(got.files[1].entry.mode, 04755u);
    EXPECT_EQ(got.files[1].entry.uid, 7u);
    EXPECT_EQ(got.files[2].entry.link_target, "f");
    EXPECT_EQ(got.files[3].entry.type, TarType::kHardLink);
    EXPECT_EQ(got.files[4].entry.dev_major, 8u);
    EXPECT_EQ(got.files[5].entry.type, TarType::kFifo);
    EXPECT_EQ(got.files[6].data, std::string(70'000, 'x'));
    EXPECT_TRUE(got.files[6].ended);
  }
}

TEST(TarReader, AppliesPaxRecordsToTheNextFileOnly) {
  Recorder got;
  const std::string long_name = std::string(300, 'n');
  const std::string archive = TarArchive()
                                  .Pax({{"path", long_name},
                                        {"uid", "3000000000"},
                                        {"mtime", "12.5"},
                                        {"SCHILY.xattr.user.k", std::string("v\0=\n", 4)}})
                                  .File("short", "x")
                                  .File("next", "y")
                                  .Finish();
  ASSERT_TRUE(Read(archive, &got, 13).ok());
  ASSERT_EQ(got.files.size(), 2u);
  EXPECT_EQ(got.files[0].entry.name, long_name);
  EXPECT_EQ(got.files[0].entry.uid, 3'000'000'000u);
  EXPECT_EQ(got.files[0].entry.mtime.seconds, 12);
  EXPECT_EQ(got.files[0].entry.mtime.nanoseconds, 500'000'000u);
  ASSERT_EQ(got.files[0].entry.xattrs.size(), 1u);
  EXPECT_EQ(got.files[0].entry.xattrs[0].first, "user.k");
  EXPECT_EQ(got.files[0].entry.xattrs[0].second, std::string("v\0=\n", 4));
  EXPECT_EQ(got.files[1].entry.name, "next");
  EXPECT_TRUE(got.files[1].entry.xattrs.empty());
}

// tokio-tar's and node-tar's desynchronisation (CVE-2025-62518): the size must skip the L header in
// between.
TEST(TarReader, CVE_2025_62518_PaxSizeSkipsLongNameHeaders) {
  Recorder got;
  TarArchive archive;
  archive.Pax({{"size", "1024"}});
  archive.Add({.name = "././@LongLink", .type = 'L'}, absl::StrCat("long", std::string(1, '\0')));
  archive.Raw(TarArchive::Block({.name = "x"})).Raw(std::string(1024, 'd'));
  archive.File("after", "ok");
  const Status status = Read(archive.Finish(), &got);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(got.files.size(), 2u);
  EXPECT_EQ(got.files[0].entry.name, "long");
  EXPECT_EQ(got.files[0].data, std::string(1024, 'd'));
  EXPECT_EQ(got.files[1].entry.name, "after");
}

struct Refusal {
  const char* what;
  std::string archive;
  const char* error;
};

void ExpectRefused(const std::vector<Refusal>& cases) {
  for (const Refusal& c : cases) EXPECT_THAT(Error(c.archive), HasSubstr(c.error)) << c.what;
}

TEST(TarReader, RefusesBadHeadersWithTheEntrysName) {
  std::string broken = TarArchive().File("f", "x").Finish();
  broken[1] ^= 1;
  ExpectRefused({
      {"checksum", broken, "entry 1: header checksum"},
      {"truncated data", TarArchive().File("a/f", std::string(2000, 'x')).bytes().substr(0, 1500),
       "entry 1 \"a/f\": the archive ends in the middle"},
      {"uid -1", TarArchive().Add({.name = "f", .uid = -1}).Finish(),
       "entry 1 \"f\": a negative uid"},
      {"uid 2^32-1", TarArchive().Add({.name = "f", .uid = 0xffffffffll}).Finish(), "out of range"},
      {"gid 2^32", TarArchive().Pax({{"gid", "4294967296"}}).File("f", "").Finish(),
       "out of range"},
  });
}

TEST(TarReader, RefusesBadExtendedHeaders) {
  ExpectRefused({
      {"pax uid -1", TarArchive().Pax({{"uid", "-1"}}).File("f", "").Finish(), "uid is no number"},
      {"pax garbage",
       TarArchive().Add({.name = "p", .type = 'x'}, "garbage").File("f", "").Finish(),
       "malformed extended header"},
      {"pax length",
       TarArchive().Add({.name = "p", .type = 'x'}, "99 path=x\n").File("f", "").Finish(),
       "a record longer than the header"},
      {"pax NUL in path",
       TarArchive().Pax({{"path", std::string("a\0b", 3)}}).File("f", "").Finish(),
       "path has a NUL"},
      {"two pax headers",
       TarArchive().Pax({{"path", "a"}}).Pax({{"path", "b"}}).File("f", "").Finish(),
       "two extended headers"},
      {"pax without entry", TarArchive().Pax({{"path", "a"}}).Finish(), "without its entry"},
      {"global path", TarArchive().Pax({{"path", "a"}}, 'g').File("f", "").Finish(),
       "global extended header"},
      {"L and path differ",
       TarArchive()
           .Pax({{"path", "a"}})
           .Add({.name = "l", .type = 'L'}, "b")
           .File("f", "")
           .Finish(),
       "two different long names"},
      {"pax over 1 MiB",
       TarArchive().Raw(TarArchive::Block({.name = "p", .type = 'x', .size = 2 << 20})).Finish(),
       "the limit is"},
      {"name over 4096",
       TarArchive().Pax({{"path", std::string(5000, 'a')}}).File("f", "").Finish(),
       "more than 4096 bytes"},
      {"huge size", TarArchive().Pax({{"size", "18446744073709551615"}}).File("f", "").Finish(),
       "absurd"},
      {"pax number overflow",
       TarArchive().Pax({{"size", "28446744073709551615"}}).File("f", "").Finish(), "too big"},
  });
}

TEST(TarReader, RefusesArchivesThatGoOnOrEndWrongly) {
  ExpectRefused({
      {"unknown type", TarArchive().Add({.name = "f", .type = 'Q'}).Finish(), "unknown entry type"},
      {"no name", TarArchive().Add({.name = ""}).Finish(), "an entry without name"},
      {"lone zero block", TarArchive().Raw(std::string(512, '\0')).File("f", "").Finish(),
       "lone block"},
      {"trailing bytes", TarArchive().File("f", "").Finish() + "x", "bytes after the end"},
      {"negative size", TarArchive().Raw(TarArchive::Block({.name = "f", .size = ~0ull})).Finish(),
       "size"},
  });
}

// A file whose size is `number`, over as many bytes as could be an entry of their own.
std::string SizedBy(absl::string_view number) {
  std::string header = TarArchive::Block({.name = "f"});
  header.replace(124, 12, std::string(12, '\0'));
  TarArchive::Put(&header, 124, 12, number);
  return TarArchive()
      .Raw(TarArchive::Summed(header))
      .Raw(TarArchive::Block({.name = "inner"}))
      .Finish();
}

TEST(TarReader, CVE_2026_53655_RefusesNumbersThatReadersTakeDifferently) {
  using absl::string_view;
  const char* blank = "not an octal number";
  ExpectRefused({
      {"NUL first",
       SizedBy(string_view("\0"
                           "0000001000",
                           11)),
       blank},
      {"blank, NUL first",
       SizedBy(string_view(" \0"
                           "000001000",
                           11)),
       blank},
      {"blank between", SizedBy("0 000001000"), blank},
      {"blank, then a letter", SizedBy("00000001 x"), blank},
  });
  for (const string_view good :
       {string_view("00000001000"), string_view("       1000 "), string_view("1000 \0x", 7),
        string_view("1000\0"
                    "77",
                    7)}) {
    Recorder got;
    const Status status = Read(SizedBy(good), &got);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(got.files.size(), 1u);
    EXPECT_EQ(got.files[0].entry.size, 512u);
  }
}

TEST(TarReader, CVE_2026_53655_RefusesDataWhereReadersDisagreeWhetherThereIsAny) {
  const std::string inner = TarArchive::Block({.name = "inner"});
  ExpectRefused({
      {"a label with data", TarArchive().Add({.name = "v", .type = 'V'}, inner).Finish(),
       "a volume label with data"},
      {"a label with a path",
       TarArchive().Pax({{"path", "p"}}).Add({.name = "v", .type = 'V'}).File("f", "").Finish(),
       "a volume label with data or an extended header"},
      {"a file d/", TarArchive().File("d/", inner).Finish(), "ends in a slash"},
      {"a contiguous file d/", TarArchive().Add({.name = "d/", .type = '7'}, inner).Finish(),
       "ends in a slash"},
      {"a sparse file d/",
       TarArchive().Add({.name = "d/", .type = 'S', .magic = std::string("ustar  \0", 8)}).Finish(),
       "a sparse file whose name ends in a slash"},
      {"a sparse directory",
       TarArchive()
           .Pax({{"GNU.sparse.size", "9"}, {"GNU.sparse.map", "0,4"}})
           .Directory("d")
           .Finish(),
       "a sparse map of what is no regular file"},
      {"a sparse contiguous file",
       TarArchive()
           .Pax({{"GNU.sparse.size", "9"}, {"GNU.sparse.map", "0,4"}})
           .Add({.name = "f", .type = '7'}, "data")
           .Finish(),
       "a sparse map of what is no regular file"},
  });
  Recorder got;
  const Status status = Read(TarArchive()
                                 .Add({.name = "v", .type = 'V'})
                                 .Add({.name = "d/", .type = '7'})
                                 .Add({.name = "c", .type = '7'}, "data")
                                 .Finish(),
                             &got);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(got.files.size(), 2u);
  EXPECT_EQ(got.files[0].entry.type, TarType::kDirectory);
  EXPECT_EQ(got.files[1].entry.type, TarType::kFile);
  EXPECT_EQ(got.files[1].data, "data");
}

TEST(TarReader, RefusesBadSparseMaps) {
  ExpectRefused({
      {"sparse overlap",
       TarArchive()
           .Pax({{"GNU.sparse.size", "100"}, {"GNU.sparse.map", "0,4,2,2"}})
           .File("f", "123456")
           .Finish(),
       "overlap"},
      {"sparse past the end",
       TarArchive()
           .Pax({{"GNU.sparse.size", "3"}, {"GNU.sparse.map", "0,6"}})
           .File("f", "123456")
           .Finish(),
       "pass the end"},
      {"sparse sum",
       TarArchive()
           .Pax({{"GNU.sparse.size", "100"}, {"GNU.sparse.map", "0,4"}})
           .File("f", "123456")
           .Finish(),
       "over 6 bytes of data"},
      {"sparse 1.0 garbage",
       TarArchive()
           .Pax(
               {{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "9"}})
           .File("f", std::string(512, 'z'))
           .Finish(),
       "malformed sparse map"},
      {"sparse 1.0 count",
       TarArchive()
           .Pax(
               {{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "9"}})
           .File("f", "99999999\n" + std::string(600, '0'))
           .Finish(),
       "sparse map too long"},
  });
}

TEST(TarReader, KeepsItsLimits) {
  TarLimits limits;
  limits.max_entries = 2;
  EXPECT_THAT(Error(TarArchive().File("a", "").File("b", "").File("c", "").Finish(), limits),
              HasSubstr("more than 2 entries"));
  limits = {};
  limits.max_bytes = 1000;
  EXPECT_THAT(Error(TarArchive().File("a", "").Finish(), limits),
              HasSubstr("more than 1000 bytes"));
}

TEST(TarReader, ReadsSparseFilesOfAllForms) {
  Recorder got;
  TarArchive archive;
  archive.Pax({{"GNU.sparse.size", "10"},
               {"GNU.sparse.numblocks", "2"},
               {"GNU.sparse.offset", "1"},
               {"GNU.sparse.numbytes", "2"},
               {"GNU.sparse.offset", "8"},
               {"GNU.sparse.numbytes", "2"}});
  archive.File("v00", "abcd");
  archive.Pax({{"GNU.sparse.name", "real"},
               {"GNU.sparse.size", "10"},
               {"GNU.sparse.numblocks", "1"},
               {"GNU.sparse.map", "3,2"},
               {"path", "GNUSparseFile.0/x"}});
  archive.File("v01", "ab");
  std::string map = "2\n0\n1\n9\n1\n";
  map.resize(512);
  archive.Pax({{"GNU.sparse.major", "1"},
               {"GNU.sparse.minor", "0"},
               {"GNU.sparse.name", "one"},
               {"GNU.sparse.realsize", "10"}});
  archive.File("v10", map + "xy");
  std::string old = TarArchive::Block(
      {.name = "old", .type = 'S', .size = 3, .magic = std::string("ustar  \0", 8)});
  TarArchive::PutNumber(&old, 386, 12, 2);
  TarArchive::PutNumber(&old, 398, 12, 3);
  TarArchive::PutNumber(&old, 483, 12, 7);
  archive.Raw(TarArchive::Summed(old)).Data("pqr");
  ASSERT_TRUE(Read(archive.Finish(), &got, 5).ok()) << Read(archive.Finish(), &got, 5);
  ASSERT_GE(got.files.size(), 4u);
  EXPECT_EQ(got.files[0].data, std::string("\0ab\0\0\0\0\0cd", 10));
  EXPECT_EQ(got.files[1].entry.name, "real");
  EXPECT_EQ(got.files[1].data, std::string("\0\0\0ab\0\0\0\0\0", 10));
  EXPECT_EQ(got.files[2].entry.name, "one");
  EXPECT_EQ(got.files[2].data, std::string("x\0\0\0\0\0\0\0\0y", 10));
  EXPECT_EQ(got.files[3].data, std::string("\0\0pqr\0\0", 7));
}

TEST(TarReader, SurvivesEveryTruncationAndFlippedByte) {
  const std::string good = TarArchive()
                               .Pax({{"path", "p"}, {"SCHILY.xattr.user.a", "b"}})
                               .File("f", "data")
                               .Directory("d")
                               .HardLink("h", "p")
                               .bytes();
  for (size_t n = 0; n < good.size(); ++n) {
    Recorder got;
    (void)Read(good.substr(0, n), &got);
    std::string bent = good;
    bent[n] = static_cast<char>(bent[n] ^ 0x55);
    (void)Read(bent, &got);
  }
}

// ---- against GNU tar ----

class AgainstGnuTar : public ::testing::TestWithParam<const char*> {};

std::string Command(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "re");
  std::string out;
  char buffer[65536];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return out;
}

// A line per entry, as `tar -tv --numeric-owner --full-time` writes it.
std::string Listing(const Recorder& got) {
  std::ostringstream out;
  for (const auto& file : got.files) {
    const TarEntry& e = file.entry;
    out << e.name << " " << e.uid << "/" << e.gid << " " << std::oct << e.mode << std::dec << " "
        << e.mtime.seconds << " " << file.data.size() << " " << e.link_target << "\n";
  }
  return out.str();
}

TEST_P(AgainstGnuTar, ReadsWhatItWrites) {
  const std::string format = GetParam();
  char dir[] = "/tmp/gantry-tar-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  const std::string root = dir, name = std::string(90, 'd') + "/" + std::string(60, 'e');
  const bool small_names = format == "v7";
  Command("cd " + root +
          " && mkdir -p t/sub && echo hello >t/f && ln t/f t/hard && ln -s f t/sym && " +
          (small_names ? "true" : "mkfifo t/pipe") +
          " && "
          "chmod 4755 t/f && : >t/empty && head -c 100000 /dev/urandom >t/random && "
          "truncate -s 3M t/holes && for i in 0 5 9 12 20 30 35; do printf x | dd of=t/holes "
          "bs=64k seek=$i conv=notrunc status=none; done && "
          "touch -d @1234567 t/f t/sub && " +
          (small_names
               ? "true"
               : "mkdir -p t/" + name + " && echo deep >t/" + name + "/" + std::string(90, 'g')));
  const std::string sparse = format == "gnu" || format == "pax" ? " --sparse" : "";
  const std::string archive =
      Command("cd " + root + " && tar --format=" + format + sparse + " -cf - t");
  Recorder got;
  ASSERT_TRUE(Read(archive, &got, 4099).ok()) << Read(archive, &got, 4099);
  // The names in order, as GNU tar sees them, and the data of every file, byte for byte.
  std::string names;
  for (const auto& file : got.files) names += file.entry.name + "\n";
  std::ofstream(root + "/a.tar", std::ios::binary) << archive;
  EXPECT_EQ(names, Command("tar --quoting-style=literal -tf " + root + "/a.tar"));
  for (const auto& file : got.files) {
    const std::string path = root + "/" + file.entry.name;
    struct stat st;
    ASSERT_EQ(lstat(path.c_str(), &st), 0) << path;
    EXPECT_EQ(st.st_uid, file.entry.uid);
    EXPECT_EQ(st.st_mode & 07777, file.entry.mode) << path;
    EXPECT_EQ(st.st_mtime, file.entry.mtime.seconds) << path;
    if (file.entry.type != TarType::kFile) continue;
    std::ifstream in(path, std::ios::binary);
    std::stringstream data;
    data << in.rdbuf();
    EXPECT_TRUE(data.str() == file.data) << path;
  }
  SCOPED_TRACE(Listing(got));
  Command("rm -rf " + root);
}

INSTANTIATE_TEST_SUITE_P(Formats, AgainstGnuTar,
                         ::testing::Values("gnu", "pax", "ustar", "v7", "oldgnu"));

}  // namespace
}  // namespace gantry::images
