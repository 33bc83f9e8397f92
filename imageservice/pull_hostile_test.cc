// What a conquered gantry-unpacker can do: spoil the layer of its own blob, and nothing else.
#include <sys/stat.h>
#include <sys/xattr.h>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

class ConqueredUnpacker : public PullTest {
 protected:
  ConqueredUnpacker()
      : server_([this](const TestRequest& request) { return registry_.Answer(request); }) {}

  // A puller whose unpackers do `what`, for layers in `form`.
  void Conquer(const std::string& what, LayerForm form, const std::string& diff_id) {
    const std::string script = directory_ / "unpacker";
    std::ofstream(script) << "#!/bin/sh\nexec " << GANTRY_BIN_DIR << "/testing_hostile_unpacker "
                          << what << " " << diff_id << " \"$@\"\n";
    ASSERT_EQ(chmod(script.c_str(), 0755), 0);
    options_.unpacker_binary = script;
    options_.layer_form = form;
    puller_ = std::make_unique<Puller>(store_.get(), options_);
  }
  std::string Name(const std::string& rest) const {
    return absl::StrCat(server_.host(), "/", rest);
  }
  bool StoreIsEmpty() const { return std::filesystem::is_empty(directory_ / "layers"); }

  MemoryRegistry registry_;
  TestServer server_;
};

TEST_F(ConqueredUnpacker, PublishesNothingThatIsNotALayer) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 200'000));
  registry_.Add("a/b", "1", image);
  struct Case {
    const char* what;
    LayerForm form;
    const char* error;
  };
  const Case cases[] = {
      {"garbage", LayerForm::kErofs, "gantry-unpacker wrote a layer that is not right"},
      {"nothing", LayerForm::kErofs, "gantry-unpacker wrote a layer that is not right"},
      {"crash", LayerForm::kErofs, "gantry-unpacker died"},
      {"crash", LayerForm::kDirectory, "gantry-unpacker died"},
      {"nothing", LayerForm::kDirectory, "No such file"},
      {"link", LayerForm::kDirectory, ""},
      {"opaque", LayerForm::kDirectory, "openat2"},
      {"meta-link", LayerForm::kDirectory, ""},
      {"meta-pipe", LayerForm::kDirectory, ""},
  };
  for (const Case& c : cases) {
    Conquer(c.what, c.form, image.diff_ids()[0]);
    const Status status = Pull(Name("a/b:1")).status();
    EXPECT_FALSE(status.ok()) << c.what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error)) << c.what;
    EXPECT_TRUE(StoreIsEmpty()) << c.what;
    EXPECT_TRUE(store_->List().empty()) << c.what;
  }
  char value = 0;
  EXPECT_EQ(getxattr("/", "trusted.overlay.opaque", &value, 1), -1);
  EXPECT_EQ(getxattr("/tmp", "trusted.overlay.opaque", &value, 1), -1);
}

TEST_F(ConqueredUnpacker, CannotChooseTheDiffIdNorTheRecord) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 200'000));
  registry_.Add("a/b", "1", image);
  const std::string other = "sha256:" + std::string(64, '1');
  Conquer("another", LayerForm::kErofs, other);
  EXPECT_THAT(std::string(Pull(Name("a/b:1")).status().message()), HasSubstr("diffID " + other));
  EXPECT_TRUE(StoreIsEmpty());
  Conquer("record", LayerForm::kDirectory, image.diff_ids()[0]);
  const auto pulled = Pull(Name("a/b:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(store_->Layer((*pulled)->layers[0])->digest, image.layers()[0].digest);
}

TEST_F(ConqueredUnpacker, MustReadTheBlobFirst) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 30'000'000));
  registry_.Add("a/b", "1", image);
  Conquer("early", LayerForm::kErofs, image.diff_ids()[0]);
  EXPECT_FALSE(Pull(Name("a/b:1")).ok());
  EXPECT_TRUE(StoreIsEmpty());
}

// It has its blob's digest and no other: another image keeps its layers, and is pulled right.
TEST_F(ConqueredUnpacker, SpoilsItsOwnBlobsLayerAlone) {
  TestImage bad, good;
  bad.AddLayer(TarWithFile("f", 200'000, 1));
  good.AddLayer(TarWithFile("g", 200'000, 2));
  registry_.Add("a/bad", "1", bad);
  registry_.Add("a/good", "1", good);
  Conquer("another", LayerForm::kErofs, bad.diff_ids()[0]);
  const auto spoiled = Pull(Name("a/bad:1"));
  ASSERT_TRUE(spoiled.ok()) << spoiled.status();
  EXPECT_EQ((*spoiled)->layers[0], bad.layers()[0].digest);
  options_.unpacker_binary = GANTRY_BIN_DIR "/gantry-unpacker";
  puller_ = std::make_unique<Puller>(store_.get(), options_);
  const auto right = Pull(Name("a/good:1"));
  ASSERT_TRUE(right.ok()) << right.status();
  EXPECT_NE((*right)->layers, (*spoiled)->layers);
  EXPECT_EQ(store_->Layer((*right)->layers[0])->diff_id, good.diff_ids()[0]);
}

TEST_F(ConqueredUnpacker, IsKilledWhenItStays) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 200'000));
  registry_.Add("a/b", "1", image);
  Conquer("stays", LayerForm::kErofs, image.diff_ids()[0]);
  EXPECT_FALSE(Pull(Name("a/b:1")).ok());  // it wrote no layer
  EXPECT_TRUE(ChildPids().empty());
}

}  // namespace
}  // namespace gantry::images
