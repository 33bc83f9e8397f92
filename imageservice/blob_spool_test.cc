#include "imageservice/blob_spool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace gantry::images {
namespace {

constexpr char kBoot[] = "11111111-1111-1111-1111-111111111111";
constexpr char kOtherBoot[] = "22222222-2222-2222-2222-222222222222";

std::string Bytes(size_t size) {
  std::string text(size, '\0');
  uint32_t state = 3;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

TEST(Digester, GoesOnFromItsMidstate) {
  const std::string bytes = Bytes(1'000'000);
  for (const char* algorithm : {"sha256", "sha512"}) {
    Digester first = *Digester::Make(algorithm);
    first.Update(std::span(bytes).first(size_t{128} * 3000));
    const auto midstate = first.Midstate();
    ASSERT_TRUE(midstate.has_value());
    EXPECT_EQ(midstate->bytes, 128u * 3000);
    Digester second = *Digester::Resume(algorithm, *midstate);
    second.Update(std::span(bytes).subspan(size_t{128} * 3000));
    EXPECT_EQ(second.Finish(), *DigestOf(bytes, algorithm));
    first.Update(std::span(bytes).first(1));
    EXPECT_FALSE(first.Midstate().has_value()) << "in the middle of a block";
  }
  EXPECT_FALSE(Digester::Resume("sha256", {.bytes = 5}).ok());
}

// A blob of 150 MiB, written up to some byte by one process and read by the next.
class Spool : public ::testing::Test {
 protected:
  Spool() : file_(memfd_create("spool", MFD_CLOEXEC)) {}
  std::unique_ptr<BlobSpool> Open(const std::string& boot = kBoot,
                                  const std::string& digest = kDigest,
                                  const std::string& registry = "reg.example") {
    return BlobSpool::Open(UniqueFd(fcntl(file_.get(), F_DUPFD_CLOEXEC, 0)),
                           {digest, kSize, registry}, boot);
  }
  static void Append(BlobSpool& spool, Digester& digester, uint64_t until) {
    while (spool.length() < until) {
      const size_t size = std::min({spool.Room(), until - spool.length(), uint64_t{1} << 20});
      const auto piece = std::span(kBytes).subspan(spool.length(), size);
      digester.Update(piece);
      spool.Append(piece, digester);
    }
  }
  // What a download does with what is here; then appends up to `until`.
  static std::string Finish(BlobSpool& spool) {
    Digester digester = spool.midstate().has_value()
                            ? *Digester::Resume("sha256", *spool.midstate())
                            : *Digester::Make("sha256");
    uint64_t at = 0;
    const uint64_t hashed = spool.midstate().has_value() ? spool.midstate()->bytes : 0;
    EXPECT_TRUE(spool
                    .Replay([&](std::span<const char> bytes) {
                      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), kBytes.data() + at));
                      if (at >= hashed) digester.Update(bytes);
                      at += bytes.size();
                      return absl::OkStatus();
                    })
                    .ok());
    EXPECT_EQ(at, spool.length());
    Append(spool, digester, kSize);
    return digester.Finish();
  }
  void Corrupt(off_t at) { ASSERT_EQ(pwrite(file_.get(), "!", 1, at), 1); }

  static constexpr uint64_t kSize = 150 << 20;
  static inline const std::string kBytes = Bytes(kSize);
  static inline const std::string kDigest = *DigestOf(kBytes);
  UniqueFd file_;
};

TEST_F(Spool, TheNextPullGoesOnAndHashesOnlyWhatIsBehindTheLastRecord) {
  {
    auto spool = Open();
    Digester digester = *Digester::Make("sha256");
    Append(*spool, digester, 140'000'000);
  }
  auto spool = Open();
  EXPECT_EQ(spool->length(), 140'000'000u);
  ASSERT_TRUE(spool->midstate().has_value());
  EXPECT_EQ(spool->midstate()->bytes, 2 * kSpoolMark);
  EXPECT_EQ(Finish(*spool), kDigest);
}

TEST_F(Spool, AfterAnotherBootOnlyWhatWasDurableCounts) {
  {
    auto spool = Open();
    Digester digester = *Digester::Make("sha256");
    Append(*spool, digester, 100'000'000);
  }
  auto spool = Open(kOtherBoot);
  EXPECT_EQ(spool->length(), kSpoolMark);
  EXPECT_EQ(Finish(*spool), kDigest);
}

TEST_F(Spool, ATornRecordIsNotBelieved) {
  {
    auto spool = Open();
    Digester digester = *Digester::Make("sha256");
    Append(*spool, digester, 140'000'000);
  }
  // Records were written in turns: at the start B, at 64 MiB A, at 128 MiB B.
  Corrupt(4096 + 250);
  {
    auto spool = Open();
    EXPECT_EQ(spool->midstate()->bytes, kSpoolMark);
    EXPECT_EQ(spool->length(), 140'000'000u);
  }
  Corrupt(250);
  Corrupt(4096 + 250);
  EXPECT_EQ(Open()->length(), 0u);
}

TEST_F(Spool, WhatIsOfAnotherBlobOrShorterThanItsRecordIsThrownAway) {
  {
    auto spool = Open();
    Digester digester = *Digester::Make("sha256");
    Append(*spool, digester, 100'000'000);
  }
  ASSERT_EQ(ftruncate(file_.get(), 50'000'000), 0);
  EXPECT_EQ(Open()->length(), 0u);
  {
    auto spool = Open();
    Digester digester = *Digester::Make("sha256");
    Append(*spool, digester, 1000);
  }
  EXPECT_EQ(Open(kBoot, *DigestOf("another"))->length(), 0u);
}

TEST_F(Spool, WhatAnotherRegistryGaveIsNotTrusted) {
  {
    auto spool = Open();
    Digester digester = *Digester::Make("sha256");
    Append(*spool, digester, 1000);
  }
  EXPECT_EQ(Open(kBoot, kDigest, "reg.example")->length(), 1000u);
  EXPECT_EQ(Open(kBoot, kDigest, "evil.example")->length(), 0u);
}

TEST_F(Spool, AFullDiskDropsTheSpoolAndGivesTheSpaceBack) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: mounts a small disk";
  std::string directory = "/tmp/gantry-spool-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  ASSERT_EQ(mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=8m"), 0);
  file_.Reset(open((directory + "/f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  auto spool = Open();
  Digester digester = *Digester::Make("sha256");
  for (size_t at = 0; at < 20 << 20; at += 1 << 20) {
    const auto piece = std::span(kBytes).subspan(at, 1 << 20);
    digester.Update(piece);
    spool->Append(piece, digester);
  }
  EXPECT_TRUE(spool->dropped());
  EXPECT_EQ(lseek(file_.get(), 0, SEEK_END), 0);
  spool.reset();
  file_.Reset();
  EXPECT_EQ(umount(directory.c_str()), 0);
  rmdir(directory.c_str());
}

}  // namespace
}  // namespace gantry::images
