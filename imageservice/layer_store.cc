#include "imageservice/layer_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include <nlohmann/json.hpp>

#include "imageservice/disk_usage.h"
#include "imageservice/reference.h"
#include "imageservice/trash.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr char kSidecar[] = "layer.json", kOpaqueList[] = "opaque";
constexpr size_t kMaxOpaqueList = 64 << 20;
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

std::string Encode(const LayerInfo& info) {
  return DumpJson({{"version", 1},
                   {"digest", info.digest},
                   {"diff_id", info.diff_id},
                   {"bytes", info.usage.bytes},
                   {"inodes", info.usage.inodes},
                   {"made_at_ns", info.made_at_ns}});
}

StatusOr<LayerInfo> Decode(absl::string_view text) {
  ASSIGN_OR_RETURN(nlohmann::json document, ParseJson(text));
  LayerInfo info;
  uint32_t version = 0;
  Status status;
  JsonReader root(document, status);
  root.Read("version", version);
  root.Read("digest", info.digest);
  root.Read("diff_id", info.diff_id);
  root.Read("bytes", info.usage.bytes);
  root.Read("inodes", info.usage.inodes);
  root.Read("made_at_ns", info.made_at_ns);
  RETURN_IF_ERROR(status);
  if (version != 1) return absl::InvalidArgumentError(absl::StrCat("unknown version ", version));
  RETURN_IF_ERROR(CheckDigest(info.digest));
  RETURN_IF_ERROR(CheckDigest(info.diff_id));
  return info;
}

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

int64_t NowNs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return SyscallError("mkdir", path);
}

}  // namespace

Status MarkOpaque(int tree, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    open_how how = {};
    how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
    const char* name = path.empty() ? "." : path.c_str();
    UniqueFd fd(static_cast<int>(syscall(SYS_openat2, tree, name, &how, sizeof(how))));
    const std::string shown = absl::CHexEscape(path.substr(0, 256));
    if (!fd.valid()) return SyscallError("openat2", shown);
    if (fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
      return SyscallError("fsetxattr trusted.overlay.opaque", shown);
    }
  }
  return absl::OkStatus();
}

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
  Status Prepare(const std::string& path, LayerInfo* info) const;
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
  ASSIGN_OR_RETURN(UniqueFd folder, OpenAt(AT_FDCWD, absl::StrCat(layers, "/", name), kDirectory));
  ASSIGN_OR_RETURN(std::string text, ReadFileAt(folder.get(), kSidecar));
  ASSIGN_OR_RETURN(LayerInfo info, Decode(text));
  if (DigestFileName(info.digest) != name) {
    return absl::DataLossError(absl::StrCat("it says it is ", info.digest));
  }
  RETURN_IF_ERROR(OpenAt(folder.get(), "fs", kDirectory).status());
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

Status LayerStore::State::Prepare(const std::string& path, LayerInfo* info) const {
  ASSIGN_OR_RETURN(UniqueFd folder, OpenAt(AT_FDCWD, path, kDirectory));
  ASSIGN_OR_RETURN(UniqueFd tree, OpenAt(folder.get(), "fs", kDirectory));
  StatusOr<std::string> list = absl::StatusOr<std::string>("");
  // O_NOFOLLOW: the unpacker made this file and can have made a link of it.
  StatusOr<UniqueFd> file = OpenAt(folder.get(), kOpaqueList, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file.ok()) {
    ASSIGN_OR_RETURN(list, ReadAll(file->get(), kOpaqueList, kMaxOpaqueList));
    const std::vector<std::string> paths =
        absl::StrSplit(absl::StripSuffix(*list, absl::string_view("\0", 1)), '\0');
    if (!list->empty()) RETURN_IF_ERROR(MarkOpaque(tree.get(), paths));
    if (unlinkat(folder.get(), kOpaqueList, 0) != 0) return SyscallError("unlink", kOpaqueList);
  } else if (ErrnoOf(file.status()) != ENOENT) {
    return file.status();
  }
  if (info->usage.bytes == 0 || info->usage.inodes == 0) {
    ASSIGN_OR_RETURN(TreeUsage measured, MeasureTree(path + "/fs"));
    if (info->usage.bytes == 0) info->usage.bytes = measured.bytes;
    if (info->usage.inodes == 0) info->usage.inodes = measured.inodes;
  }
  info->made_at_ns = NowNs();
  RETURN_IF_ERROR(RemoveTree(folder.get(), kSidecar));
  RETURN_IF_ERROR(CreateFileAt(folder.get(), kSidecar, Encode(*info), 0600));
  // Content, names and sidecar at once; one call for all files, where fsync would be one for each.
  if (syncfs(folder.get()) != 0) return SyscallError("syncfs", path);
  return absl::OkStatus();
}

Status LayerStore::Publish(const std::string& staging, LayerInfo info) {
  State& s = *state_;
  RETURN_IF_ERROR(CheckDigest(info.digest));
  RETURN_IF_ERROR(CheckDigest(info.diff_id));
  RETURN_IF_ERROR(s.CheckStaging(staging));
  if (s.Has(info.digest)) return s.trash->Throw(staging, {});
  RETURN_IF_ERROR_CONTEXT(s.Prepare(staging, &info), absl::StrCat("publish layer ", info.digest));
  const std::string place = s.Folder(info.digest);
  std::lock_guard<std::mutex> lock(s.rename_mutex);
  if (s.Has(info.digest)) return s.trash->Throw(staging, {});
  if (renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) != 0) {
    return SyscallError("rename", place);
  }
  ASSIGN_OR_RETURN(UniqueFd parent, OpenAt(AT_FDCWD, s.layers, kDirectory));
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

std::string LayerStore::TreePath(absl::string_view digest) const {
  return state_->Folder(digest) + "/fs";
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
  return s.trash->Throw(s.Folder(info.digest), info.usage);
}

Status LayerStore::DeleteTree(const std::string& path) { return state_->trash->Throw(path, {}); }

void LayerStore::Flush() { state_->trash->Flush(); }

TreeUsage LayerStore::Usage() const { return state_->usage.Total(); }

}  // namespace gantry::images
