#include "runtime/cdi/registry.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "runtime/cdi/names.h"
#include "runtime/cdi/parse.h"
#include "runtime/linux/file.h"
#include "runtime/linux/file_stamp.h"

namespace gantry::cdi {
namespace {

constexpr size_t kLargestFile = 4 << 20;
constexpr size_t kNearMatches = 5;

StatusOr<SpecFile> Load(const UniqueFd& file, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadAll(file.get(), path, kLargestFile));
  return ParseSpecFile(text, path);
}

}  // namespace

void Registry::LookThrough(size_t priority, std::map<std::string, Entry>* found) {
  std::error_code none;
  for (const auto& item : std::filesystem::directory_iterator(directories_[priority], none)) {
    const std::string path = item.path();
    if (!absl::EndsWith(path, ".json") && !absl::EndsWith(path, ".yaml")) continue;
    // Not to be held up by a FIFO that somebody has put there.
    const auto file = OpenAt(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
    struct stat info = {};
    if (!file.ok() || fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    Entry entry;
    entry.stamp = FileStamp(info);
    const auto known = files_.find(path);
    if (known != files_.end() && known->second.stamp == entry.stamp) {
      entry.file = known->second.file;
    } else {
      LoadedFile loaded{path, priority, Load(*file, path)};
      entry.file = std::make_shared<const LoadedFile>(std::move(loaded));
    }
    found->emplace(path, std::move(entry));
  }
}

void Registry::Refresh() {
  std::map<std::string, Entry> found;
  for (size_t i = 0; i < directories_.size(); ++i) LookThrough(i, &found);
  files_ = std::move(found);
  Index();
}

void Registry::Index() {
  devices_.clear();
  conflicts_.clear();
  for (const auto& [path, entry] : files_) {
    if (!entry.file->spec.ok()) continue;
    for (const Device& device : entry.file->spec->devices) {
      const std::string name = absl::StrCat(entry.file->spec->kind, "=", device.name);
      const auto other = devices_.find(name);
      if (other == devices_.end() || other->second.file->priority < entry.file->priority) {
        devices_[name] = {entry.file, &device};
        conflicts_.erase(name);
      } else if (other->second.file->priority == entry.file->priority) {
        conflicts_[name] = absl::StrCat(other->second.file->path, " and ", path);
      }
    }
  }
  for (const auto& conflict : conflicts_) devices_.erase(conflict.first);
}

StatusOr<std::vector<Found>> Registry::Find(const std::vector<std::string>& names) {
  for (const std::string& name : names) RETURN_IF_ERROR(ParseQualifiedName(name).status());
  absl::MutexLock lock(&mutex_);
  Refresh();
  std::vector<Found> found;
  std::vector<std::string> missing;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second) continue;
    const auto device = devices_.find(name);
    if (device == devices_.end())
      missing.push_back(name);
    else
      found.push_back(device->second);
  }
  if (missing.empty()) return found;
  return absl::FailedPreconditionError(Explanation(missing));
}

std::string Registry::Explanation(const std::vector<std::string>& missing) const {
  std::string text = absl::StrCat("unresolvable CDI devices ", absl::StrJoin(missing, ", "),
                                  " (looked in ", absl::StrJoin(directories_, ", "), ")");
  for (const std::string& name : missing) {
    if (const auto conflict = conflicts_.find(name); conflict != conflicts_.end())
      absl::StrAppend(&text, "; \"", name, "\" is in both ", conflict->second);
    const std::string kind = name.substr(0, name.find('=') + 1);
    std::vector<std::string> near;
    for (auto it = devices_.lower_bound(kind);
         it != devices_.end() && absl::StartsWith(it->first, kind) && near.size() < kNearMatches;
         ++it)
      near.push_back(it->first);
    if (!near.empty()) absl::StrAppend(&text, "; there are ", absl::StrJoin(near, ", "));
  }
  for (const auto& [path, entry] : files_)
    if (!entry.file->spec.ok())
      absl::StrAppend(&text, "; ", path, " cannot be used: ", entry.file->spec.status().message());
  return text;
}

std::vector<std::string> Registry::Errors() {
  absl::MutexLock lock(&mutex_);
  Refresh();
  std::vector<std::string> errors;
  for (const auto& [path, entry] : files_)
    if (!entry.file->spec.ok())
      errors.push_back(absl::StrCat(path, ": ", entry.file->spec.status().message()));
  for (const auto& [name, both] : conflicts_)
    errors.push_back(absl::StrCat("device \"", name, "\" is in both ", both));
  return errors;
}

}  // namespace gantry::cdi
