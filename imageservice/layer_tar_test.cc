// From a layer on disk back to its archive, through the real processes.
#include "imageservice/layer_tar.h"

#include <fcntl.h>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

class LayerTarTest : public PullTest {
 protected:
  LayerTarTest()
      : server_([this](const TestRequest& request) { return registry_.Answer(request); }) {}

  // The digest of the layer that `tar` became.
  std::string PullLayer(const std::string& tar, LayerForm form = LayerForm::kErofs) {
    options_.layer_form = form;
    puller_ = std::make_unique<Puller>(store_.get(), options_);
    TestImage image;
    image.AddLayer(tar, TestCompression::kZstd);
    registry_.Add("a/b", "1", image);
    const auto pulled = Pull(absl::StrCat(server_.host(), "/a/b:1"));
    EXPECT_TRUE(pulled.ok()) << pulled.status();
    return image.layers()[0].digest;
  }
  LayerTarOptions Options() const { return {options_.unpacker_binary, nullptr}; }
  void Flip(const std::string& layer, const char* name, off_t at) {
    const auto path = std::filesystem::path(store_->LayerPath(layer)).parent_path() / name;
    const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
    char c = 0;
    ASSERT_EQ(pread(file.get(), &c, 1, at), 1);
    c = static_cast<char>(c ^ 1);
    ASSERT_EQ(pwrite(file.get(), &c, 1, at), 1);
  }

  MemoryRegistry registry_;
  TestServer server_;
};

TEST_F(LayerTarTest, GivesTheArchiveBack) {
  const std::string tar = TarWithFile("big", 9'000'000);
  const std::string layer = PullLayer(tar);
  EXPECT_EQ(store_->Layer(layer)->tar_bytes, tar.size());
  std::string again;
  const Status read = ReadLayerTar(*store_, layer, Options(), [&](absl::string_view bytes) {
    again.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  });
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_TRUE(again == tar);
  const Status verified = VerifyLayer(store_.get(), layer, Options());
  EXPECT_TRUE(verified.ok()) << verified;
}

TEST_F(LayerTarTest, Row70WhatIsNotAsTheDigestSaysIsFound) {
  struct Case {
    const char* file;
    off_t at;
  };
  // Content; the mode of the root; a record of the archive.
  for (const Case& c : {Case{"data", 4'000'000}, Case{"meta", 4096 + 4}, Case{"recipe", 30}}) {
    const std::string layer = PullLayer(TarWithFile("big", 9'000'000, 7));
    ASSERT_TRUE(VerifyLayer(store_.get(), layer, Options()).ok());
    Flip(layer, c.file, c.at);
    const Status found = VerifyLayer(store_.get(), layer, Options());
    EXPECT_EQ(found.code(), absl::StatusCode::kDataLoss) << c.file << ": " << found;
    ASSERT_TRUE(store_->Remove(absl::StrCat(server_.host(), "/a/b:1")).ok());
    store_->FlushDeletions();
  }
}

TEST_F(LayerTarTest, NeedsTheErofsForm) {
  const std::string layer = PullLayer(TarWithFile("f", 1000), LayerForm::kDirectory);
  const Status status = VerifyLayer(store_.get(), layer, Options());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer_form"));
  EXPECT_EQ(VerifyLayer(store_.get(), "sha256:" + std::string(64, '0'), Options()).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(LayerTarTest, EndsWhenItIsCancelled) {
  const std::string layer = PullLayer(TarWithFile("big", 9'000'000));
  LayerTarOptions options = Options();
  options.cancelled = [] { return true; };
  EXPECT_EQ(VerifyLayer(store_.get(), layer, options).code(), absl::StatusCode::kCancelled);
  options.cancelled = nullptr;
  EXPECT_EQ(ReadLayerTar(*store_, layer, options,
                         [](absl::string_view) { return absl::AbortedError("enough"); })
                .code(),
            absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace gantry::images
