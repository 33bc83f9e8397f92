#include "shim/container_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

#include "runtime/linux/file.h"

namespace gantry::shim {
namespace {

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

size_t LogFile::WriteWhatFits(absl::string_view bytes) const {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t written = write(file_.get(), bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  return done;
}

void LogFile::Write(absl::string_view records) {
  // The reader of the log loses the broken line, not the one after it.
  if (torn_ && WriteWhatFits("\n") == 1) torn_ = false;
  const size_t done = torn_ ? 0 : WriteWhatFits(records);
  dropped_bytes_ += records.size() - done;
  if (done > 0) torn_ = records[done - 1] != '\n';
}

void RecordBuffer::Append(absl::string_view bytes) {
  if (bytes.empty()) return;
  memcpy(memory_ + used_, bytes.data(), bytes.size());
  used_ += bytes.size();
}

std::string LineCutter::Header(int64_t unix_ns, char tag) const {
  return absl::StrCat(LogTimestamp(unix_ns), " ", stream_, " ", std::string(1, tag), " ");
}

void LineCutter::Put(absl::string_view header, absl::string_view more, LogFile* file) {
  if (!buffer_.Fits(header.size() + rest_.size() + more.size() + 1)) Flush(file);
  for (const absl::string_view part : {header, absl::string_view(rest_), more, {"\n"}})
    buffer_.Append(part);
  if (!rest_.empty()) rest_ = std::string();  // with its memory
}

void LineCutter::Flush(LogFile* file) {
  if (!buffer_.records().empty()) file->Write(buffer_.records());
  buffer_.Clear();
}

void LineCutter::Write(absl::string_view data, int64_t unix_ns, LogFile* file) {
  const std::string full = Header(unix_ns, 'F');
  std::string partial;  // made when needed: long lines are rare
  while (!data.empty()) {
    const size_t room = kMaxLogLine - rest_.size();
    const size_t newline = data.substr(0, room + 1).find('\n');
    const bool whole = newline != absl::string_view::npos;
    // A line of exactly the limit is not cut: the byte behind it decides.
    if (!whole && data.size() <= room) break;
    if (!whole && partial.empty()) partial = Header(unix_ns, 'P');
    const size_t take = whole ? newline : room;
    Put(whole ? full : partial, data.substr(0, take), file);
    data.remove_prefix(whole ? take + 1 : take);
  }
  rest_.append(data.data(), data.size());
  Flush(file);
}

void LineCutter::Finish(int64_t unix_ns, LogFile* file) {
  if (rest_.empty()) return;
  Put(Header(unix_ns, 'P'), {}, file);
  Flush(file);
}

}  // namespace gantry::shim
