// Blobs that attack the unpacker itself: memory, time and endless waits. Each goes the way of every
// layer (inflate → tar → writer), in both forms, with the peak of memory measured in a child.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>

#include "absl/strings/str_cat.h"

#include "imageservice/layer_unpack.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_layer_forms.h"
#include "imageservice/testing_usage.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

constexpr size_t kPiece = 1 << 20;

// ---- making blobs ----

// Gives the next bytes of a blob, "" at its end: bombs are larger than what a test should hold.
using Source = std::function<std::string()>;

// `total` bytes of zeros behind `head`, compressed as they are asked for.
class GzipZeros {
 public:
  GzipZeros(std::string head, uint64_t total) : head_(std::move(head)), left_(total) {
    deflateInit2(&stream_, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  }
  ~GzipZeros() { deflateEnd(&stream_); }
  GzipZeros(const GzipZeros&) = delete;
  GzipZeros& operator=(const GzipZeros&) = delete;
  std::string Next() {
    std::string out(64 << 10, '\0');
    z_stream& z = stream_;
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    while (z.avail_out > out.size() / 2 && !ended_) {
      const std::string in = TakeInput();
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
      z.avail_in = static_cast<uInt>(in.size());
      ended_ = deflate(&z, in.empty() ? Z_FINISH : Z_NO_FLUSH) == Z_STREAM_END;
    }
    out.erase(out.size() - z.avail_out);
    return out;
  }

 private:
  std::string TakeInput() {
    if (!head_.empty()) return std::exchange(head_, "");
    const size_t n = static_cast<size_t>(std::min<uint64_t>(left_, kPiece));
    left_ -= n;
    return std::string(n, '\0');
  }
  z_stream stream_ = {};
  std::string head_;
  uint64_t left_;
  bool ended_ = false;
};

Source Whole(std::string bytes) {
  auto rest = std::make_shared<std::string>(std::move(bytes));
  return [rest] {
    std::string piece = rest->substr(0, kPiece);
    rest->erase(0, kPiece);
    return piece;
  };
}

Source GzipBomb(const std::string& head, uint64_t zeros) {
  auto maker = std::make_shared<GzipZeros>(head, zeros);
  return [maker] { return maker->Next(); };
}

std::string Gzip(const std::string& text) {
  GzipZeros maker(text, 0);
  std::string out;
  for (std::string piece = maker.Next(); !piece.empty(); piece = maker.Next()) out += piece;
  return out;
}

// With a window as large as it may be, and larger.
std::string Zstd(const std::string& head, uint64_t zeros, int window_log) {
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(),
                                                                   ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string out;
  std::string buffer(kPiece, '\0'), piece(kPiece, '\0');
  const auto feed = [&](absl::string_view in, ZSTD_EndDirective end) {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    size_t left = 0;
    do {
      ZSTD_outBuffer to{buffer.data(), buffer.size(), 0};
      left = ZSTD_compressStream2(context.get(), &to, &from, end);
      out.append(buffer.data(), to.pos);
    } while (from.pos < from.size || (end == ZSTD_e_end && left != 0));
  };
  feed(head, ZSTD_e_continue);
  for (uint64_t done = 0; done < zeros; done += kPiece) feed(piece, ZSTD_e_continue);
  feed("", ZSTD_e_end);
  return out;
}

// ---- unpacking and measuring ----

enum class Form { kDirectory, kErofs };

template <typename Writer>
Status Drain(Writer* writer, const Source& source) {
  ASSIGN_OR_RETURN(auto unpacker, LayerUnpacker::Create(writer, {}));
  for (std::string piece = source(); !piece.empty(); piece = source()) {
    RETURN_IF_ERROR(unpacker->Feed(piece));
  }
  RETURN_IF_ERROR(unpacker->Finish().status());
  return writer->Finish().status();
}

Status Unpack(const std::string& folder, Form form, const Source& source) {
  if (form == Form::kDirectory) {
    const std::string root = folder + "/fs";
    if (mkdir(root.c_str(), 0755) != 0 && errno != EEXIST) return SyscallError("mkdir");
    UniqueFd fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    LayerWriter writer(fd.get(), {});
    return Drain(&writer, source);
  }
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  UniqueFd data(open((folder + "/data").c_str(), kFlags, 0600));
  UniqueFd meta(open((folder + "/meta").c_str(), kFlags, 0600));
  ErofsWriter writer(data.get(), meta.get(), {});
  return Drain(&writer, source);
}

struct Outcome {
  std::string error;     // empty: it was unpacked
  size_t kilobytes = 0;  // of memory, above what the process had
};

// In a child, so that the peak is this work's alone.
Outcome Measure(const std::string& folder, Form form, const Source& source) {
  const std::string report = folder + "/report";
  const pid_t child = fork();
  if (child == 0) {
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5";
    const size_t before = PeakKilobytes();
    const Status status = Unpack(folder, form, source);
    std::ofstream(report) << PeakKilobytes() - before << " " << status.message();
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  Outcome outcome;
  std::ifstream in(report);
  in >> outcome.kilobytes;
  in.get();
  std::getline(in, outcome.error);
  return outcome;
}

// `source`: called for each form, since a source is used up. The ceiling is of kilobytes.
void ExpectBounded(const std::string& what, const std::function<Source()>& source,
                   const std::string& error, size_t ceiling = 24'000) {
  for (const Form form : {Form::kDirectory, Form::kErofs}) {
    SCOPED_TRACE(what);
    const LayerForms scratch;
    const Outcome outcome = Measure(scratch.folder(), form, source());
    if (error.empty()) {
      EXPECT_EQ(outcome.error, "");
    } else {
      EXPECT_THAT(outcome.error, HasSubstr(error));
    }
    printf("%-40s %s: %zu kB\n", what.c_str(), form == Form::kErofs ? "EROFS" : "directory",
           outcome.kilobytes);
#ifndef __SANITIZE_ADDRESS__  // which needs memory of its own
    EXPECT_LT(outcome.kilobytes, ceiling);
#endif
  }
}

class BlobAttacks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

// ---- bombs ----

TEST_F(BlobAttacks, CVE_2017_14992_ABombIsStoppedInLittleMemory) {
  const std::string file = TarArchive::Block({.name = "f", .size = 8ull << 30});
  ExpectBounded(
      "gzip, 1 GiB of one file", [&] { return GzipBomb(file, 1 << 30); }, "bomb");
  ExpectBounded(
      "gzip, no archive", [] { return GzipBomb("", 1 << 30); }, "bomb");
  const std::string zstd = Zstd(file, 1 << 30, 23);
  ExpectBounded(
      "zstd, 1 GiB of one file", [&] { return Whole(zstd); }, "bomb", 48'000);
}

TEST_F(BlobAttacks, Rule_ThousandsOfEmptyGzipMembersAreRefused) {
  std::string members;
  const std::string empty = Gzip("");
  for (int i = 0; i < 5000; ++i) members += empty;
  ExpectBounded(
      "empty members", [&] { return Whole(members); }, "empty gzip members");
}

TEST_F(BlobAttacks, Rule_AZstdWindowIsBounded) {
  const std::string tar = TarArchive().File("f", std::string(3 << 20, 'x')).Finish();
  const std::string good = Zstd(tar, 0, 27), bad = Zstd(tar, 0, 28);
  ExpectBounded(
      "a window of 128 MiB", [&] { return Whole(good); }, "", 160'000);
  ExpectBounded(
      "a window of 256 MiB", [&] { return Whole(bad); }, "zstd");
}

TEST_F(BlobAttacks, CVE_2014_9357_OtherCompressionsAreNoArchivesAndRunNothing) {
  const std::string tar = TarArchive().File("f", "x").Finish();
  const std::pair<const char*, std::string> heads[] = {{"xz", std::string("\xfd"
                                                                          "7zXZ\0",
                                                                          6)},
                                                       {"bzip2", "BZh9"},
                                                       {"lzma", std::string("\x5d\0\0\x80\0", 5)},
                                                       {"lz4", "\x04\x22\x4d\x18"},
                                                       {"compress", "\x1f\x9d"}};
  for (const auto& [name, head] : heads) {
    const std::string blob = head + std::string(600, 'c') + tar;
    ExpectBounded(
        name, [&] { return Whole(blob); }, "entry 1: ");
  }
}

// ---- headers that ask for memory ----

std::string OldSparse(uint64_t real_size, int blocks) {
  std::string head = TarArchive::Block(
      {.name = "old", .type = 'S', .size = 0, .magic = std::string("ustar  \0", 8)});
  TarArchive::PutNumber(&head, 483, 12, static_cast<int64_t>(real_size));
  head[482] = 1;
  std::string out = TarArchive::Summed(head);
  uint64_t offset = 0;
  for (int b = 0; b < blocks; ++b) {
    std::string block(512, '\0');
    for (size_t i = 0; i < 21; ++i, ++offset) {
      TarArchive::PutNumber(&block, i * 24, 12, static_cast<int64_t>(offset));
      TarArchive::Put(&block, i * 24 + 12, 12, "00000000000");
    }
    block[504] = 1;
    out += block;
  }
  return out;
}

TEST_F(BlobAttacks, CVE_2025_58183_SparseMapsTakeLittleMemory) {
  const auto pax = [](const std::vector<std::pair<std::string, std::string>>& records) {
    return TarArchive().Pax(records);
  };
  const std::vector<std::pair<std::string, std::string>> one = {
      {"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "1000000"}};
  std::string endless = "60000\n";
  while (endless.size() < (8u << 20)) endless += "0000000000000000000\n0\n";
  ExpectBounded(
      "1.0: a number of runs that lies",
      [&] { return Whole(pax(one).File("f", "9999999999\n" + endless).Finish()); },
      "sparse map too long");
  ExpectBounded(
      "1.0: 60,000 runs and no end", [&] { return Whole(pax(one).File("f", endless).Finish()); },
      "sparse map");
  ExpectBounded(
      "1.0: digits without end",
      [&] { return Whole(pax(one).File("f", std::string(8 << 20, '0')).Finish()); },
      "malformed sparse map");
  ExpectBounded(
      "old: blocks without end", [] { return Whole(OldSparse(1ull << 40, 100'000)); },
      "sparse map too long");
  std::string map = "0,0";
  while (map.size() < 900'000) map += ",0,0";
  ExpectBounded(
      "0.1: a map of 900 kB",
      [&] {
        return Whole(
            pax({{"GNU.sparse.size", "100"}, {"GNU.sparse.map", map}}).File("f", "").Finish());
      },
      "sparse map too long");
  ExpectBounded(
      "a file of 7 TiB, all hole",
      [&] {
        return Whole(pax({{"GNU.sparse.size", "7696581394432"}, {"GNU.sparse.map", "0,1"}})
                         .File("f", "x")
                         .Finish());
      },
      "");
  ExpectBounded(
      "a file of 4 EiB, all hole",
      [&] {
        return Whole(pax({{"GNU.sparse.size", "4611686018427387904"}, {"GNU.sparse.map", "0,1"}})
                         .File("f", "x")
                         .Finish());
      },
      "bytes");
}

TEST_F(BlobAttacks, CVE_2022_2879_HeadersTakeLittleMemory) {
  for (const char type : {'x', 'g', 'L', 'K', 'X'}) {
    const TarArchive::Header header{.name = "h", .type = type, .size = 4ull << 30};
    ExpectBounded(
        absl::StrCat("4 GiB of header ", std::string(1, type)),
        [&] { return GzipBomb(TarArchive::Block(header), 256 << 20); },
        "extended header of 4294967296 bytes");
  }
  // Each below its limit, and very many of them: one is kept at a time.
  TarArchive archive;
  for (int i = 0; i < 60; ++i) {
    archive.Pax({{"comment", std::string(1'000'000, 'c')}}).File(absl::StrCat("f", i), "");
    archive.Pax({{"comment", std::string(1'000'000, 'c')}}, 'g');
  }
  ExpectBounded(
      "60 MB of comments", [&] { return Whole(archive.Finish()); }, "");
  std::string records;
  while (records.size() < 900'000) {
    absl::StrAppend(&records,
                    TarArchive::Record(absl::StrCat("SCHILY.xattr.user.", records.size()), "v"));
  }
  ExpectBounded(
      "40,000 attributes of one file",
      [&] {
        return Whole(TarArchive().Add({.name = "p", .type = 'x'}, records).File("f", "").Finish());
      },
      "too many extended attributes");
}

// ---- damage ----

// Returns for every prefix and for every byte that is wrong: an end, never a hang (the test's time
// limit), and never a good end for a blob that was cut. A flipped bit may hit what says nothing (a
// time in gzip's header); the blob's digest is what finds it.
TEST_F(BlobAttacks, CVE_2021_20291_EveryCutAndEveryFlippedByteIsAnEnd) {
  const std::string tar = TarArchive()
                              .Pax({{"path", "p"}, {"SCHILY.xattr.user.a", "b"}})
                              .File("f", "data of some length, and data of some length")
                              .Directory("d")
                              .Symlink("d/s", "../p")
                              .HardLink("h", "p")
                              .File("d/.wh.x", "")
                              .Finish();
  const LayerForms scratch;
  int cuts = 0, bent_good = 0;
  for (const std::string& blob : {Gzip(tar), Zstd(tar, 0, 20)}) {
    ASSERT_TRUE(Unpack(scratch.folder(), Form::kErofs, Whole(blob)).ok());
    for (size_t n = 0; n < blob.size(); ++n) {
      for (const Form form : {Form::kDirectory, Form::kErofs}) {
        std::filesystem::remove_all(scratch.root());
        const Status cut = Unpack(scratch.folder(), form, Whole(blob.substr(0, n)));
        // An archive of nothing is one without entries, as everywhere.
        EXPECT_EQ(cut.ok(), n == 0) << n;
        ++cuts;
        std::string bent = blob;
        bent[n] = static_cast<char>(bent[n] ^ 0x41);
        std::filesystem::remove_all(scratch.root());
        bent_good += Unpack(scratch.folder(), form, Whole(bent)).ok() ? 1 : 0;
      }
    }
  }
  printf("%d cuts refused; %d flipped bytes changed nothing\n", cuts, bent_good);
  EXPECT_LT(bent_good, 40);
}

}  // namespace
}  // namespace gantry::images
