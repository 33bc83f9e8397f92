#include "imageservice/resume_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "imageservice/reference.h"
#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr uint64_t kMinReserve = 1 << 30;
constexpr uint64_t kReserveShare = 20;  // a twentieth
constexpr auto kLockPatience = std::chrono::seconds(2);
constexpr auto kLockTick = std::chrono::milliseconds(20);

std::string NameOf(const std::string& digest) { return absl::StrReplaceAll(digest, {{":", "-"}}); }

std::string DigestOfName(const std::string& name) {
  const size_t dash = name.find('-');
  return dash == std::string::npos ? ""
                                   : absl::StrCat(name.substr(0, dash), ":", name.substr(dash + 1));
}

uint64_t Allocated(const struct stat& info) { return static_cast<uint64_t>(info.st_blocks) * 512; }

// A puller whose gantryd was killed sees the end of its socket and goes: it is waited for.
bool Lock(const UniqueFd& file) {
  const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR && std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kLockTick);
  }
  return true;
}

}  // namespace

StatusOr<std::unique_ptr<ResumeFiles>> ResumeFiles::Open(const std::string& root) {
  const std::string path = absl::StrCat(root, "/resume");
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return SyscallError("mkdir", path);
  ASSIGN_OR_RETURN(UniqueFd folder, OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::unique_ptr<ResumeFiles> files(new ResumeFiles(std::move(folder)));
  RETURN_IF_ERROR(files->Learn());
  return files;
}

Status ResumeFiles::Learn() {
  const int listing = openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listing < 0) return SyscallError("open", "resume");
  const DirectoryStream entries(fdopendir(listing));
  if (entries == nullptr) return SyscallError("fdopendir", "resume");
  while (const struct dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    struct stat info;
    if (name == "." || name == "..") continue;
    if (fstatat(folder_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const std::string digest = DigestOfName(name);
    if (S_ISREG(info.st_mode) && IsDigest(digest)) {
      files_[digest].bytes = Allocated(info);
    } else {
      unlinkat(folder_.get(), name.c_str(), S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
    }
  }
  return absl::OkStatus();
}

bool ResumeFiles::HasRoom(uint64_t bytes) const {
  struct statvfs disk;
  if (fstatvfs(folder_.get(), &disk) != 0) return false;
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  const uint64_t all = static_cast<uint64_t>(disk.f_blocks) * disk.f_frsize;
  return free >= bytes && free - bytes >= std::max(kMinReserve, all / kReserveShare);
}

StatusOr<UniqueFd> ResumeFiles::Take(const std::string& digest, uint64_t size) {
  const std::string name = NameOf(digest);
  {
    const std::lock_guard lock(mutex_);
    File& file = files_[digest];
    if (file.taken) return absl::UnavailableError("another puller writes it");
    file.taken = true;
    const uint64_t rest = size - std::min(size, file.bytes);
    if (!HasRoom(rest)) CollectLocked(std::chrono::seconds(0));
    if (!HasRoom(rest)) {
      RemoveLocked(digest);
      return absl::ResourceExhaustedError("the disk has no room for a copy of the blob");
    }
  }
  StatusOr<UniqueFd> file = OpenAt(folder_.get(), name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (file.ok() && Lock(*file)) {
    Measure(digest, *file);
    return file;
  }
  const std::lock_guard lock(mutex_);
  files_[digest].taken = false;
  return file.ok() ? absl::UnavailableError("another puller writes it") : file.status();
}

void ResumeFiles::Measure(const std::string& digest, const UniqueFd& file) {
  struct stat info;
  if (!file.valid() || fstat(file.get(), &info) != 0) return;
  const std::lock_guard lock(mutex_);
  const auto known = files_.find(digest);
  if (known != files_.end()) known->second.bytes = Allocated(info);
}

void ResumeFiles::Settle(const std::string& digest) {
  struct stat info;
  const std::lock_guard lock(mutex_);
  const auto file = files_.find(digest);
  if (file == files_.end()) return;
  file->second.taken = false;
  if (fstatat(folder_.get(), NameOf(digest).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 ||
      info.st_size == 0) {
    RemoveLocked(digest);
  } else {
    file->second.bytes = Allocated(info);
  }
}

void ResumeFiles::Remove(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  RemoveLocked(digest);
}

void ResumeFiles::RemoveLocked(const std::string& digest) {
  if (files_.erase(digest) > 0) unlinkat(folder_.get(), NameOf(digest).c_str(), 0);
}

void ResumeFiles::Collect(std::chrono::seconds age) {
  const std::lock_guard lock(mutex_);
  CollectLocked(age);
}

void ResumeFiles::CollectLocked(std::chrono::seconds age) {
  const time_t limit = time(nullptr) - static_cast<time_t>(age.count());
  std::vector<std::string> old;
  for (const auto& [digest, file] : files_) {
    struct stat info;
    const bool there =
        fstatat(folder_.get(), NameOf(digest).c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (!file.taken && (!there || info.st_mtime <= limit)) old.push_back(digest);
  }
  for (const std::string& digest : old) RemoveLocked(digest);
}

TreeUsage ResumeFiles::Usage() const {
  TreeUsage usage;
  const std::lock_guard lock(mutex_);
  for (const auto& [digest, file] : files_) {
    usage.bytes += file.bytes;
    ++usage.inodes;
  }
  return usage;
}

}  // namespace gantry::images
