// Files of a control group that stay open: each read is new, and costs no walk along a path.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/string_view.h"

#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

// Invalid, and errno is set: the kernel has no such file (ENOENT), there is no `directory` (-1,
// also ENOENT), or openat(2) failed.
inline UniqueFd OpenCgroupFile(int directory, const char* name) {
  errno = ENOENT;
  return directory < 0 ? UniqueFd() : UniqueFd(openat(directory, name, O_RDONLY | O_CLOEXEC));
}

// A file's text from its beginning, which makes the kernel write it anew.
class OpenText {
 public:
  explicit OpenText(const UniqueFd& fd) {
    if (!fd.valid()) return;
    ssize_t got;
    do {
      got = pread(fd.get(), buffer_, sizeof buffer_, 0);
    } while (got < 0 && errno == EINTR);
    failed_ = got < 0;
    gone_ = failed_ && errno == ENODEV;
    if (got > 0) size_ = static_cast<size_t>(got);
  }
  // Empty: it could not be read. The view is of this object.
  [[nodiscard]] absl::string_view text() const { return {buffer_, size_}; }
  // The group has been removed.
  [[nodiscard]] bool gone() const { return gone_; }
  // It was read to its end.
  [[nodiscard]] bool whole() const { return !failed_ && size_ < sizeof buffer_; }

 private:
  char buffer_[16384];  // memory.stat has 2 kB
  size_t size_ = 0;
  bool failed_ = false, gone_ = false;
};

}  // namespace gantry::cri
