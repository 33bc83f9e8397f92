// Images beside what umoci makes of them: layers over layers, with whiteouts, opaque directories,
// and one kind of file in another's place.
#include <fcntl.h>
#include <gmock/gmock.h>

#include <fstream>
#include <regex>

#include "absl/strings/str_cat.h"

#include "imageservice/snapshot.h"
#include "imageservice/testing_layer_forms.h"
#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

class BesideUmoci : public PullTest, public ::testing::WithParamInterface<LayerForm> {
 protected:
  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped()) return;
    if (!Run("command -v umoci")) GTEST_SKIP() << "no umoci here";
    options_.layer_form = GetParam();
    puller_ = std::make_unique<Puller>(store_.get(), options_);
  }
  bool Run(const std::string& command) const {
    const std::string log = (directory_ / "log").string();
    return system(absl::StrCat("{ ", command, "; } >", log, " 2>&1").c_str()) == 0;
  }

  // What it unpacks the image to.
  StatusOr<TreeListing> ByUmoci(const TestImage& image) const {
    std::ofstream(directory_ / "oci.tar", std::ios::binary) << image.OciArchive("a");
    const std::string command = absl::StrCat(
        "cd ", directory_.string(), " && rm -rf oci out && mkdir oci && tar -C oci -xf oci.tar && ",
        "sed -i s/io.containerd.image.name/org.opencontainers.image.ref.name/ oci/index.json && ",
        "umoci raw unpack --image oci:a out");
    if (!Run(command)) return absl::InternalError(ReadText(directory_ / "log"));
    const UniqueFd out(open((directory_ / "out").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return List(out.get());
  }
  // What a container would see of it here.
  StatusOr<TreeListing> ByUs(const TestImage& image) {
    std::ofstream(directory_ / "a.tar", std::ios::binary) << image.OciArchive("localhost/a:1");
    const UniqueFd archive(open((directory_ / "a.tar").c_str(), O_RDONLY | O_CLOEXEC));
    ASSIGN_OR_RETURN(const auto images, puller_->Import(archive.get(), ""));
    ASSIGN_OR_RETURN(const auto snapshots,
                     Snapshots::Open(store_.get(), (directory_ / "containers").string(), {}));
    ASSIGN_OR_RETURN(const UniqueFd view, snapshots->View(images.at(0)->layers));
    return List(view.get());
  }
  // overlayfs counts no names of directories.
  static StatusOr<TreeListing> List(int root) {
    ASSIGN_OR_RETURN(TreeListing listing, ListTree(root, {}));
    for (auto& [path, line] : listing)
      if (line.starts_with("4")) line = std::regex_replace(line, std::regex(" nlink \\d+"), "");
    return listing;
  }
  void ExpectTheSame(const TestImage& image) {
    const auto theirs = ByUmoci(image);
    ASSERT_TRUE(theirs.ok()) << theirs.status();
    const auto ours = ByUs(image);
    ASSERT_TRUE(ours.ok()) << ours.status();
    EXPECT_EQ(Difference(*theirs, *ours), "");
    EXPECT_GT(ours->size(), 5u);
  }
};

TarArchive Layer() { return TarArchive().Directory("./", 0755); }

TEST_P(BesideUmoci, OneLayerOfEveryKindOfEntry) {
  TarArchive tar = Layer();
  tar.Directory("d", 02750).File("d/f", "content", 04755).File("d/empty", "").Symlink("l", "/d/f");
  tar.HardLink("h", "d/f").Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  tar.Add({.name = "fifo", .type = '6'});
  tar.Add({.name = "owned", .uid = 1234, .gid = 5678}, "o");
  tar.Pax({{"mtime", "1234567890.123456789"}}).File("late", std::string(10'000, 'x'));
  tar.Pax({{"SCHILY.xattr.user.a", "b"}}).File("attribute", "a");
  tar.Pax({{"path", std::string(180, 'p')}}).File("long", "l");
  ExpectTheSame(TestImage().AddLayer(tar.Finish()));
}

TEST_P(BesideUmoci, LayersThatHideAndReplace) {
  TarArchive base = Layer();
  base.Directory("a").File("a/1", "one").File("a/2", "two").Directory("b").File("b/x", "x");
  base.Directory("b/deep").File("b/deep/y", "y").File("c", "a file").Directory("d");
  base.File("d/q", "q").Symlink("link", "a").File("mode", "m", 0600);
  TarArchive hides = Layer();
  hides.Directory("a").File("a/.wh.1", "").Directory("b", 0700).File("b/.wh..wh..opq", "");
  hides.File("b/z", "z").File(".wh.link", "");
  TarArchive replaces = Layer();
  replaces.Directory("a").File("a/1", "again").Directory("c").File("c/now", "a folder");
  replaces.Symlink("d", "a").File("mode", "m", 0644).File(".wh.nothing", "");
  TestImage image;
  image.AddLayer(base.Finish(), TestCompression::kGzip)
      .AddLayer(hides.Finish(), TestCompression::kNone)
      .AddLayer(replaces.Finish(), TestCompression::kGzip);
  ExpectTheSame(image);
}

INSTANTIATE_TEST_SUITE_P(Forms, BesideUmoci,
                         ::testing::Values(LayerForm::kDirectory, LayerForm::kErofs),
                         [](const auto& tried) {
                           return tried.param == LayerForm::kErofs ? "Erofs" : "Directory";
                         });

}  // namespace
}  // namespace gantry::images
