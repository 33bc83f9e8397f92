#include "cri/cli/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "runtime/linux/file.h"

namespace gantry::cli {
namespace {

constexpr size_t kBlock = 64 << 10;
constexpr size_t kMaxLine = 1 << 20;  // the runtime writes 16 KiB at most

}  // namespace

std::optional<LogLine> ParseLogLine(absl::string_view text) {
  LogLine line;
  const size_t stream = text.find(' ');
  if (stream == absl::string_view::npos) return std::nullopt;
  const size_t tag = text.find(' ', stream + 1);
  if (tag == absl::string_view::npos) return std::nullopt;
  size_t content = text.find(' ', tag + 1);
  content = std::min(content, text.size());  // an empty line may end with its tag
  line.timestamp = text.substr(0, stream);
  const absl::string_view name = text.substr(stream + 1, tag - stream - 1);
  if (name != "stdout" && name != "stderr") return std::nullopt;
  line.is_stderr = name == "stderr";
  // Tags are a list by colons, of which only the first is defined.
  const absl::string_view tags = text.substr(tag + 1, content - tag - 1);
  line.partial = tags.substr(0, tags.find(':')) == "P";
  line.content = content < text.size() ? text.substr(content + 1) : "";
  return line;
}

LogReader::LogReader(std::string path, std::optional<size_t> tail)
    : path_(std::move(path)), tail_(tail) {}

Status LogReader::Open() {
  StatusOr<UniqueFd> fd = OpenAt(AT_FDCWD, path_, O_RDONLY | O_NONBLOCK);
  if (!fd.ok() && ErrnoOf(fd.status()) == ENOENT) return absl::OkStatus();
  if (!fd.ok()) return Annotate(fd.status(), "read the log");
  fd_ = *std::move(fd);
  if (tail_.has_value() && lseek(fd_.get(), TailOffset(), SEEK_SET) < 0) {
    return SyscallError("lseek", path_);
  }
  tail_.reset();  // a file that comes after a rotation is all new
  return absl::OkStatus();
}

// Where the last *tail_ lines begin, found from the end: logs may be large.
off_t LogReader::TailOffset() const {
  struct stat info = {};
  if (fstat(fd_.get(), &info) != 0) return 0;
  if (*tail_ == 0) return info.st_size;
  size_t newlines = 0;
  std::string block(kBlock, '\0');
  for (off_t end = info.st_size; end > 0;) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(kBlock));
    const ssize_t n = pread(fd_.get(), block.data(), static_cast<size_t>(end - begin), begin);
    for (ssize_t i = n - 1; i >= 0; --i) {
      // The newline at the end of the file ends the last line.
      if (block[static_cast<size_t>(i)] != '\n' || begin + i == info.st_size - 1) continue;
      if (++newlines == *tail_) return begin + i + 1;
    }
    end = begin;
  }
  return 0;
}

Status LogReader::ReadOpen(const Visitor& visit) {
  std::string block(kBlock, '\0');
  while (true) {
    const ssize_t n = read(fd_.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return absl::OkStatus();
    if (n < 0) return SyscallError("read", path_);
    if (n == 0) return absl::OkStatus();
    rest_.append(block, 0, static_cast<size_t>(n));
    size_t begin = 0;
    for (size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin)) {
      const std::optional<LogLine> line =
          ParseLogLine(absl::string_view(rest_).substr(begin, end - begin));
      if (line.has_value()) visit(*line);
      begin = end + 1;
    }
    rest_.erase(0, begin);
    if (rest_.size() > kMaxLine) rest_.clear();  // no log of ours
  }
}

bool LogReader::Replaced() const {
  struct stat now = {};
  struct stat open = {};
  if (stat(path_.c_str(), &now) != 0 || fstat(fd_.get(), &open) != 0) return false;
  return now.st_ino != open.st_ino || now.st_dev != open.st_dev;
}

Status LogReader::Read(const Visitor& visit) {
  if (!fd_.valid()) RETURN_IF_ERROR(Open());
  if (!fd_.valid()) return absl::OkStatus();
  // Asked before the rest is read: what is written to the old file after that would be lost.
  const bool replaced = Replaced();
  RETURN_IF_ERROR(ReadOpen(visit));
  if (!replaced) return absl::OkStatus();
  fd_.Reset();
  rest_.clear();
  RETURN_IF_ERROR(Open());
  return fd_.valid() ? ReadOpen(visit) : absl::OkStatus();
}

}  // namespace gantry::cli
