#include "imageservice/write_behind.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

namespace gantry::images {
namespace {

// cachestat(2), Linux 6.5: of a whole file.
struct CacheRange {
  uint64_t offset = 0, length = 0;
};
struct CacheStat {
  uint64_t cache = 0, dirty = 0, writeback = 0, evicted = 0, recently_evicted = 0;
};

TEST(WriteBehind, WhatIsWrittenIsOnItsWayToTheDiskBeforeAnybodySyncs) {
  char name[] = "/var/tmp/gantry-write-behind-XXXXXX";
  const int fd = mkostemp(name, O_CLOEXEC);
  ASSERT_GE(fd, 0);
  unlink(name);
  struct statfs fs = {};
  ASSERT_EQ(fstatfs(fd, &fs), 0);
  CacheRange all;
  CacheStat stat;
  if (fs.f_type == TMPFS_MAGIC) GTEST_SKIP() << "/var/tmp has no disk";
  if (syscall(SYS_cachestat, fd, &all, &stat, 0) != 0)
    GTEST_SKIP() << "no cachestat here: errno " << errno;

  const std::string piece(1 << 20, 'x');
  constexpr int kPieces = 34;
  WriteBehind behind{UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0))};
  for (int i = 0; i < kPieces; ++i)
    ASSERT_EQ(write(fd, piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
  // The kernel itself would wait for half a minute.
  const uint64_t pages = kPieces * piece.size() / static_cast<uint64_t>(getpagesize());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_EQ(syscall(SYS_cachestat, fd, &all, &stat, 0), 0);
  } while (stat.dirty + stat.writeback > pages / 4 && std::chrono::steady_clock::now() < deadline);
  EXPECT_LE(stat.dirty + stat.writeback, pages / 4) << "of " << pages << " pages";
  close(fd);
}

}  // namespace
}  // namespace gantry::images
