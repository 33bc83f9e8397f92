// Imports through the real processes.
#include "imageservice/image_import.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>

#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Importing : public PullTest {
 protected:
  StatusOr<std::vector<std::shared_ptr<const Image>>> Import(const std::string& bytes,
                                                             const std::string& name = "") {
    const UniqueFd archive(memfd_create("archive", MFD_CLOEXEC));
    GANTRY_CHECK(write(archive.get(), bytes.data(), bytes.size()) ==
                 static_cast<ssize_t>(bytes.size()));
    lseek(archive.get(), 0, SEEK_SET);
    return puller_->Import(archive.get(), name);
  }
  // Through a pipe: nothing can be read twice.
  StatusOr<std::vector<std::shared_ptr<const Image>>> ImportStream(const std::string& bytes) {
    int ends[2];
    GANTRY_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    const UniqueFd reading(ends[0]);
    std::thread writing([&, writing_end = UniqueFd(ends[1])]() mutable {
      size_t done = 0;
      while (done < bytes.size()) {
        const ssize_t size = write(writing_end.get(), bytes.data() + done, bytes.size() - done);
        if (size <= 0) break;
        done += static_cast<size_t>(size);
      }
    });
    auto images = puller_->Import(reading.get(), "");
    writing.join();
    return images;
  }
};

TestImage TwoLayers() {
  TestImage image;
  image.AddLayer(TarWithFile("big", 3'000'000), TestCompression::kNone)
      .AddLayer(TarArchive().File("hello", "world").Finish(), TestCompression::kNone);
  return image;
}

TEST_F(Importing, ADockerArchiveKeepsItsName) {
  const TestImage image = TwoLayers();
  const auto images = Import(image.DockerArchive("busybox:1.36"));
  ASSERT_TRUE(images.ok()) << images.status();
  ASSERT_EQ(images->size(), 1u);
  EXPECT_EQ(images->front()->id, image.Config().digest);
  EXPECT_THAT(images->front()->repo_tags, ElementsAre("docker.io/library/busybox:1.36"));
  EXPECT_EQ(images->front()->layers, image.diff_ids())
      << "a plain layer's blob digest is its diffID";
  EXPECT_EQ(FileIn(*images->front(), 1, "hello"), "world");
  EXPECT_EQ(FileIn(*images->front(), 0, "big").size(), 3'000'000u);
}

TEST_F(Importing, AnOciArchiveIsReadAndNamed) {
  TestImage image;
  image.AddLayer(TarArchive().File("a", "gz").Finish())
      .AddLayer(TarArchive().File("b", "zst").Finish(), TestCompression::kZstd);
  const auto named = Import(image.OciArchive("quay.io/a/b:2"));
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_THAT(named->front()->repo_tags, ElementsAre("quay.io/a/b:2"));
  EXPECT_THAT(named->front()->repo_digests, ElementsAre("quay.io/a/b@" + image.Manifest().digest));
  EXPECT_EQ(FileIn(*named->front(), 1, "b"), "zst");
  const auto given = Import(image.OciArchive(""), "my/name");
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_THAT(given->front()->repo_tags, ElementsAre("docker.io/my/name:latest", "quay.io/a/b:2"));
}

TEST_F(Importing, ACompressedArchiveThroughAPipeIsSpooled) {
  TestImage wrapper;
  wrapper.AddLayer(TwoLayers().DockerArchive("a:1"));  // gzip of the archive
  const auto images = ImportStream(wrapper.layers()[0].bytes);
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_EQ(FileIn(*images->front(), 1, "hello"), "world");
  const auto file = Import(wrapper.layers()[0].bytes);
  EXPECT_TRUE(file.ok()) << file.status();
}

TEST_F(Importing, WhatIsNoImageArchiveIsRefusedWithAReason) {
  const TestImage image = TwoLayers();
  const std::string whole = image.DockerArchive("a:1");
  const struct {
    std::string description, bytes;
    absl::StatusCode code;
    std::string text;
  } rows[] = {
      {"empty", "", absl::StatusCode::kInvalidArgument, "neither manifest.json nor index.json"},
      {"text", std::string(4096, 'x'), absl::StatusCode::kInvalidArgument, ""},
      {"another tar", TarArchive().File("f", "x").Finish(), absl::StatusCode::kInvalidArgument,
       "neither"},
      {"cut short", whole.substr(0, whole.size() / 2), absl::StatusCode::kDataLoss, "cut short"},
      {"no layer",
       TarArchive()
           .File("manifest.json", R"([{"Config":"c","Layers":["x"]}])")
           .File("c", "{}")
           .Finish(),
       absl::StatusCode::kInvalidArgument, "no file \"x\""},
      {"path out",
       TarArchive()
           .File("manifest.json", R"([{"Config":"../../../etc/passwd","Layers":[]}])")
           .Finish(),
       absl::StatusCode::kInvalidArgument, "no file \"etc/passwd\""},
      {"bad name", image.DockerArchive("Not A Name"), absl::StatusCode::kInvalidArgument,
       "Not A Name"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.description);
    const Status status = Import(row.bytes).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.text));
  }
  EXPECT_THAT(store_->List(), IsEmpty());
  EXPECT_EQ(Import(whole, "Bad Name").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Importing, AWrongDiffIdIsDataLoss) {
  TestImage liar;
  liar.AddLayer(TarArchive().File("f", "x").Finish(), TestCompression::kNone,
                "sha256:" + std::string(64, 'b'));
  const Status status = Import(liar.DockerArchive("a:1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("diffID"));
}

}  // namespace
}  // namespace gantry::images
