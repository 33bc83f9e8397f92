#include "imageservice/image_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"

#include "imageservice/image_records.h"
#include "imageservice/layer_check.h"
#include "imageservice/layer_rules.h"
#include "imageservice/layer_store.h"
#include "imageservice/reference.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

using ImagePtr = std::shared_ptr<const Image>;
using ImageMap = std::map<std::string, ImagePtr, std::less<>>;

constexpr size_t kMinIdDigits = 12;
constexpr std::chrono::hours kResumeAge{24};

// What readers see: built whole, swapped in one step, never changed.
struct View {
  ImageMap by_id;
  std::map<std::string, ImagePtr, std::less<>> by_name;  // tags and digests
  std::set<std::string, std::less<>> layers;             // used by an image, complete or not
  ImageMap incomplete;                                   // not in by_id and by_name
};

std::shared_ptr<const View> BuildView(const ImageMap& images, const ImageMap& incomplete) {
  auto view = std::make_shared<View>();
  view->by_id = images;
  view->incomplete = incomplete;
  for (const auto& [id, image] : images) {
    for (const std::string& name : image->repo_tags) view->by_name[name] = image;
    for (const std::string& name : image->repo_digests) view->by_name[name] = image;
    view->layers.insert(image->layers.begin(), image->layers.end());
  }
  // What is left of one that can be pulled again is not pulled again.
  for (const auto& [id, image] : incomplete)
    if (!image->repo_digests.empty())
      view->layers.insert(image->layers.begin(), image->layers.end());
  return view;
}

void SortUnique(std::vector<std::string>* names) {
  std::sort(names->begin(), names->end());
  names->erase(std::unique(names->begin(), names->end()), names->end());
}

// Moves the names of `image` out of `other`. nullptr when it had none of them.
ImagePtr WithoutNamesOf(const Image& image, const ImagePtr& other) {
  auto taken = [&](const std::string& name) {
    return std::binary_search(image.repo_tags.begin(), image.repo_tags.end(), name) ||
           std::binary_search(image.repo_digests.begin(), image.repo_digests.end(), name);
  };
  Image rest = *other;
  const size_t gone =
      std::erase_if(rest.repo_tags, taken) + std::erase_if(rest.repo_digests, taken);
  if (gone == 0) return nullptr;
  return std::make_shared<const Image>(std::move(rest));
}

void TakeNames(const Image& from, Image* image) {
  image->repo_tags.insert(image->repo_tags.end(), from.repo_tags.begin(), from.repo_tags.end());
  image->repo_digests.insert(image->repo_digests.end(), from.repo_digests.begin(),
                             from.repo_digests.end());
  SortUnique(&image->repo_tags);
  SortUnique(&image->repo_digests);
}

// Nothing new but when: no reason to wait for the disk. A manifest of its own would have a digest
// of its own among the names.
bool SameButTime(const Image& a, const Image& b) {
  return a.repo_tags == b.repo_tags && a.repo_digests == b.repo_digests && a.size == b.size &&
         a.config == b.config && a.layers == b.layers && a.diff_ids == b.diff_ids;
}

// The image without the names that another one has got meanwhile.
Image FreeNames(Image image, const View& view) {
  const auto taken = [&](const std::string& name) {
    return view.by_name.find(name) != view.by_name.end();
  };
  std::erase_if(image.repo_tags, taken);
  std::erase_if(image.repo_digests, taken);
  return image;
}

