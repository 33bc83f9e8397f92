#include "imageservice/layer_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"

#include "imageservice/disk_usage.h"
#include "imageservice/layer_publish.h"
#include "imageservice/reference.h"
#include "imageservice/trash.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

StatusOr<std::vector<std::string>> Names(const std::string& directory) {
  DIR* stream = opendir(directory.c_str());  // close-on-exec
  if (stream == nullptr) return SyscallError("opendir", directory);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(stream)) {
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(stream);
  return names;
}

Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return SyscallError("mkdir", path);
}

}  // namespace

struct LayerStore::State {
  std::string layers, staging;
  DiskUsageCounter usage;
  std::unique_ptr<Trash> trash;

  // Held while a layer's name appears or goes, with the rename; never asked for by readers.
  std::mutex rename_mutex;

  mutable absl::Mutex mutex;
  std::map<std::string, LayerInfo, std::less<>> known ABSL_GUARDED_BY(mutex);

  std::string Folder(absl::string_view digest) const {
    return absl::StrCat(layers, "/", DigestFileName(digest));
  }
  bool Has(absl::string_view digest) const {
    absl::MutexLock lock(&mutex);
    return known.find(std::string(digest)) != known.end();
  }
  void Learn(const LayerInfo& info) {
    usage.Add(info.usage);
    absl::MutexLock lock(&mutex);
    known[info.digest] = info;
  }
  StatusOr<LayerInfo> ReadLayer(const std::string& name) const;
  Status ReadLayers();
  Status CheckStaging(const std::string& path) const;
  Status TakePlace(const std::string& from, const std::string& place);
};

LayerStore::LayerStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerStore::~LayerStore() = default;

StatusOr<std::unique_ptr<LayerStore>> LayerStore::Open(const std::string& root) {
  auto state = std::make_unique<State>();
  state->layers = root + "/layers";
  state->staging = root + "/staging";
  RETURN_IF_ERROR(MakeDirectory(state->layers));
  RETURN_IF_ERROR(MakeDirectory(state->staging));
  ASSIGN_OR_RETURN(state->trash, Trash::Open(state->staging, &state->usage));
  ASSIGN_OR_RETURN(std::vector<std::string> leftovers, Names(state->staging));
  for (const std::string& name : leftovers) {
    RETURN_IF_ERROR(state->trash->Throw(absl::StrCat(state->staging, "/", name), {}));
  }
  RETURN_IF_ERROR(state->ReadLayers());
  return std::unique_ptr<LayerStore>(new LayerStore(std::move(state)));
}

StatusOr<LayerInfo> LayerStore::State::ReadLayer(const std::string& name) const {
  ASSIGN_OR_RETURN(UniqueFd folder, OpenAt(AT_FDCWD, absl::StrCat(layers, "/", name), kFolder));
  ASSIGN_OR_RETURN(LayerInfo info, ReadLayerRecord(folder.get()));
  if (DigestFileName(info.digest) != name) {
    return absl::DataLossError(absl::StrCat("it says it is ", info.digest));
  }
  return info;
}

Status LayerStore::State::ReadLayers() {
  ASSIGN_OR_RETURN(std::vector<std::string> names, Names(layers));
  for (const std::string& name : names) {
    StatusOr<LayerInfo> info = ReadLayer(name);
    if (info.ok()) {
      Learn(*info);
      continue;
    }
    Log(LogLevel::kError, "damaged layer thrown away",
        {{"layer", absl::CHexEscape(name)}, {"reason", std::string(info.status().message())}});
    RETURN_IF_ERROR(trash->Throw(absl::StrCat(layers, "/", name), {}));
  }
  return absl::OkStatus();
}

StatusOr<std::string> LayerStore::MakeStagingDirectory() {
  std::string path = state_->staging + "/new-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return SyscallError("mkdtemp", path);
  return path;
}

Status LayerStore::State::CheckStaging(const std::string& path) const {
  absl::string_view name = path;
  if (absl::ConsumePrefix(&name, absl::StrCat(staging, "/new-")) && !name.empty() &&
      name.find('/') == absl::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" is no staging directory"));
}

// What has the name and is not known was left by a publication that failed after its rename.
Status LayerStore::State::TakePlace(const std::string& from, const std::string& place) {
  const auto rename = [&] {
    return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) == 0;
  };
  if (rename()) return absl::OkStatus();
  if (errno == EEXIST) {
    RETURN_IF_ERROR(trash->Throw(place, {}));
    if (rename()) return absl::OkStatus();
  }
  return SyscallError("rename", place);
}

Status LayerStore::Publish(const std::string& staging, LayerInfo info) {
  State& s = *state_;
  RETURN_IF_ERROR(CheckDigest(info.digest));
  RETURN_IF_ERROR(CheckDigest(info.diff_id));
  RETURN_IF_ERROR(s.CheckStaging(staging));
  if (s.Has(info.digest)) return s.trash->Throw(staging, {});
  RETURN_IF_ERROR_CONTEXT(PrepareLayer(staging, &info),
                          absl::StrCat("publish layer ", info.digest));
  const std::string place = s.Folder(info.digest);
  std::lock_guard<std::mutex> lock(s.rename_mutex);
  if (s.Has(info.digest)) return s.trash->Throw(staging, {});
  RETURN_IF_ERROR(s.TakePlace(staging, place));
  ASSIGN_OR_RETURN(UniqueFd parent, OpenAt(AT_FDCWD, s.layers, kFolder));
  if (fsync(parent.get()) != 0) return SyscallError("fsync", s.layers);
  s.Learn(info);
  return absl::OkStatus();
}

bool LayerStore::Has(absl::string_view digest) const { return state_->Has(digest); }

StatusOr<LayerInfo> LayerStore::Info(absl::string_view digest) const {
  absl::MutexLock lock(&state_->mutex);
  auto it = state_->known.find(std::string(digest));
  if (it != state_->known.end()) return it->second;
  return absl::NotFoundError(absl::StrCat("layer ", digest, " is not here"));
}

std::vector<LayerInfo> LayerStore::List() const {
  absl::MutexLock lock(&state_->mutex);
  std::vector<LayerInfo> all;
  for (const auto& [digest, info] : state_->known) all.push_back(info);
  return all;
}

std::string LayerStore::FolderPath(absl::string_view digest) const {
  return state_->Folder(digest);
}

std::string LayerStore::TreePath(absl::string_view digest) const {
  return absl::StrCat(state_->Folder(digest), "/", kLayerTree);
}

Status LayerStore::Delete(absl::string_view digest, absl::FunctionRef<bool()> unused) {
  State& s = *state_;
  std::lock_guard<std::mutex> lock(s.rename_mutex);
  LayerInfo info;
  {
    absl::MutexLock known(&s.mutex);
    auto it = s.known.find(std::string(digest));
    if (it == s.known.end()) return absl::OkStatus();
    info = it->second;
  }
  if (!unused()) return absl::OkStatus();
  {
    absl::MutexLock known(&s.mutex);
    s.known.erase(info.digest);
  }
  const Status thrown = s.trash->Throw(s.Folder(info.digest), info.usage);
  if (thrown.ok()) return thrown;
  absl::MutexLock known(&s.mutex);
  s.known[info.digest] = info;  // it is still there
  return thrown;
}

Status LayerStore::DeleteTree(const std::string& path) { return state_->trash->Throw(path, {}); }

void LayerStore::Flush() { state_->trash->Flush(); }

TreeUsage LayerStore::Usage() const { return state_->usage.Total(); }

}  // namespace gantry::images
