// Row 67 of the list of faults: SIGKILL at each step. A child publishes a layer, records its image
// and removes it again under ptrace(2); it is killed at its first stop, in the next try at its
// second, until it comes to its end unharmed. A stop is the beginning or the end of a system call
// of any of its threads. After each death the store is opened, and what is there must be whole.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "imageservice/image_store.h"
#include "imageservice/layer_writer.h"
#include "imageservice/tar_recipe.h"
#include "imageservice/testing_churn.h"
#include "imageservice/testing_layer_proof.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

namespace fs = std::filesystem;

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr char kContainer[] = "pull";

// Calls `work` in a child and kills it at stop number `kill_at` after it has raised SIGUSR1.
// True when it ended by itself before that: `work` was OK.
class KilledChild {
 public:
  template <typename Work>
  static bool Run(int kill_at, Work work) {
    const pid_t pid = fork();
    if (pid == 0) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
      const Status status = work();
      if (!status.ok()) fprintf(stderr, "in the child: %s\n", status.ToString().c_str());
      _exit(status.ok() ? 0 : 1);
    }
    return KilledChild(pid).Follow(kill_at);
  }

 private:
  explicit KilledChild(pid_t pid) : pid_(pid) {}

  bool Follow(int kill_at) {
    int status = 0, stops = 0;
    bool counting = false;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    constexpr long kOptions =  // NOLINT(google-runtime-int): ptrace(2) wants one
        PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    EXPECT_EQ(ptrace(PTRACE_SETOPTIONS, pid_, nullptr, kOptions), 0);
    pid_t thread = pid_;
    int pass_on = 0;
    while (true) {
      ptrace(PTRACE_SYSCALL, thread, nullptr, pass_on);  // fails only when it has just died
      thread = waitpid(-1, &status, __WALL);
      if (thread < 0) return false;
      if (WIFEXITED(status) || WIFSIGNALED(status)) {
        if (thread != pid_) continue;
        EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        return WIFEXITED(status);
      }
      pass_on = 0;
      const int signal = WSTOPSIG(status);
      if (signal == SIGUSR1) counting = true;
      if (signal == (SIGTRAP | 0x80) && counting && ++stops == kill_at) {
        kill(pid_, SIGKILL);
      } else if (signal != (SIGTRAP | 0x80) && signal != SIGTRAP && signal != SIGSTOP &&
                 signal != SIGUSR1) {
        pass_on = signal;
      }
    }
  }

  pid_t pid_;
};

class LayerKill : public ::testing::TestWithParam<LayerForm> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: a layer's files have owners";
    char pattern[] = "/tmp/gantry-kill-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    root_ = pattern;
    tar_ = ChurnLayer(1, 12, 70'000);
    image_.AddLayer(tar_);
    // Once here: what is made at its first use would move the stops of later children.
    auto store = ImageStore::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    const Status published = Publish(store->get(), false);
    ASSERT_TRUE(published.ok()) << published;
    store->reset();
    CheckAfterDeath(0);
  }
  void TearDown() override {
    if (!root_.empty()) fs::remove_all(root_);
  }

  // What the unpacker does, without its walls.
  Status Stage(const std::string& staging) const {
    constexpr int kNew = O_RDWR | O_CREAT | O_EXCL;
    ASSIGN_OR_RETURN(const UniqueFd folder, OpenAt(AT_FDCWD, staging, kDirectory));
    if (GetParam() == LayerForm::kDirectory) {
      if (mkdirat(folder.get(), kLayerTree, 0755) != 0) return SyscallError("mkdir");
      ASSIGN_OR_RETURN(const UniqueFd tree, OpenAt(folder.get(), kLayerTree, kDirectory));
      ASSIGN_OR_RETURN(const UniqueFd recipe, OpenAt(folder.get(), kLayerRecipe, kNew, 0600));
      LayerWriter writer(tree.get(), {});
      ASSIGN_OR_RETURN(const auto noted, TarRecipeWriter::Create(recipe.get(), &writer));
      RETURN_IF_ERROR(Unpack(noted.get()));
      RETURN_IF_ERROR(noted->Finish());
      ASSIGN_OR_RETURN(const LayerWriter::Result result, writer.Finish());
      std::string list;
      for (const std::string& path : result.opaque) list += path + '\0';
      return CreateFileAt(folder.get(), "opaque", list, 0600);
    }
    ASSIGN_OR_RETURN(const UniqueFd data, OpenAt(folder.get(), kLayerData, kNew, 0600));
    ASSIGN_OR_RETURN(const UniqueFd meta, OpenAt(folder.get(), kLayerMeta, kNew, 0600));
    ASSIGN_OR_RETURN(const UniqueFd recipe, OpenAt(folder.get(), kLayerRecipe, kNew, 0600));
    ErofsWriter writer(data.get(), meta.get(), {});
    ASSIGN_OR_RETURN(const auto noted, TarRecipeWriter::Create(recipe.get(), &writer));
    RETURN_IF_ERROR(Unpack(noted.get()));
    RETURN_IF_ERROR(noted->Finish());
    return writer.Finish().status();
  }
  Status Unpack(TarConsumer* consumer) const {
    TarReader reader(consumer, {});
    RETURN_IF_ERROR(reader.Feed(tar_));
    return reader.Finish();
  }

  // Staged, published, recorded.
  Status Publish(ImageStore* store, bool told) const {
    store->HoldLayers(kContainer, {Digest()});
    ASSIGN_OR_RETURN(const std::string staging, store->MakeStagingDirectory());
    RETURN_IF_ERROR(Stage(staging));
    if (told) raise(SIGUSR1);
    LayerInfo info;
    info.digest = Digest();
    info.diff_id = image_.diff_ids()[0];
    info.tar_bytes = tar_.size();
    RETURN_IF_ERROR(store->PublishLayer(staging, info));
    Image image;
    image.id = image_.Config().digest;
    image.repo_tags = {kName};
    image.layers = {Digest()};
    image.diff_ids = image_.diff_ids();
    RETURN_IF_ERROR(store->Put(image, {image_.Config().bytes, image_.Manifest().bytes}).status());
    store->ReleaseLayers(kContainer);
    return absl::OkStatus();
  }

  const std::string& Digest() const { return image_.layers()[0].digest; }
  std::string LayerFolder() const {
    std::string name = Digest();
    name[name.find(':')] = '-';
    return absl::StrCat(root_, "/layers/", name);
  }

  // Opens the store as after a crash. `layer`, `image`: what was found.
  struct Found {
    bool layer = false, image = false;
  };
  Found CheckAfterDeath(int stop) {
    Found found;
    found.layer = fs::exists(LayerFolder());
    if (found.layer) {
      const Status whole = proof_.Check(LayerFolder(), Digest(), tar_);
      EXPECT_TRUE(whole.ok()) << "killed at stop " << stop << ": " << whole;
    }
    auto store = ImageStore::Open(root_);
    EXPECT_TRUE(store.ok()) << "killed at stop " << stop << ": " << store.status();
    if (!store.ok()) return found;
    EXPECT_EQ((*store)->HasLayer(Digest()), found.layer) << "killed at stop " << stop;
    found.image = !(*store)->List().empty();
    EXPECT_TRUE(!found.image || found.layer) << "killed at stop " << stop;
    EXPECT_TRUE((*store)->Incomplete().empty()) << "killed at stop " << stop;
    (*store)->FlushDeletions();
    EXPECT_TRUE(fs::is_empty(root_ + "/staging")) << "killed at stop " << stop;
    return found;
  }

  // Every stop; on the node, where each takes milliseconds, some.
  static int Stride() { return getenv("GANTRY_NODE") != nullptr ? 37 : 1; }

  static constexpr char kName[] = "churn.example/killed:latest";
  std::string root_;
  std::string tar_;
  TestImage image_;
  LayerProof proof_;
};

