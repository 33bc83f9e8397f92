#include "imageservice/blob_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"

namespace gantry::images {
namespace {

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

struct Ends {
  BlobRingWriter writer;
  BlobRingReader reader;
};

Ends OpenEnds() {
  StatusOr<BlobRing> ring = MakeBlobRing();
  GANTRY_CHECK(ring.ok());
  auto writer =
      BlobRingWriter::Open(std::move(ring->writer_memory), std::move(ring->writer_socket));
  auto reader =
      BlobRingReader::Open(std::move(ring->reader_memory), std::move(ring->reader_socket));
  GANTRY_CHECK(writer.ok() && reader.ok());
  return {*std::move(writer), *std::move(reader)};
}

StatusOr<std::string> ReadToEnd(BlobRingReader& reader) {
  std::string text;
  for (;;) {
    ASSIGN_OR_RETURN(const std::span<const char> bytes, reader.Next());
    if (bytes.empty()) return text;
    text.append(bytes.data(), bytes.size());
  }
}

TEST(BlobRing, CarriesBlobsOfAnySizeUnchanged) {
  const size_t sizes[] = {
      0, 1, 4096, kBlobRingSize - 1, kBlobRingSize, kBlobRingSize + 1, 5 * kBlobRingSize + 12345};
  for (const size_t size : sizes) {
    for (const size_t piece : {size_t{1000}, size_t{16384}, size_t{1 << 20}}) {
      const std::string blob = Pattern(size);
      Ends ends = OpenEnds();
      std::thread writing([&] {
        const std::span<const char> all(blob);
        for (size_t at = 0; at < size; at += piece) {
          ASSERT_TRUE(ends.writer.Write(all.subspan(at, std::min(piece, size - at))).ok());
        }
        ASSERT_TRUE(ends.writer.Finish().ok());
      });
      const StatusOr<std::string> read = ReadToEnd(ends.reader);
      writing.join();
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE(*read == blob) << size << " bytes in pieces of " << piece;
    }
  }
}

TEST(BlobRing, TheEndIsReadEvenWhenTheWriterHasGone) {
  Ends ends = OpenEnds();
  {
    BlobRingWriter writer = std::move(ends.writer);
    ASSERT_TRUE(writer.Write(std::string(300000, 'x')).ok());
    ASSERT_TRUE(writer.Finish().ok());
  }
  const StatusOr<std::string> read = ReadToEnd(ends.reader);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->size(), 300000u);
  EXPECT_TRUE(ends.reader.Next()->empty()) << "the end stays the end";
}

TEST(BlobRing, TheEndIsReadEvenWhenTheWriterHasLeftPositionsUnread) {
  Ends ends = OpenEnds();
  ASSERT_TRUE(ends.writer.Write(std::string(512 << 10, 'x')).ok());
  ASSERT_EQ(ends.reader.Next()->size(), 256u << 10);
  {
    BlobRingWriter writer = std::move(ends.writer);
    ASSERT_TRUE(ends.reader.Next().ok());  // says how far it is, to a writer who does not look
    ASSERT_TRUE(writer.Finish().ok());
  }
  const StatusOr<std::string> rest = ReadToEnd(ends.reader);
  EXPECT_TRUE(rest.ok()) << rest.status();
}

TEST(BlobRing, AFailedOrVanishedWriterNeverLooksLikeAnEnd) {
  for (const bool says_so : {true, false}) {
    Ends ends = OpenEnds();
    {
      BlobRingWriter writer = std::move(ends.writer);
      ASSERT_TRUE(writer.Write(std::string(300000, 'x')).ok());
      if (says_so) writer.Fail();
    }
    EXPECT_EQ(ReadToEnd(ends.reader).status().code(), absl::StatusCode::kAborted);
  }
}

TEST(BlobRing, AWriterLearnsThatItsReaderHasGone) {
  Ends ends = OpenEnds();
  { BlobRingReader reader = std::move(ends.reader); }
  EXPECT_EQ(ends.writer.Write(Pattern(2 * kBlobRingSize)).code(), absl::StatusCode::kAborted);
}

TEST(BlobRing, TheReaderCannotWrite) {
  StatusOr<BlobRing> ring = MakeBlobRing();
  ASSERT_TRUE(ring.ok());
  void* data = mmap(nullptr, kBlobRingSize, PROT_READ | PROT_WRITE, MAP_SHARED,
                    ring->reader_memory.get(), 0);
  EXPECT_EQ(data, MAP_FAILED);
  EXPECT_EQ(ftruncate(ring->writer_memory.get(), 0), -1) << "nobody can cut the memory short";
}

TEST(BlobRing, ALimitEndsTheWaitForAnEndThatDoesNothing) {
  StatusOr<BlobRing> ring = MakeBlobRing();
  ASSERT_TRUE(ring.ok());
  ASSERT_TRUE(LimitRingWait(ring->writer_socket, std::chrono::milliseconds(50)).ok());
  ASSERT_TRUE(LimitRingWait(ring->reader_socket, std::chrono::milliseconds(50)).ok());
  auto writer =
      BlobRingWriter::Open(std::move(ring->writer_memory), std::move(ring->writer_socket));
  auto reader =
      BlobRingReader::Open(std::move(ring->reader_memory), std::move(ring->reader_socket));
  ASSERT_TRUE(writer.ok() && reader.ok());
  EXPECT_EQ(ErrnoOf(reader->Next().status()), EAGAIN);
  const Status full = writer->Write(std::string(kBlobRingSize + 1, 'x'));
  EXPECT_EQ(full.code(), absl::StatusCode::kAborted) << full;
}

TEST(BlobRing, WrongPositionsAreABrokenPeer) {
  struct {
    uint32_t kind, reserved;
    uint64_t position;
  } const wrong[] = {{1, 0, kBlobRingSize + 1}, {9, 0, 0}, {2, 0, ~uint64_t{0}}};
  for (const auto& message : wrong) {
    StatusOr<BlobRing> ring = MakeBlobRing();
    ASSERT_TRUE(ring.ok());
    auto reader =
        BlobRingReader::Open(std::move(ring->reader_memory), std::move(ring->reader_socket));
    ASSERT_TRUE(reader.ok());
    ASSERT_EQ(send(ring->writer_socket.get(), &message, sizeof(message), 0), 16);
    EXPECT_EQ(reader->Next().status().code(), absl::StatusCode::kAborted);
  }
  StatusOr<BlobRing> ring = MakeBlobRing();
  ASSERT_TRUE(ring.ok());
  auto writer =
      BlobRingWriter::Open(std::move(ring->writer_memory), std::move(ring->writer_socket));
  ASSERT_TRUE(writer.ok());
  ASSERT_EQ(send(ring->reader_socket.get(), &wrong[0], sizeof(wrong[0]), 0), 16);
  EXPECT_EQ(writer->Write(std::string(10, 'x')).code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace gantry::images
