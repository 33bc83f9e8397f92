// Images out of the store and into another one, through the real processes.
#include "imageservice/image_export.h"

#include <fcntl.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

class ImageExportTest : public PullTest {
 protected:
  ImageExportTest()
      : server_([this](const TestRequest& request) { return registry_.Answer(request); }) {
    if (directory_.empty()) return;
    options_.layer_form = LayerForm::kErofs;
    puller_ = std::make_unique<Puller>(store_.get(), options_);
  }
  std::string Name(const std::string& rest) const {
    return absl::StrCat(server_.host(), "/", rest);
  }

  StatusOr<std::string> Export(const std::vector<std::string>& references) {
    const std::string path = directory_ / "exported.tar";
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    RETURN_IF_ERROR(ExportImages(store_.get(), references, {options_.unpacker_binary, nullptr},
                                 [&](absl::string_view bytes) {
                                   file.write(bytes.data(),
                                              static_cast<std::streamsize>(bytes.size()));
                                   return absl::OkStatus();
                                 }));
    return path;
  }
  // All images go, then those of the archive come.
  std::vector<std::shared_ptr<const Image>> Reimport(const std::string& path) {
    for (const auto& image : store_->List()) EXPECT_TRUE(store_->Remove(image->id).ok());
    store_->FlushDeletions();
    const UniqueFd archive(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto imported = puller_->Import(archive.get(), "");
    EXPECT_TRUE(imported.ok()) << imported.status();
    return imported.ok() ? *imported : std::vector<std::shared_ptr<const Image>>();
  }

  MemoryRegistry registry_;
  TestServer server_;
};

TestImage TwoLayers(unsigned seed) {
  TestImage image;
  image.AddLayer(TarWithFile("big", 3'000'000, seed), TestCompression::kGzip)
      .AddLayer(TarArchive().File("etc/name", absl::StrCat(seed)).Finish(), TestCompression::kZstd);
  return image;
}

TEST_F(ImageExportTest, AnImageComesBackUnderItsIdAndNames) {
  const TestImage one = TwoLayers(1), two = TwoLayers(2);
  registry_.Add("a/one", "1", one);
  registry_.Add("a/two", "2", two);
  ASSERT_TRUE(Pull(Name("a/one:1")).ok());
  ASSERT_TRUE(Pull(Name("a/two:2")).ok());
  const auto path = Export({Name("a/one:1"), Name("a/two:2")});
  ASSERT_TRUE(path.ok()) << path.status();
  const auto images = Reimport(*path);
  ASSERT_EQ(images.size(), 2u);
  for (const auto& [test, name] : {std::pair(&one, "a/one:1"), std::pair(&two, "a/two:2")}) {
    const auto image = store_->Find(Name(name));
    ASSERT_TRUE(image.ok() && *image != nullptr) << name;
    EXPECT_EQ((*image)->id, test->Config().digest);
    EXPECT_EQ((*image)->diff_ids, test->diff_ids());
    EXPECT_EQ((*image)->layers, test->diff_ids());  // plain now
  }
  // And once more: what comes out of what went in is the same archive.
  const auto again = Export({Name("a/one:1"), Name("a/two:2")});
  ASSERT_TRUE(again.ok()) << again.status();
  const std::string first = ReadText(*again);
  Reimport(*again);
  const auto third = Export({Name("a/one:1"), Name("a/two:2")});
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(ReadText(*third) == first);
}

TEST_F(ImageExportTest, APlainImageKeepsItsManifestsDigest) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 100'000), TestCompression::kNone);
  registry_.Add("a/b", "1", image);
  ASSERT_TRUE(Pull(Name("a/b:1")).ok());
  const auto path = Export({Name("a/b:1")});
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_TRUE(absl::StrContains(ReadText(*path), image.Manifest().bytes));
  EXPECT_TRUE(absl::StrContains(ReadText(*path), image.Config().bytes));
}

TEST_F(ImageExportTest, SharedLayersAreInItOnce) {
  TestImage one = TwoLayers(1), two = TwoLayers(1);
  two.AddLayer(TarArchive().File("more", "m").Finish());
  registry_.Add("a/one", "1", one);
  registry_.Add("a/two", "2", two);
  ASSERT_TRUE(Pull(Name("a/one:1")).ok());
  ASSERT_TRUE(Pull(Name("a/two:2")).ok());
  const auto path = Export({Name("a/one:1"), Name("a/two:2")});
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_LT(std::filesystem::file_size(*path), 2 * 3'000'000u);
  EXPECT_EQ(Reimport(*path).size(), 2u);
}

TEST_F(ImageExportTest, BothFormsGiveTheSameArchive) {
  registry_.Add("a/b", "1", TwoLayers(1));
  ASSERT_TRUE(Pull(Name("a/b:1")).ok());
  const auto erofs = Export({Name("a/b:1")});
  ASSERT_TRUE(erofs.ok()) << erofs.status();
  const std::string archive = ReadText(*erofs);
  ASSERT_TRUE(store_->Remove(Name("a/b:1")).ok());
  store_->FlushDeletions();
  options_.layer_form = LayerForm::kDirectory;
  puller_ = std::make_unique<Puller>(store_.get(), options_);
  ASSERT_TRUE(Pull(Name("a/b:1")).ok());
  const auto directory = Export({Name("a/b:1")});
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_TRUE(ReadText(*directory) == archive);
}

TEST_F(ImageExportTest, SaysWhatItCannotExport) {
  EXPECT_EQ(Export({"nothing:1"}).status().code(), absl::StatusCode::kNotFound);
  TestImage image;
  image.AddLayer(TarArchive().File("f", "first").File("f", "second").Finish());
  registry_.Add("a/b", "1", image);
  options_.layer_form = LayerForm::kDirectory;
  puller_ = std::make_unique<Puller>(store_.get(), options_);
  ASSERT_TRUE(Pull(Name("a/b:1")).ok());
  const Status status = Export({Name("a/b:1")}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("directory"));
}

TEST_F(ImageExportTest, ADamagedLayerIsNotHandedOn) {
  const TestImage image = TwoLayers(1);
  registry_.Add("a/b", "1", image);
  ASSERT_TRUE(Pull(Name("a/b:1")).ok());
  const auto folder =
      std::filesystem::path(store_->LayerPath(image.layers()[0].digest)).parent_path();
  std::fstream data(folder / "data", std::ios::in | std::ios::out | std::ios::binary);
  data.seekp(1'000'000);
  data.put('x');
  data.put('y');
  data.close();
  EXPECT_EQ(Export({Name("a/b:1")}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace gantry::images
