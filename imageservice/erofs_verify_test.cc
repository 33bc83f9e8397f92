#include "imageservice/erofs_verify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"

#include "imageservice/crc32c.h"
#include "imageservice/erofs_reader.h"
#include "imageservice/erofs_writer.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_layer_forms.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

TEST(Crc32c, IsTheKnownOne) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), 0xe3069283u);
  EXPECT_EQ(Crc32cZeros(70000, Crc32c("x")), Crc32c("x" + std::string(70000, '\0')));
  EXPECT_EQ(RawCrc32c("ab", 7) ^ RawCrc32c(std::string("\1\0", 2), 0), RawCrc32c("`b", 7));
}

// A file in memory.
class File {
 public:
  explicit File(absl::string_view bytes = "") : fd_(memfd_create("layer", MFD_CLOEXEC)) {
    if (!bytes.empty()) Put(0, bytes);
  }
  int fd() const { return fd_.get(); }
  void Put(uint64_t at, absl::string_view bytes) {
    GANTRY_CHECK(pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)) ==
                 static_cast<ssize_t>(bytes.size()));
  }
  std::string Bytes() const {
    std::string bytes(static_cast<size_t>(lseek(fd_.get(), 0, SEEK_END)), '\0');
    GANTRY_CHECK(pread(fd_.get(), bytes.data(), bytes.size(), 0) ==
                 static_cast<ssize_t>(bytes.size()));
    return bytes;
  }

 private:
  UniqueFd fd_;
};

struct Layer {
  File data, meta;
  uint64_t data_bytes = 0;
};

