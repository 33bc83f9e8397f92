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
  void Remove() {
    ASSERT_TRUE(store_->Remove(absl::StrCat(server_.host(), "/a/b:1")).ok());
    store_->FlushDeletions();
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

// What an archive can have, but for files that come twice.
std::string ManyThings() {
  TarArchive tar;
  tar.Directory("d", 02750).File("d/small", "s", 04755).File("d/big", std::string(300'000, 'b'));
  tar.Symlink("l", "d")
      .HardLink("h", "d/big")
      .File("l/through", "a link")
      .File("d/.wh.gone", "not empty");
  tar.File("o/.wh..wh..opq", "").File("o/f", "").File(".wh..wh.plnk", std::string(9'000, '3'));
  tar.Pax({{"path", std::string(200, 'p')}, {"SCHILY.xattr.user.a", "b"}});
  tar.File("x", std::string(5'000, '4')).Add({.name = "null", .type = '3', .major = 1, .minor = 3});
  tar.Add({.name = "fifo", .type = '6'});
  tar.FileWithHoles("holes", std::string(4096 + 8192, '5'));
  return tar.Finish() + std::string(10'240, '\0');
}

TEST_F(LayerTarTest, GivesTheArchiveBack) {
  for (const LayerForm form : {LayerForm::kErofs, LayerForm::kDirectory}) {
    for (const std::string& tar :
         {TarWithFile("big", 9'000'000), ManyThings(), TarArchive().Finish()}) {
      const std::string layer = PullLayer(tar, form);
      EXPECT_EQ(store_->Layer(layer)->tar_bytes, tar.size());
      std::string again;
      const Status read = ReadLayerTar(*store_, layer, Options(), [&](absl::string_view bytes) {
        again.append(bytes.data(), bytes.size());
        return absl::OkStatus();
      });
      EXPECT_TRUE(read.ok()) << LayerFormName(form) << read;
      EXPECT_TRUE(again == tar) << LayerFormName(form);
      const Status verified = VerifyLayer(store_.get(), layer, Options());
      EXPECT_TRUE(verified.ok()) << LayerFormName(form) << verified;
      EXPECT_TRUE(store_->Check(/*contents=*/true).empty()) << LayerFormName(form);
      Remove();
    }
  }
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
    Remove();
  }
}

TEST_F(LayerTarTest, Row70InADirectoryToo) {
  struct Case {
    const char* shell;  // in fs/
    const char* found;
  };
  const Case cases[] = {
      {"printf x | dd of=d/big bs=1 seek=200000 conv=notrunc status=none && touch -d @1000000 "
       "d/big",
       "digest"},
      {"printf x >>d/big && touch -d @1000000 d/big", "its size is another one"},
      {"truncate -s 9 d/big", "behind the end"},
      {"rm d/big", "\"d/big\" is no file"},
      {"rm o/f && touch -d @0 o", "\"o/f\": it is missing"},
      {"touch o/zzz && touch -d @0 o", "\"o/zzz\": it is in no archive"},
      {"chmod 0755 d/small", "\"d/small\": its mode"},
      {"chown 7:7 d", "\"d\": its owner"},
      {"touch -d @7 .", "\".\": its time"},
      {"touch -d @7 d", "\"d\": its time"},
      {"python3 -c 'import os; os.setxattr(\"d\", \"user.b\", b\"c\")'",
       "\"d\": it has other extended attributes"},
      {"python3 -c 'import os; os.removexattr(\"o\", \"trusted.overlay.opaque\")'",
       "\"o\": it has other extended attributes"},
      {"cp -p h other && mv other h && touch -d @0 .", "it has another number of names"},
      {"ln -sfn o l && touch -h -d @1000000 l && touch -d @0 .", "\"l\": it leads elsewhere"},
      {"rm null && mknod -m 644 null c 1 5 && touch -d @1000000 null && touch -d @0 .",
       "\"null\": it is another device"},
      {"rm fifo && touch fifo && touch -d @0 .", "\"fifo\": it is of another type"},
  };
  for (const Case& c : cases) {
    const std::string layer = PullLayer(ManyThings(), LayerForm::kDirectory);
    const std::string command = absl::StrCat("cd ", store_->LayerPath(layer), " && ", c.shell);
    ASSERT_EQ(system(command.c_str()), 0) << command;
    const Status found = VerifyLayer(store_.get(), layer, Options());
    EXPECT_EQ(found.code(), absl::StatusCode::kDataLoss) << c.shell << ": " << found;
    EXPECT_THAT(std::string(found.message()), HasSubstr(c.found)) << c.shell;
    Remove();
  }
  const std::string layer = PullLayer(ManyThings(), LayerForm::kDirectory);
  Flip(layer, "recipe", 30);
  EXPECT_EQ(VerifyLayer(store_.get(), layer, Options()).code(), absl::StatusCode::kDataLoss);
}

TEST_F(LayerTarTest, ADirectoryOfAnArchiveThatReplacesAFileHasNoWayBack) {
  const TarArchive tar = TarArchive().File("f", "first").File("f", "second");
  const std::string layer = PullLayer(TarArchive(tar).Finish(), LayerForm::kDirectory);
  const Status status = VerifyLayer(store_.get(), layer, Options());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer_form"));
  const auto folder = std::filesystem::path(store_->LayerPath(layer)).parent_path();
  EXPECT_FALSE(std::filesystem::exists(folder / "recipe"));
  Remove();
  const std::string erofs = PullLayer(TarArchive(tar).Finish());
  EXPECT_TRUE(VerifyLayer(store_.get(), erofs, Options()).ok());
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
