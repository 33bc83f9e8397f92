#include "imageservice/tar_writer.h"

#include <functional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "imageservice/layer_reader.h"

namespace gantry::images {
namespace {

// What our own reader finds in an archive.
class Listing : public TarConsumer {
 public:
  Status OnEntry(const TarEntry& entry) override {
    files.emplace_back(entry.name, "");
    size = entry.size;
    return absl::OkStatus();
  }
  Status OnData(uint64_t, absl::string_view bytes) override {
    files.back().second += std::string(bytes);
    return absl::OkStatus();
  }
  Status OnEntryEnd() override { return absl::OkStatus(); }

  std::vector<std::pair<std::string, std::string>> files;
  uint64_t size = 0;  // of the last
};

class TarWriter : public ::testing::Test {
 protected:
  Status Read() {
    TarReader reader(&listing_, TarLimits());
    RETURN_IF_ERROR(reader.Feed(archive_));
    return reader.Finish();
  }

  std::string archive_;
  const std::function<Status(absl::string_view)> append_ = [this](absl::string_view bytes) {
    archive_ += std::string(bytes);
    return absl::OkStatus();
  };
  TarFileWriter writer_{append_};
  Listing listing_;
};

TEST_F(TarWriter, FilesComeBackWithNamesOfAnyLength) {
  std::vector<std::pair<std::string, std::string>> files;
  // Around 100 bytes the form changes, around 988 the length of the record's own length.
  for (const size_t length : {1, 99, 100, 101, 255, 985, 986, 987, 988, 989, 990, 991, 4000})
    files.emplace_back(std::string(length, 'n'), std::string(length, 'c'));
  for (const auto& [name, content] : files) ASSERT_TRUE(writer_.AddFile(name, content).ok());
  ASSERT_TRUE(writer_.Finish().ok());
  EXPECT_EQ(archive_.size() % 512, 0u);
  ASSERT_TRUE(Read().ok()) << Read();
  EXPECT_EQ(listing_.files, files);
}

TEST_F(TarWriter, ASizeOver8GiBComesBack) {
  constexpr uint64_t kSize = uint64_t{9} << 30;
  ASSERT_TRUE(writer_.Begin("model", kSize).ok());
  TarReader reader(&listing_, TarLimits());
  ASSERT_TRUE(reader.Feed(archive_).ok());
  EXPECT_EQ(listing_.size, kSize);
}

TEST_F(TarWriter, AFileOfAnotherLengthThanItsHeaderIsRefused) {
  ASSERT_TRUE(writer_.Begin("f", 2).ok());
  EXPECT_EQ(writer_.Write("abc").code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(writer_.Begin("f", 2).ok());
  ASSERT_TRUE(writer_.Write("a").ok());
  EXPECT_EQ(writer_.End().code(), absl::StatusCode::kDataLoss);
}

TEST_F(TarWriter, NamesThatNoArchiveCanHoldAreRefused) {
  EXPECT_EQ(writer_.Begin("", 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer_.Begin(std::string("a\0b", 3), 0).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::images