// A layer with everything in it, and its root directory in more than one block.
void Write(Layer* layer) {
  TarArchive archive;
  archive.Add({.name = "d/", .type = '5', .mode = 0750, .uid = 5, .gid = 6, .mtime = 1234})
      .Pax({{"SCHILY.xattr.user.mime", "text"}})
      .File("d/small", "run me")
      .File("d/big", std::string(10'000, 'b'))
      .HardLink("d/hard", "d/small")
      .Symlink("link", "d/small")
      .Symlink("long", std::string(90, 't'))
      .File(".wh.gone", "")
      .File("d/e/.wh..wh..opq", "")
      .Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  for (int i = 0; i < 40; ++i) {
    archive.Pax({{"path", absl::StrCat("many/", std::string(120, 'n'), i)}}).File("f", "");
  }
  ErofsWriter writer(layer->data.fd(), layer->meta.fd(), {});
  TarReader reader(&writer, {});
  GANTRY_CHECK(reader.Feed(archive.Finish()).ok() && reader.Finish().ok());
  const auto result = writer.Finish();
  GANTRY_CHECK(result.ok());
  layer->data_bytes = result->data_bytes;
}

class ErofsVerifyTest : public ::testing::Test {
 protected:
  ErofsVerifyTest() {
    Write(&layer_);
    meta_ = layer_.meta.Bytes();
  }
  Status Verify(const std::string& meta) {
    const File file(meta);
    return VerifyErofs(file.fd(), layer_.data_bytes).status();
  }
  // Where the inode is that the path leads to.
  uint64_t At(const std::vector<std::string>& path) {
    auto reader = ErofsReader::Open(layer_.meta.fd(), -1);
    uint64_t nid = kErofsRoot;
    for (const std::string& name : path) {
      const ErofsInode directory = *(*reader)->Inode(nid);
      GANTRY_CHECK((*reader)
                       ->List(directory,
                              [&](const ErofsName& found) {
                                if (found.name == name) nid = found.nid;
                                return absl::OkStatus();
                              })
                       .ok());
      GANTRY_CHECK(nid != directory.nid);
    }
    return nid * kErofsSlot;
  }
  // What the verifier says when a field of the inode at `path` has another value.
  template <typename T>
  std::string WithField(const std::vector<std::string>& path, size_t offset, T value) {
    std::string meta = meta_;
    memcpy(meta.data() + At(path) + offset, &value, sizeof(value));
    return std::string(Verify(WithRightSums(meta)).message());
  }

  Layer layer_;
  std::string meta_;
};

TEST_F(ErofsVerifyTest, AcceptsWhatTheWriterWrites) {
  auto summary = VerifyErofs(layer_.meta.fd(), layer_.data_bytes);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->inodes, 4u + 40 + 6);
  EXPECT_EQ(summary->whiteouts, 1u);
  EXPECT_EQ(summary->opaque, 1u);
  EXPECT_EQ(summary->meta_bytes, meta_.size());
  EXPECT_EQ(summary->data_bytes, 12'288u);
  EXPECT_TRUE(VerifyErofsData(layer_.data.fd(), layer_.meta.fd()).ok());
  EXPECT_EQ(Verify(WithRightSums(meta_)), absl::OkStatus());
}

TEST_F(ErofsVerifyTest, WantsDataOfTheLengthItKnows) {
  EXPECT_THAT(VerifyErofs(layer_.meta.fd(), 4096).status().message(),
              HasSubstr("data has 4096 bytes instead of 12288"));
  ASSERT_EQ(ftruncate(layer_.data.fd(), 8192), 0);
  EXPECT_THAT(VerifyErofsData(layer_.data.fd(), layer_.meta.fd()).message(),
              HasSubstr("data has 8192 bytes"));
}

TEST_F(ErofsVerifyTest, FindsEveryFlippedBit) {
  for (size_t at = 0; at < meta_.size(); ++at) {
    std::string meta = meta_;
    meta[at] = static_cast<char>(meta[at] ^ (1 << at % 8));
    ASSERT_EQ(Verify(meta).code(), absl::StatusCode::kDataLoss) << at;
  }
}

TEST_F(ErofsVerifyTest, FindsEveryTruncation) {
  for (size_t length = 0; length < meta_.size(); length += 13) {
    ASSERT_EQ(Verify(meta_.substr(0, length)).code(), absl::StatusCode::kDataLoss) << length;
  }
  EXPECT_FALSE(Verify(meta_ + "x").ok());
}

// With checksums made right, as a process that wants to do harm would: refused, or as good as ours.
TEST_F(ErofsVerifyTest, ReadsAnythingItAcceptsToTheEnd) {
  int accepted = 0;
  for (size_t at = kErofsSuperAt; at < meta_.size(); ++at) {
    std::string meta = meta_;
    meta[at] = static_cast<char>(static_cast<size_t>(meta[at]) ^ (1 + at * 37 % 255));
    const File file(WithRightSums(meta));
    if (!VerifyErofs(file.fd(), layer_.data_bytes).ok()) continue;
    ++accepted;
    auto reader = ErofsReader::Open(file.fd(), layer_.data.fd());
    ASSERT_TRUE(reader.ok()) << at;
    // Names may have changed, structure not.
    ASSERT_TRUE(
        (*reader)
            ->List(*(*reader)->Inode(kErofsRoot),
                   [&](const ErofsName& name) { return (*reader)->Inode(name.nid).status(); })
            .ok())
        << at;
  }
  EXPECT_GT(accepted, 0);
}

TEST_F(ErofsVerifyTest, RefusesInodesThatAreNotOurs) {
  const std::vector<std::string> big = {"d", "big"}, small = {"d", "small"}, d = {"d"};
  EXPECT_THAT(WithField<uint16_t>(big, 0, 3), HasSubstr("do not go together"));  // compressed
  EXPECT_THAT(WithField<uint16_t>(big, 0, 8), HasSubstr("do not go together"));  // 32 bytes
  EXPECT_THAT(WithField<uint16_t>(big, 4, 0100644 ^ 0140000 ^ 0100000), HasSubstr("do not go"));
  EXPECT_THAT(WithField<uint64_t>(big, 8, 1ull << 40), HasSubstr("one chunk"));
  EXPECT_THAT(WithField<uint64_t>(big, 8, ~0ull), HasSubstr("do not go together"));
  EXPECT_THAT(WithField<uint32_t>(big, 16, 0x3f), HasSubstr("one chunk"));
  EXPECT_THAT(WithField<uint32_t>(big, 64 + 4, 1), HasSubstr("content outside of data"));
  EXPECT_THAT(WithField<uint32_t>(big, 64 + 4, ~0u), HasSubstr("content outside of data"));
  EXPECT_THAT(WithField<uint16_t>(big, 64 + 2, 0), HasSubstr("no known device"));
  EXPECT_THAT(WithField<uint32_t>(big, 20, 1), HasSubstr("not as our writer"));
  EXPECT_THAT(WithField<uint32_t>(big, 24, ~0u), HasSubstr("out of range"));
  EXPECT_THAT(WithField<uint64_t>(big, 32, 1ull << 40), HasSubstr("out of range"));
  EXPECT_THAT(WithField<uint32_t>(big, 40, 1'000'000'000), HasSubstr("out of range"));
  EXPECT_THAT(WithField<uint32_t>(big, 44, 0), HasSubstr("out of range"));
  EXPECT_THAT(WithField<uint32_t>(big, 44, 2), HasSubstr("fewer names"));
  EXPECT_THAT(WithField<uint32_t>(small, 44, 1), HasSubstr("in the place of something else"));
  EXPECT_THAT(WithField<uint32_t>(small, 44, 3), HasSubstr("fewer names"));
  EXPECT_THAT(WithField<uint32_t>(d, 44, 2), HasSubstr("number of links"));
  EXPECT_THAT(WithField<uint16_t>(small, 2, 0xffff), HasSubstr("across the block's end"));
  EXPECT_THAT(WithField<uint64_t>(small, 8, 4095), HasSubstr("across the block's end"));
  EXPECT_THAT(WithField<uint16_t>({"link"}, 4, 0120755), HasSubstr("with permissions"));
  EXPECT_THAT(WithField<uint16_t>({"gone"}, 4, 0020666), HasSubstr("whiteout"));
  EXPECT_THAT(WithField<char>({"link"}, 64 + 3, '\0'), HasSubstr("a NUL in the target"));
  EXPECT_THAT(WithField<uint32_t>({"many"}, 16, 1), HasSubstr("blocks outside"));
  EXPECT_THAT(WithField<uint32_t>({"many"}, 16, 2), HasSubstr("something else"));
  EXPECT_THAT(WithField<uint32_t>({"many"}, 16, 1u << 30), HasSubstr("blocks outside"));
}

TEST_F(ErofsVerifyTest, RefusesAttributesThatNoLayerKeeps) {
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string meta = meta_;
    meta.replace(meta.find(from), to.size(), to);
    return std::string(Verify(WithRightSums(meta)).message());
  };
  const std::string user("\4\1\4\0mime", 8), opaque("\16\4\1\0overlay.opaquey", 19);
  EXPECT_THAT(with(user, std::string("\4\4", 2)), HasSubstr("attribute trusted.mime"));
  EXPECT_THAT(with(user, std::string("\4\6", 2)), HasSubstr("attribute security.mime"));
  EXPECT_THAT(with(user, std::string("\4\2", 2)), HasSubstr("malformed attribute"));
  EXPECT_THAT(with(user, std::string("\xff\1", 2)), HasSubstr("malformed attribute"));
  EXPECT_THAT(with(user, std::string("\4\1\xff\xff", 4)), HasSubstr("malformed attribute"));
  EXPECT_THAT(with(opaque, std::string("\16\4\1\0overlay.opaquex", 19)), HasSubstr("attribute"));
  EXPECT_THAT(with(opaque, std::string("\16\1\1\0overlay.opaquey", 19)), HasSubstr("attribute"));
}

TEST_F(ErofsVerifyTest, RefusesTreesThatAreNoTrees) {
  // Every dirent of the image, led to every directory: loops, two parents, other types.
  const uint64_t d = At({"d"}), many = At({"many"});
  std::string meta = meta_;
  const uint64_t from = d / kErofsSlot, to = many / kErofsSlot;
  const std::string name(reinterpret_cast<const char*>(&from), 8);
  int tried = 0;
  for (size_t at = meta.find(name, kErofsBlock); at != std::string::npos;
       at = meta.find(name, at + 1)) {
    std::string other = meta;
    memcpy(other.data() + at, &to, sizeof(to));
    EXPECT_FALSE(Verify(WithRightSums(other)).ok()) << at;
    memcpy(other.data() + at, &kErofsRoot, sizeof(kErofsRoot));
    EXPECT_FALSE(Verify(WithRightSums(other)).ok()) << at;
    ++tried;
  }
  EXPECT_GE(tried, 2);  // in the root, and its own "."
}

TEST_F(ErofsVerifyTest, RefusesIllegalNames) {
  for (const std::string to : {"/mall", ".", "..", "zmall"}) {
    std::string meta = meta_;
    const size_t at = meta.find("hardsmall");  // d's names, one behind the other
    ASSERT_NE(at, std::string::npos);
    memcpy(meta.data() + at + 4, to.data(), to.size());
    const Status status = Verify(WithRightSums(meta));
    EXPECT_EQ(status.ok(), to == "zmall") << to;
  }
  std::string meta = meta_;
  memcpy(meta.data() + meta.find("hardsmall"), "zard", 4);
  EXPECT_THAT(Verify(WithRightSums(meta)).message(), HasSubstr("not sorted"));
}

TEST_F(ErofsVerifyTest, NamesTheMibThatIsDamaged) {
  Layer layer;
  TarArchive archive;
  archive.File("a", std::string(1 << 20, 'a'))
      .Pax({{"GNU.sparse.size", "4194304"}, {"GNU.sparse.map", "3145728,2"}})
      .File("sparse", "xx")
      .File("b", std::string(5000, 'b'));
  ErofsWriter writer(layer.data.fd(), layer.meta.fd(), {});
  TarReader reader(&writer, {});
  ASSERT_TRUE(reader.Feed(archive.Finish()).ok() && reader.Finish().ok());
  ASSERT_TRUE(writer.Finish().ok());
  ASSERT_TRUE(VerifyErofsData(layer.data.fd(), layer.meta.fd()).ok());
  const std::string bytes = layer.data.Bytes();
  for (const auto& [at, mib] : {std::pair<uint64_t, int>{5, 0},
                                {1 << 20, 1},
                                {(2 << 20) + 77, 2},
                                {(4 << 20) + 1, 4},
                                {(5 << 20) + 4999, 5},
                                {(5 << 20) + 8191, 5}}) {
    layer.data.Put(at, "!");
    const Status status = VerifyErofsData(layer.data.fd(), layer.meta.fd());
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr(absl::StrCat("MiB ", mib, " is not"))) << at;
    layer.data.Put(at, bytes.substr(at, 1));
  }
  EXPECT_TRUE(VerifyErofsData(layer.data.fd(), layer.meta.fd()).ok());
}

}  // namespace
}  // namespace gantry::images
