#include "cri/network/conf_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxFiles = 256;  // of a folder that holds one, as a rule

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

bool IsCandidate(absl::string_view name) {
  return absl::EndsWith(name, ".conf") || absl::EndsWith(name, ".conflist") ||
         absl::EndsWith(name, ".json");
}

StatusOr<CniConfig> ReadConfig(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, path));
  return ParseCniConfig(text);
}

}  // namespace

ConfDirectory::ConfDirectory(std::string path, absl::Duration grace)
    : path_(std::move(path)), grace_(grace) {}

ConfDirectory::Listing ConfDirectory::List() const {
  Listing listing;
  const std::unique_ptr<DIR, DirCloser> dir(opendir(path_.c_str()));
  if (dir == nullptr) return listing;
  for (dirent* entry = readdir(dir.get()); entry != nullptr; entry = readdir(dir.get())) {
    if (IsCandidate(entry->d_name) && listing.names.size() < kMaxFiles) {
      listing.names.emplace_back(entry->d_name);
    }
  }
  std::sort(listing.names.begin(), listing.names.end());
  for (const std::string& name : listing.names) {
    struct stat info = {};
    (void)fstatat(dirfd(dir.get()), name.c_str(), &info, 0);
    absl::StrAppend(&listing.fingerprint, name, "/", info.st_ino, "/", info.st_size, "/",
                    info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, "/", info.st_ctim.tv_sec, ".",
                    info.st_ctim.tv_nsec, "\n");
  }
  return listing;
}

ConfDirectory::Snapshot ConfDirectory::Read(const Listing& listing, const Snapshot& last) const {
  Snapshot next;
  next.fingerprint = listing.fingerprint;
  std::string problems;
  for (const std::string& name : listing.names) {
    StatusOr<CniConfig> config = ReadConfig(absl::StrCat(path_, "/", name));
    if (config.ok()) {
      next.config = std::make_shared<const CniConfig>(*std::move(config));
      return next;
    }
    absl::StrAppend(&problems, problems.empty() ? "" : "; ", name, ": ", config.status().message());
  }
  next.config = last.config;
  if (!listing.names.empty()) {
    next.problem = absl::StrCat("no valid CNI configuration in ", path_, ": ", problems);
    return next;
  }
  next.problem = absl::StrCat("no CNI configuration in ", path_,
                              "; install a network plugin, or put a .conflist there");
  next.empty_since = std::min(last.empty_since, absl::Now());
  if (absl::Now() - next.empty_since >= grace_) next.config = nullptr;
  return next;
}

StatusOr<std::shared_ptr<const CniConfig>> ConfDirectory::Current() {
  const Listing listing = List();
  Snapshot snapshot;
  {
    absl::MutexLock lock(&mutex_);
    snapshot = snapshot_;
  }
  if (listing.names.empty() || listing.fingerprint != snapshot.fingerprint) {
    snapshot = Read(listing, snapshot);
    absl::MutexLock lock(&mutex_);
    snapshot_ = snapshot;
  }
  if (snapshot.config == nullptr) return absl::UnavailableError(snapshot.problem);
  return snapshot.config;
}

}  // namespace gantry::cri
