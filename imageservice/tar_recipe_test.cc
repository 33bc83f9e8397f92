#include "imageservice/tar_recipe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "imageservice/erofs_writer.h"
#include "imageservice/tar_archive.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kNoLimit = 1ull << 40;

struct Files {
  UniqueFd data{memfd_create("data", MFD_CLOEXEC)}, meta{memfd_create("meta", MFD_CLOEXEC)},
      recipe{memfd_create("recipe", MFD_CLOEXEC)};
};

Status Write(const std::string& tar, size_t piece, const Files& files) {
  ErofsWriter writer(files.data.get(), files.meta.get(), LayerWriterLimits());
  ASSIGN_OR_RETURN(auto recipe, TarRecipeWriter::Create(files.recipe.get(), &writer));
  TarReader reader(recipe.get(), TarLimits());
  for (size_t at = 0; at < tar.size(); at += piece) {
    RETURN_IF_ERROR(reader.Feed(absl::string_view(tar).substr(at, piece)));
  }
  RETURN_IF_ERROR(reader.Finish());
  RETURN_IF_ERROR(recipe->Finish());
  return writer.Finish().status();
}

StatusOr<std::string> Rebuild(const Files& files, uint64_t max_bytes = kNoLimit) {
  std::string made;
  RETURN_IF_ERROR(RebuildTar({.data = files.data.get()}, files.recipe.get(), max_bytes,
                             [&](absl::string_view bytes) {
                               made.append(bytes.data(), bytes.size());
                               return absl::OkStatus();
                             }));
  return made;
}

std::string Noise(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

// Everything that an archive can have, twice what can be replaced, and what no file keeps.
std::string Everything() {
  TarArchive tar;
  tar.Directory("d").File("d/small", "s").File("d/big", Noise(300'000, 1)).Symlink("l", "d");
  tar.HardLink("h", "d/big").File("d/big", Noise(70'001, 2)).File("d/.wh.gone", "not empty");
  tar.File("o/.wh..wh..opq", "").File(".wh..wh.plnk", Noise(9'000, 3));
  tar.Pax({{"path", std::string(200, 'p')}, {"SCHILY.xattr.user.a", "b"}});
  tar.File("x", Noise(5'000, 4)).Add({.name = "null", .type = '3', .major = 1, .minor = 3});
  tar.FileWithHoles("holes", Noise(4096 + 8192, 5));
  return tar.Finish() + std::string(10'240, '\0');
}

TEST(TarRecipeTest, MakesTheArchiveAgain) {
  const std::string tars[] = {Everything(), TarArchive().Finish(), "",
                              TarArchive().File("no closing blocks", Noise(9'999, 6)).bytes()};
  for (const std::string& tar : tars) {
    std::string first;  // recipe
    for (const size_t piece : {size_t{1} << 20, size_t{511}}) {
      const Files files;
      const Status written = Write(tar, piece, files);
      ASSERT_TRUE(written.ok()) << written;
      const auto made = Rebuild(files);
      ASSERT_TRUE(made.ok()) << made.status();
      EXPECT_EQ(made->size(), tar.size());
      EXPECT_TRUE(*made == tar) << "of " << tar.size() << " bytes, in pieces of " << piece;
      std::string recipe(static_cast<size_t>(lseek(files.recipe.get(), 0, SEEK_END)), '\0');
      ASSERT_EQ(pread(files.recipe.get(), recipe.data(), recipe.size(), 0),
                static_cast<ssize_t>(recipe.size()));
      if (first.empty()) first = recipe;
      EXPECT_TRUE(recipe == first) << "in pieces of " << piece;
    }
  }
}

TEST(TarRecipeTest, IsSmall) {
  TarArchive archive;
  for (int i = 0; i < 1000; ++i) archive.File(absl::StrCat("dir/file-", i), std::string(8192, 'f'));
  const Files files;
  ASSERT_TRUE(Write(archive.Finish(), 1 << 20, files).ok());
  EXPECT_LT(lseek(files.recipe.get(), 0, SEEK_END), 1000 * 100);
}

TEST(TarRecipeTest, NoticesDamage) {
  const Files files;
  ASSERT_TRUE(Write(Everything(), 1 << 20, files).ok());
  const off_t size = lseek(files.recipe.get(), 0, SEEK_END);
  int flips = 0, noticed = 0;
  for (off_t at = 0; at < size; at += 7) {
    char was = 0;
    ASSERT_EQ(pread(files.recipe.get(), &was, 1, at), 1);
    const char is = static_cast<char>(was ^ 0x20);
    ASSERT_EQ(pwrite(files.recipe.get(), &is, 1, at), 1);
    const auto made = Rebuild(files, 10 << 20);
    // Some bits mean nothing to zstd; of the others none may go by.
    ++flips;
    if (!made.ok()) ++noticed;
    if (made.ok()) {
      EXPECT_TRUE(*made == Everything()) << "an archive that nobody packed, by byte " << at;
    }
    ASSERT_EQ(pwrite(files.recipe.get(), &was, 1, at), 1);
  }
  EXPECT_GT(noticed, flips * 9 / 10);
  EXPECT_EQ(Rebuild(files, 100'000).status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_EQ(ftruncate(files.recipe.get(), size - 1), 0);
  EXPECT_EQ(Rebuild(files).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_EQ(ftruncate(files.recipe.get(), 0), 0);
  EXPECT_THAT(std::string(Rebuild(files).status().message()), HasSubstr("cut short"));
}

TEST(TarRecipeTest, NoticesMissingData) {
  const Files files;
  ASSERT_TRUE(Write(TarArchive().File("f", Noise(100'000, 7)).Finish(), 1 << 20, files).ok());
  ASSERT_EQ(ftruncate(files.data.get(), 50'000), 0);
  EXPECT_EQ(Rebuild(files).status().code(), absl::StatusCode::kDataLoss);
}

TEST(TarRecipeTest, PassesTheSinksErrorOn) {
  const Files files;
  ASSERT_TRUE(Write(Everything(), 1 << 20, files).ok());
  EXPECT_EQ(RebuildTar({.data = files.data.get()}, files.recipe.get(), kNoLimit,
                       [](absl::string_view) { return absl::CancelledError("enough"); })
                .code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace gantry::images