// True when `reference` is the image's id or one of its names.
bool Names(const Image& image, absl::string_view reference) {
  if (reference == image.id || absl::StrCat("sha256:", reference) == image.id) return true;
  const StatusOr<Reference> parsed = ParseReference(reference);
  if (!parsed.ok()) return false;
  const std::string name = parsed->digest.empty() ? parsed->Tagged() : parsed->Digested();
  const auto& names = parsed->digest.empty() ? image.repo_tags : image.repo_digests;
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsIdPrefix(absl::string_view text) {
  return text.size() >= kMinIdDigits && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

struct ImageStore::State {
  std::string root;
  std::unique_ptr<LayerStore> layers;
  std::unique_ptr<ResumeFiles> resume;

  // One writer at a time: held over the database and the deletion of layers, never asked for by
  // readers.
  std::mutex writer;
  std::unique_ptr<ImageRecords> records;  // used by the writer

  mutable absl::Mutex mutex;
  std::shared_ptr<const View> view ABSL_GUARDED_BY(mutex);
  std::map<std::string, std::vector<std::string>> holds ABSL_GUARDED_BY(mutex);

  std::shared_ptr<const View> Now() const {
    absl::MutexLock lock(&mutex);
    return view;
  }
  void Show(const ImageMap& images, const ImageMap& incomplete) {
    std::shared_ptr<const View> next = BuildView(images, incomplete);
    absl::MutexLock lock(&mutex);
    view = std::move(next);
  }
  bool IsUsed(absl::string_view digest) const {
    absl::MutexLock lock(&mutex);
    if (view->layers.find(digest) != view->layers.end()) return true;
    return std::any_of(holds.begin(), holds.end(), [&](const auto& hold) {
      return std::find(hold.second.begin(), hold.second.end(), digest) != hold.second.end();
    });
  }
  bool HasLayers(const Image& image) const {
    return std::all_of(image.layers.begin(), image.layers.end(),
                       [this](const std::string& layer) { return layers->Has(layer); });
  }
  Status LoadImages();
  Status Complete(Image* image) const;
  void DeleteUnused(const std::vector<std::string>& digests);
};

ImageStore::ImageStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
ImageStore::~ImageStore() = default;

StatusOr<std::unique_ptr<ImageStore>> ImageStore::Open(const std::string& root) {
  if (mkdir(root.c_str(), 0711) != 0 && errno != EEXIST) return SyscallError("mkdir", root);
  auto state = std::make_unique<State>();
  state->root = root;
  ASSIGN_OR_RETURN_CONTEXT(state->layers, LayerStore::Open(root), "open the layer store");
  ASSIGN_OR_RETURN_CONTEXT(state->resume, ResumeFiles::Open(root), "open the image store");
  ASSIGN_OR_RETURN_CONTEXT(state->records, ImageRecords::Open(root + "/gantry.db"),
                           "open the image store");
  RETURN_IF_ERROR_CONTEXT(state->LoadImages(), "open the image store");
  return std::unique_ptr<ImageStore>(new ImageStore(std::move(state)));
}

Status ImageStore::State::LoadImages() {
  ASSIGN_OR_RETURN(std::vector<Image> loaded, records->Load());
  // Newest last, so that it wins a name that an older record (hidden for a while, see below) still
  // has.
  std::stable_sort(loaded.begin(), loaded.end(),
                   [](const Image& a, const Image& b) { return a.pulled_at_ns < b.pulled_at_ns; });
  ImageMap images, incomplete;
  for (Image& image : loaded) {
    if (!HasLayers(image)) {
      Log(LogLevel::kWarning, "image not listed: a layer is missing", {{"image", image.id}});
      const std::string id = image.id;
      incomplete[id] = std::make_shared<const Image>(std::move(image));
      continue;
    }
    for (auto& [id, other] : images) {
      if (ImagePtr rest = WithoutNamesOf(image, other)) other = rest;
    }
    const std::string id = image.id;
    images[id] = std::make_shared<const Image>(std::move(image));
  }
  Show(images, incomplete);
  return absl::OkStatus();
}

std::vector<std::shared_ptr<const Image>> ImageStore::List() const {
  std::vector<ImagePtr> all;
  const std::shared_ptr<const View> view = state_->Now();
  for (const auto& [id, image] : view->by_id) all.push_back(image);
  return all;
}

StatusOr<std::shared_ptr<const Image>> ImageStore::Find(absl::string_view reference) const {
  const std::shared_ptr<const View> view = state_->Now();
  if (IsDigest(reference)) {  // of any algorithm
    const auto exact = view->by_id.find(reference);
    return exact == view->by_id.end() ? ImagePtr() : exact->second;
  }
  absl::string_view digits = reference;
  const bool prefixed = absl::ConsumePrefix(&digits, "sha256:");
  if (IsIdPrefix(digits)) {
    const std::string prefix = absl::StrCat("sha256:", digits);
    auto it = view->by_id.lower_bound(prefix);
    if (it != view->by_id.end() && absl::StartsWith(it->first, prefix)) {
      auto next = std::next(it);
      if (next == view->by_id.end() || !absl::StartsWith(next->first, prefix)) return it->second;
      return absl::InvalidArgumentError(
          absl::StrCat("\"", reference, "\" is the beginning of more than one image's ID"));
    }
    if (prefixed || digits.size() == 64) return ImagePtr();
  }
  ASSIGN_OR_RETURN(Reference parsed, ParseReference(reference));
  auto it = view->by_name.find(parsed.digest.empty() ? parsed.Tagged() : parsed.Digested());
  return it == view->by_name.end() ? ImagePtr() : it->second;
}

Status ImageStore::State::Complete(Image* image) const {
  RETURN_IF_ERROR(CheckDigest(image->id));
  SortUnique(&image->repo_tags);
  SortUnique(&image->repo_digests);
  if (image->layers.size() != image->diff_ids.size()) {
    return absl::InvalidArgumentError("layers and diff_ids differ in number");
  }
  std::set<std::string> counted;
  for (size_t i = 0; i < image->layers.size(); ++i) {
    const std::string& digest = image->layers[i];
    StatusOr<LayerInfo> info = layers->Info(digest);
    if (!info.ok()) return absl::FailedPreconditionError(info.status().message());
    if (info->diff_id != image->diff_ids[i]) {
      return absl::DataLossError(
          absl::StrCat("layer ", digest, " is ", info->diff_id, ", not ", image->diff_ids[i]));
    }
    if (counted.insert(digest).second) image->size += info->usage.bytes;
  }
  image->size = std::max<uint64_t>(image->size, 1);  // CRI: greater than 0
  return absl::OkStatus();
}

StatusOr<ImageDocuments> ImageStore::Documents(const std::string& id) const {
  std::lock_guard<std::mutex> writer(state_->writer);
  return state_->records->Documents(id);
}

StatusOr<std::shared_ptr<const Image>> ImageStore::Put(Image image,
                                                       const ImageDocuments& documents) {
  State& s = *state_;
  std::lock_guard<std::mutex> writer(s.writer);
  RETURN_IF_ERROR_CONTEXT(s.Complete(&image), absl::StrCat("record image ", image.id));
  const std::shared_ptr<const View> now = s.Now();
  ImageMap images = now->by_id, incomplete = now->incomplete;
  if (auto have = images.find(image.id); have != images.end()) TakeNames(*have->second, &image);
  std::vector<std::string> before;
  if (auto had = incomplete.find(image.id); had != incomplete.end()) {
    before = had->second->layers;
    TakeNames(FreeNames(*had->second, *now), &image);
    incomplete.erase(had);
  }
  if (auto have = images.find(image.id); have != images.end() && SameButTime(*have->second, image))
    return have->second;
  std::vector<ImagePtr> changed;
  for (auto& [id, other] : images) {
    if (id == image.id) continue;
    if (ImagePtr rest = WithoutNamesOf(image, other)) changed.push_back(other = rest);
  }
  if (auto have = images.find(image.id); have != images.end()) before = have->second->layers;
  ImagePtr merged = std::make_shared<const Image>(std::move(image));
  images[merged->id] = merged;
  changed.push_back(merged);
  RETURN_IF_ERROR(s.records->Apply(changed, {}, {{merged->id, documents}}));
  s.Show(images, incomplete);
  s.DeleteUnused(before);  // the same image by other blobs, recompressed: the old ones go
  return merged;
}

Status ImageStore::Remove(absl::string_view reference) {
  State& s = *state_;
  std::lock_guard<std::mutex> writer(s.writer);
  ASSIGN_OR_RETURN(ImagePtr image, Find(reference));
  const std::shared_ptr<const View> now = s.Now();
  ImageMap images = now->by_id, incomplete = now->incomplete;
  if (image == nullptr) {
    const auto named = std::find_if(incomplete.begin(), incomplete.end(), [&](const auto& entry) {
      return Names(*entry.second, reference);
    });
    if (named == incomplete.end()) return absl::OkStatus();
    image = named->second;
  }
  images.erase(image->id);
  incomplete.erase(image->id);
  RETURN_IF_ERROR(s.records->Apply({}, {image->id}, {}));
  s.Show(images, incomplete);
  s.DeleteUnused(image->layers);
  return absl::OkStatus();
}

std::vector<ImageStore::Damage> ImageStore::Check(bool contents,
                                                  const std::function<bool()>& cancelled) const {
  std::vector<Damage> damaged;
  for (const LayerInfo& info : state_->layers->List()) {
    if (cancelled && cancelled()) break;
    const std::string folder = state_->layers->FolderPath(info.digest);
    Status status = CheckLayer(folder, info, contents);
    if (status.ok() || !HasLayer(info.digest)) continue;  // deleted meanwhile
    Damage damage = {info.digest, {}, std::move(status), info.made_at_ns};
    for (const auto& [id, image] : state_->Now()->by_id) {
      if (std::find(image->layers.begin(), image->layers.end(), info.digest) != image->layers.end())
        damage.images.push_back(id);
    }
    damaged.push_back(std::move(damage));
  }
  return damaged;
}

bool ImageStore::Damage::certain() const {
  return absl::IsDataLoss(what) || absl::IsInvalidArgument(what) || ErrnoOf(what) == ENOENT;
}

Status ImageStore::SetAside(const Damage& damage) {
  if (!damage.certain()) return damage.what;
  State& s = *state_;
  std::lock_guard<std::mutex> writer(s.writer);
  const StatusOr<LayerInfo> now_here = s.layers->Info(damage.layer);
  if (!now_here.ok() || now_here->made_at_ns != damage.made_at_ns) return absl::OkStatus();
  RETURN_IF_ERROR(s.layers->Delete(damage.layer, [] { return true; }));
  const std::shared_ptr<const View> now = s.Now();
  ImageMap images = now->by_id, incomplete = now->incomplete;
  for (const auto& [id, image] : now->by_id) {
    if (s.HasLayers(*image)) continue;
    incomplete[id] = image;
    images.erase(id);
  }
  s.Show(images, incomplete);
  return absl::OkStatus();
}

std::vector<std::shared_ptr<const Image>> ImageStore::Incomplete() const {
  std::vector<ImagePtr> all;
  for (const auto& [id, image] : state_->Now()->incomplete) all.push_back(image);
  return all;
}

// A layer that cannot be deleted now is an orphan that CollectUnused finds again.
void ImageStore::State::DeleteUnused(const std::vector<std::string>& digests) {
  for (const std::string& digest : digests) {
    Status status = layers->Delete(digest, [&] { return !IsUsed(digest); });
    if (status.ok()) continue;
    Log(LogLevel::kWarning, "cannot delete a layer, ignoring",
        {{"layer", digest}, {"reason", std::string(status.message())}});
  }
}

void ImageStore::HoldLayers(const std::string& container_id,
                            const std::vector<std::string>& layers) {
  absl::MutexLock lock(&state_->mutex);
  state_->holds[container_id] = layers;
}

void ImageStore::ReleaseLayers(const std::string& container_id) {
  State& s = *state_;
  std::vector<std::string> layers;
  {
    absl::MutexLock lock(&s.mutex);
    auto it = s.holds.find(container_id);
    if (it == s.holds.end()) return;
    layers = std::move(it->second);
    s.holds.erase(it);
  }
  // Nearly always an image still has them; then no writer is waited for.
  std::erase_if(layers, [&](const std::string& layer) { return s.IsUsed(layer); });
  if (layers.empty()) return;
  std::lock_guard<std::mutex> writer(s.writer);
  s.DeleteUnused(layers);
}

void ImageStore::CollectUnused(std::chrono::seconds age) {
  State& s = *state_;
  s.resume->Collect(kResumeAge);
  const auto now = std::chrono::system_clock::now().time_since_epoch() - age;
  const int64_t limit = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  std::vector<std::string> old;
  for (const LayerInfo& info : s.layers->List()) {
    if (info.made_at_ns <= limit && !s.IsUsed(info.digest)) old.push_back(info.digest);
  }
  std::lock_guard<std::mutex> writer(s.writer);
  s.DeleteUnused(old);
}

ResumeFiles& ImageStore::resume_files() { return *state_->resume; }

bool ImageStore::HasLayer(absl::string_view blob_digest) const {
  return state_->layers->Has(blob_digest);
}

std::string ImageStore::LayerPath(absl::string_view blob_digest) const {
  return state_->layers->TreePath(blob_digest);
}

StatusOr<LayerInfo> ImageStore::Layer(absl::string_view blob_digest) const {
  return state_->layers->Info(blob_digest);
}

Status ImageStore::PublishLayer(const std::string& staging_directory, LayerInfo info) {
  return state_->layers->Publish(staging_directory, std::move(info));
}

StatusOr<std::string> ImageStore::MakeStagingDirectory() {
  return state_->layers->MakeStagingDirectory();
}

Status ImageStore::DropStagingDirectory(const std::string& staging_directory) {
  return state_->layers->DeleteTree(staging_directory);
}

void ImageStore::FlushDeletions() { state_->layers->Flush(); }

Status ImageStore::CheckRoom(uint64_t bytes) const {
  ASSIGN_OR_RETURN(const UniqueFd root, OpenAt(AT_FDCWD, state_->root, O_PATH | O_DIRECTORY));
  return CheckFreeSpace(root.get(), LayerWriterLimits(), bytes);
}

ImageStore::Usage ImageStore::DiskUsage() const {
  const TreeUsage layers = state_->layers->Usage();
  const TreeUsage resume = state_->resume->Usage();
  return {layers.bytes + resume.bytes, layers.inodes + resume.inodes};
}

const std::string& ImageStore::root() const { return state_->root; }

}  // namespace gantry::images
