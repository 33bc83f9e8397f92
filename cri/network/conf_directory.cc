#include "cri/network/conf_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"
#include "runtime/linux/file_stamp.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxFiles = 256;  // of a folder that holds one, as a rule

bool IsCandidate(absl::string_view name) {
  return absl::EndsWith(name, ".conf") || absl::EndsWith(name, ".conflist") ||
         absl::EndsWith(name, ".json");
}

std::vector<std::string> NamesIn(const std::string& path, bool (*wanted)(absl::string_view)) {
  std::vector<std::string> names;
  const DirectoryStream dir(opendir(path.c_str()));
  if (dir == nullptr) return names;
  for (dirent* entry = readdir(dir.get()); entry != nullptr; entry = readdir(dir.get())) {
    if (wanted(entry->d_name) && names.size() < kMaxFiles) names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool IsPlugin(absl::string_view name) { return absl::EndsWith(name, ".conf"); }

bool IsFolder(absl::string_view name) { return name.find('.') == absl::string_view::npos; }

void Print(const std::string& path, std::string& fingerprint) {
  struct stat info = {};
  (void)stat(path.c_str(), &info);
  absl::StrAppend(&fingerprint, path, "/", FileStamp(info), "\n");
}

StatusOr<CniConfig> ReadConfig(const std::string& folder, const std::string& name) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, absl::StrCat(folder, "/", name)));
  std::vector<std::string> more;
  const std::string plugins = CniPluginFolder(text);
  if (!plugins.empty()) {
    const std::string path = absl::StrCat(folder, "/", plugins);
    for (const std::string& file : NamesIn(path, IsPlugin)) {
      ASSIGN_OR_RETURN(more.emplace_back(), ReadFileAt(AT_FDCWD, absl::StrCat(path, "/", file)));
    }
  }
  return ParseCniConfig(text, more);
}

}  // namespace

ConfDirectory::ConfDirectory(std::string path, Options options, Logger log)
    : path_(std::move(path)),
      options_(options),
      log_(std::move(log)),
      watch_(path_, options.watch, [this] { Reload(); }) {
  Reload();
}

ConfDirectory::Listing ConfDirectory::List() const {
  Listing listing;
  listing.names = NamesIn(path_, IsCandidate);
  for (const std::string& name : listing.names) {
    Print(absl::StrCat(path_, "/", name), listing.fingerprint);
  }
  // A name with a dot is possible too; its files are then seen when the list itself is touched.
  for (const std::string& folder : NamesIn(path_, IsFolder)) {
    for (const std::string& file : NamesIn(absl::StrCat(path_, "/", folder), IsPlugin))
      Print(absl::StrCat(path_, "/", folder, "/", file), listing.fingerprint);
  }
  return listing;
}

ConfDirectory::Snapshot ConfDirectory::Read(const Listing& listing, const Snapshot& last) const {
  Snapshot next;
  next.fingerprint = listing.fingerprint;
  std::string problems;
  for (const std::string& name : listing.names) {
    StatusOr<CniConfig> config = ReadConfig(path_, name);
    if (config.ok() && next.in_force.config == nullptr) {
      next.in_force.config = std::make_shared<const CniConfig>(*std::move(config));
      next.in_force.file = name;
    }
    if (config.ok()) continue;
    absl::StrAppend(&problems, problems.empty() ? "" : "; ", name, ": ", config.status().message());
  }
  next.in_force.problem = problems;
  if (next.in_force.config != nullptr) return next;
  next.in_force = last.in_force;
  if (!listing.names.empty()) {
    next.in_force.problem = absl::StrCat("no valid CNI configuration in ", path_, ": ", problems);
    return next;
  }
  next.in_force.problem = absl::StrCat(
      "no CNI configuration in ", path_,
      "; install a network plugin, or write one with `gantry config network --bridge`");
  next.kept_until = last.kept_until.value_or(Deadline::After(options_.grace));
  if (next.kept_until->Passed()) next.in_force.config = nullptr;
  return next;
}

void ConfDirectory::Report(const Snapshot& now, const Snapshot& last) const {
  const ConfInForce& here = now.in_force;
  if (!here.problem.empty() && here.problem != last.in_force.problem) {
    log_.Warning(here.config == nullptr ? "there is no CNI network"
                                        : "CNI configuration, ignoring what is bad",
                 {{"reason", here.problem}});
  }
  if (here.config != nullptr && here.config != last.in_force.config) {
    log_.Info("CNI network in force", {{"network", here.config->name}, {"file", here.file}});
  }
}

void ConfDirectory::Reload() {
  const Listing listing = List();
  Snapshot last;
  {
    absl::MutexLock lock(&mutex_);
    last = snapshot_;
  }
  if (!listing.names.empty() && listing.fingerprint == last.fingerprint) return;
  const Snapshot now = Read(listing, last);
  Report(now, last);
  absl::MutexLock lock(&mutex_);
  snapshot_ = now;
}

StatusOr<std::shared_ptr<const CniConfig>> ConfDirectory::Current() const {
  ConfInForce now = InForce();
  if (now.config == nullptr) return absl::UnavailableError(now.problem);
  return std::move(now.config);
}

ConfInForce ConfDirectory::InForce() const {
  absl::MutexLock lock(&mutex_);
  return snapshot_.in_force;
}

}  // namespace gantry::cri