// Nothing, then the layer, then the image; never half of one.
TEST_P(LayerKill, Row67APublishedLayerIsAbsentOrWholeWhereverItsWriterIsKilled) {
  int stops = 0, without = 0, layer_alone = 0, with_image = 0;
  for (bool ended = false; !ended && !HasFailure(); stops += Stride()) {
    fs::remove_all(root_);
    ended = KilledChild::Run(stops + 1, [this]() -> Status {
      ASSIGN_OR_RETURN(const auto store, ImageStore::Open(root_));
      return Publish(store.get(), true);
    });
    const Found found = CheckAfterDeath(stops + 1);
    EXPECT_TRUE(found.image || !ended);
    ++(found.image ? with_image : found.layer ? layer_alone : without);
  }
  printf("killed at %d stops: %d times nothing, %d times the layer, %d times the image\n",
         without + layer_alone + with_image, without, layer_alone, with_image);
  EXPECT_GT(without, 0);
  EXPECT_TRUE(layer_alone > 0 || Stride() > 1);
  EXPECT_GT(with_image, 0);
}

// The image, then the layer alone, then nothing; at last not even its files.
TEST_P(LayerKill, Row67ARemovedLayerIsWholeOrAbsentWhereverItsRemoverIsKilled) {
  int stops = 0, with_image = 0, layer_alone = 0, without = 0;
  for (bool ended = false; !ended && !HasFailure(); stops += Stride()) {
    fs::remove_all(root_);
    ended = KilledChild::Run(stops + 1, [this]() -> Status {
      ASSIGN_OR_RETURN(const auto store, ImageStore::Open(root_));
      RETURN_IF_ERROR(Publish(store.get(), false));
      raise(SIGUSR1);
      RETURN_IF_ERROR(store->Remove(kName));
      store->FlushDeletions();
      return absl::OkStatus();
    });
    const Found found = CheckAfterDeath(stops + 1);
    EXPECT_TRUE(!found.layer || !ended);
    ++(found.image ? with_image : found.layer ? layer_alone : without);
  }
  printf("killed at %d stops: %d times the image, %d times the layer, %d times nothing\n",
         without + layer_alone + with_image, with_image, layer_alone, without);
  EXPECT_GT(with_image, 0);
  EXPECT_GT(without, 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, LayerKill,
                         ::testing::Values(LayerForm::kErofs, LayerForm::kDirectory),
                         [](const auto& form) { return std::string(LayerFormName(form.param)); });

}  // namespace
}  // namespace gantry::images
