#include "imageservice/block_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>

#include "runtime/linux/unique_fd.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

namespace gantry::images {
namespace {

// An unnamed file where the tests' disk is.
UniqueFd NewFile() {
  char name[] = "/var/tmp/gantry-block-writer-XXXXXX";
  UniqueFd fd(mkostemp(name, O_CLOEXEC));
  EXPECT_TRUE(fd.valid()) << strerror(errno);
  unlink(name);
  return fd;
}

// More than there are buffers: they are used again.
constexpr int kPieces = 12;

// Each full of its own letter, with a hole of a block behind.
Status WritePieces(BlockWriter* writer) {
  for (int i = 0; i < kPieces; ++i) {
    memset(writer->Buffer(), 'a' + i, BlockWriter::kBufferBytes);
    const uint64_t at = static_cast<uint64_t>(i) * (BlockWriter::kBufferBytes + 4096);
    RETURN_IF_ERROR(writer->Write(BlockWriter::kBufferBytes, at));
  }
  return writer->Finish();
}

void ExpectPieces(int fd) {
  std::string read(BlockWriter::kBufferBytes + 4096, '?');
  for (int i = 0; i < kPieces; ++i) {
    const bool last = i == kPieces - 1;
    const size_t size = BlockWriter::kBufferBytes + (last ? 0 : 4096);
    const auto at = static_cast<off_t>(static_cast<size_t>(i) * (BlockWriter::kBufferBytes + 4096));
    ASSERT_EQ(pread(fd, read.data(), read.size(), at), static_cast<ssize_t>(size));
    std::string expected(BlockWriter::kBufferBytes, static_cast<char>('a' + i));
    expected.resize(size);
    EXPECT_TRUE(read.substr(0, size) == expected) << "piece " << i;
  }
}

TEST(BlockWriter, WritesEachPieceInItsPlace) {
  const UniqueFd fd = NewFile();
  BlockWriter writer(fd.get());
  EXPECT_TRUE(WritePieces(&writer).ok());
  ExpectPieces(fd.get());
}

TEST(BlockWriter, OneBufferStaysTheSameUntilItIsGivenAway) {
  const UniqueFd fd = NewFile();
  BlockWriter writer(fd.get());
  char* const first = writer.Buffer();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % BlockWriter::kAlignment, 0u);
  EXPECT_EQ(writer.Buffer(), first);
  ASSERT_TRUE(writer.Write(4096, 0).ok());
  EXPECT_NE(writer.Buffer(), nullptr);
  EXPECT_TRUE(writer.Finish().ok());
}

TEST(BlockWriter, AFailedWriteIsToldAndEndsTheWriting) {
  const UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  BlockWriter writer(full.get());
  const Status status = WritePieces(&writer);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(absl::IsResourceExhausted(writer.Finish()));
}

TEST(BlockWriter, OneThatIsGivenUpLeavesNothingRunning) {
  const UniqueFd fd = NewFile();
  {
    BlockWriter writer(fd.get());
    for (int i = 0; i < kPieces; ++i) {
      writer.Buffer()[0] = 'x';
      ASSERT_TRUE(writer.Write(BlockWriter::kBufferBytes, 0).ok());
    }
  }
  const BlockWriter unused(fd.get());
}

TEST(BlockWriter, WritesWithoutAThreadWhereNoneCanBeMade) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: limits of root's own processes do not hold";
  const UniqueFd fd = NewFile();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none = {0, 0};
    if (setresuid(65534, 65534, 65534) != 0 || setrlimit(RLIMIT_NPROC, &none) != 0) _exit(2);
    BlockWriter writer(fd.get());
    const bool written = WritePieces(&writer).ok();
    const std::filesystem::directory_iterator threads("/proc/self/task");
    _exit(written && std::distance(begin(threads), end(threads)) == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ExpectPieces(fd.get());
}

// cachestat(2), Linux 6.5: of a whole file.
struct CacheRange {
  uint64_t offset = 0, length = 0;
};
struct CacheStat {
  uint64_t cache = 0, dirty = 0, writeback = 0, evicted = 0, recently_evicted = 0;
};

TEST(PassPageCache, WhatIsWrittenLeavesNoPages) {
  const UniqueFd fd = NewFile();
  if (!PassPageCache(fd.get())) GTEST_SKIP() << "no direct writes in /var/tmp";
  BlockWriter writer(fd.get());
  ASSERT_TRUE(WritePieces(&writer).ok());
  CacheRange all;
  CacheStat stat;
  if (syscall(SYS_cachestat, fd.get(), &all, &stat, 0) == 0) {
    EXPECT_EQ(stat.cache, 0u);
  }
  ASSERT_EQ(fcntl(fd.get(), F_SETFL, O_RDWR), 0);
  ExpectPieces(fd.get());
}

TEST(PassPageCache, AFileSystemThatTakesNoSuchWritesIsWrittenAsEver) {
  const UniqueFd fd(memfd_create("no disk", MFD_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  EXPECT_FALSE(PassPageCache(fd.get()));
  EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_DIRECT, 0);
  BlockWriter writer(fd.get());
  EXPECT_TRUE(WritePieces(&writer).ok());
  ExpectPieces(fd.get());
}

}  // namespace
}  // namespace gantry::images
