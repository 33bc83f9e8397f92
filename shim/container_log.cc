#include "shim/container_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

#include "runtime/linux/file.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxParts = 1024;  // IOV_MAX

// O_NONBLOCK: a FIFO in the file's place must not hang the pump. It means nothing to a regular
// file.
StatusOr<UniqueFd> OpenLog(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  auto file = OpenAt(AT_FDCWD, path, kFlags, 0640);
  const size_t slash = path.rfind('/');
  if (!file.ok() && ErrnoOf(file.status()) == ENOENT && slash != std::string::npos && slash > 0) {
    RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, path.substr(0, slash), 0755).status());
    file = OpenAt(AT_FDCWD, path, kFlags, 0640);
  }
  RETURN_IF_ERROR(file.status());
  struct stat info {};
  if (fstat(file->get(), &info) != 0) return SyscallError("fstat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InternalError(absl::StrCat("open ", path, ": not a regular file"));
  }
  return file;
}

iovec Part(absl::string_view bytes) { return {const_cast<char*>(bytes.data()), bytes.size()}; }

size_t TotalSize(const std::vector<iovec>& parts, size_t from) {
  size_t total = 0;
  for (size_t i = from; i < parts.size(); ++i) total += parts[i].iov_len;
  return total;
}

// Skips `size` bytes; returns the index of the first part that has some left.
size_t Advance(std::vector<iovec>* parts, size_t index, size_t size) {
  while (index < parts->size() && size >= (*parts)[index].iov_len) {
    size -= (*parts)[index].iov_len;
    ++index;
  }
  if (size > 0) {
    iovec& part = (*parts)[index];
    part.iov_base = static_cast<char*>(part.iov_base) + size;
    part.iov_len -= size;
  }
  return index;
}

}  // namespace

std::string LogTimestamp(int64_t unix_ns) {
  const absl::Time time = absl::FromUnixNanos(unix_ns);
  const absl::CivilSecond civil = absl::ToCivilSecond(time, absl::UTCTimeZone());
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", civil.year(), civil.month(),
                         civil.day(), civil.hour(), civil.minute(), civil.second(),
                         unix_ns % 1'000'000'000);
}

Status LogFile::Open(const std::string& path) {
  path_ = path;
  return Reopen();
}

void LogFile::RemoveIfEmpty() const {
  struct stat ours {};
  struct stat there {};
  if (!file_.valid() || fstat(file_.get(), &ours) != 0 || ours.st_size != 0) return;
  // Another file may have been put there.
  if (lstat(path_.c_str(), &there) != 0 || there.st_ino != ours.st_ino) return;
  (void)unlink(path_.c_str());  // it is no more than untidy
}

Status LogFile::Reopen() {
  ASSIGN_OR_RETURN_CONTEXT(file_, OpenLog(path_), "log file");
  torn_ = false;
  return absl::OkStatus();
}

void LogFile::Write(std::vector<iovec>* parts) {
  // The reader of the log loses the broken line, not the one after it.
  if (torn_) parts->insert(parts->begin(), Part("\n"));
  size_t index = 0;
  while (index < parts->size()) {
    const size_t count = std::min(parts->size() - index, kMaxParts);
    const ssize_t written = writev(file_.get(), parts->data() + index, static_cast<int>(count));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      dropped_bytes_ += TotalSize(*parts, index);
      torn_ = torn_ || index > 0;
      return;
    }
    index = Advance(parts, index, static_cast<size_t>(written));
  }
  torn_ = false;
}

std::string LineCutter::Header(int64_t unix_ns, char tag) const {
  return absl::StrCat(LogTimestamp(unix_ns), " ", stream_, " ", std::string(1, tag), " ");
}

void LineCutter::Write(absl::string_view data, int64_t unix_ns, LogFile* file) {
  const std::string full = Header(unix_ns, 'F');
  std::string partial;  // made when needed: long lines are rare
  std::vector<iovec> parts;
  const std::string before = std::exchange(rest_, {});
  size_t carried = before.size();  // of the piece in hand; it stands before `data`
  while (!data.empty()) {
    const size_t newline = data.substr(0, kMaxLogLine - carried + 1).find('\n');
    // A line of exactly the limit is not cut: the byte behind it decides.
    if (newline == absl::string_view::npos && carried + data.size() <= kMaxLogLine) break;
    const bool cut = newline == absl::string_view::npos;
    if (cut && partial.empty()) partial = Header(unix_ns, 'P');
    parts.push_back(Part(cut ? partial : full));
    if (carried > 0) parts.push_back(Part(before));
    const size_t take = cut ? kMaxLogLine - carried : newline + 1;
    if (take > 0) parts.push_back(Part(data.substr(0, take)));
    if (cut) parts.push_back(Part("\n"));
    data.remove_prefix(take);
    carried = 0;
  }
  if (carried > 0) rest_ = before;
  rest_.append(data.data(), data.size());
  if (!parts.empty()) file->Write(&parts);
}

void LineCutter::Finish(int64_t unix_ns, LogFile* file) {
  if (rest_.empty()) return;
  const std::string header = Header(unix_ns, 'P');
  std::vector<iovec> parts = {Part(header), Part(rest_), Part("\n")};
  file->Write(&parts);
  rest_ = {};
}

}  // namespace gantry::shim
