// Pulls, removes and collects until the power is cut.
//
//   testing_store_churn ROOT FORM SEED JOURNAL
//
// ROOT: the store, FORM: erofs or directory (of new layers), JOURNAL: a new file on a disk that
// keeps its power (testing_churn.h). The registry is in this process, the puller and the unpacker
// are the real ones beside it. Two threads, so that publication, removal and collection meet. Never
// ends by itself but with exit status 1 when it cannot begin.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/image_store.h"
#include "imageservice/pull.h"
#include "imageservice/testing_churn.h"
#include "imageservice/testing_server.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

struct Work {
  ImageStore* store = nullptr;
  Puller* puller = nullptr;
  ChurnJournal* journal = nullptr;
  std::vector<ChurnImage> images;
  std::vector<std::mutex> busy;  // one for each image: its steps stand in the journal in order
};

class Worker {
 public:
  Worker(Work* work, uint32_t seed) : work_(*work), random_(seed) {}

  void Run() {
    while (true) {
      const size_t index = random_() % work_.images.size();
      const std::unique_lock mine(work_.busy[index], std::try_to_lock);
      if (!mine.owns_lock()) continue;
      Step(work_.images[index].reference);
      if (random_() % 3 == 0) work_.store->CollectUnused(std::chrono::seconds(0));
    }
  }

 private:
  void Step(const std::string& reference) {
    const auto found = work_.store->Find(reference);
    if (!found.ok()) return work_.journal->Write("error", found.status().ToString());
    if (*found == nullptr) {
      work_.journal->Write("pulling", reference);
      Pull(reference, random_() % 4 == 0);
    } else if (random_() % 4 == 0) {
      Pull(reference, false);
    } else {
      work_.journal->Write("removing", reference);
      const Status removed = work_.store->Remove(reference);
      removed.ok() ? work_.journal->Write("removed", reference)
                   : work_.journal->Write("error", removed.ToString());
    }
  }

  // `impatient`: it gives up soon, and leaves layers that nobody uses.
  void Pull(const std::string& reference, bool impatient) {
    PullRequest request;
    request.reference = reference;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(random_() % 3000);
    if (impatient) request.cancelled = [end] { return std::chrono::steady_clock::now() > end; };
    const auto image = work_.puller->Pull(request);
    if (image.ok()) return work_.journal->Write("have", reference);
    if (absl::IsCancelled(image.status())) return;
    work_.journal->Write("error", absl::StrCat(reference, ": ", image.status().ToString()));
  }

  Work& work_;
  std::mt19937 random_;
};

// A registry on loopback under the name that the images have; returns the folder of hosts.toml.
StatusOr<std::string> NameRegistry(const TestServer& server) {
  std::string folder = (std::filesystem::temp_directory_path() / "gantry-churn-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return SyscallError("mkdtemp", folder);
  RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, absl::StrCat(folder, "/", kChurnHost), 0755).status());
  const std::string text = absl::StrCat("server = \"http://", server.host(), "\"\n");
  RETURN_IF_ERROR(
      CreateFileAt(AT_FDCWD, absl::StrCat(folder, "/", kChurnHost, "/hosts.toml"), text, 0644));
  return folder;
}

Status Churn(const std::string& root, absl::string_view form, uint32_t seed,
             const std::string& journal_path) {
  Work work;
  work.images = ChurnImages();
  work.busy = std::vector<std::mutex>(work.images.size());
  MemoryRegistry registry;
  for (const ChurnImage& image : work.images) registry.Add(image.repository, "latest", image.image);
  TestServer server([&](const TestRequest& request) { return registry.Answer(request); });
  PullerOptions options;
  ASSIGN_OR_RETURN(options.registry_config_path, NameRegistry(server));
  const std::filesystem::path programs = std::filesystem::read_symlink("/proc/self/exe");
  options.puller_binary = programs.parent_path() / "gantry-puller";
  options.unpacker_binary = programs.parent_path() / "gantry-unpacker";
  options.layer_form = form == "erofs" ? LayerForm::kErofs : LayerForm::kDirectory;
  ASSIGN_OR_RETURN(ChurnJournal journal, ChurnJournal::Create(journal_path));
  journal.Write("started");
  ASSIGN_OR_RETURN(const std::unique_ptr<ImageStore> store, ImageStore::Open(root));
  Puller puller(store.get(), options);
  work.store = store.get();
  work.puller = &puller;
  work.journal = &journal;
  std::thread second([&] { Worker(&work, seed + 1).Run(); });
  Worker(&work, seed).Run();
  return absl::OkStatus();
}

}  // namespace
}  // namespace gantry::images

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: testing_store_churn ROOT erofs|directory SEED JOURNAL\n");
    return 1;
  }
  const auto seed = static_cast<uint32_t>(strtoul(argv[3], nullptr, 10));
  const gantry::Status status = gantry::images::Churn(argv[1], argv[2], seed, argv[4]);
  fprintf(stderr, "testing_store_churn: %s\n", status.ToString().c_str());
  return 1;
}
