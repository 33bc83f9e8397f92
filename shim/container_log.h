// A container's log in the CRI format, one line a record:
//
//   2026-11-24T01:02:03.000000004Z stdout F content\n
//
// Lines are cut at 16 KiB: all pieces but the last are tagged P, the last F; what stands
// unterminated at the end of the stream is tagged P (as containerd does). Nothing of the content is
// changed.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::shim {

inline constexpr size_t kMaxLogLine = 16384;

// The time of a log line, e.g. "2026-11-24T01:02:03.000000004Z"; UTC.
std::string LogTimestamp(int64_t unix_ns);

// The file of one container's log. It never fails its caller: what cannot be written is counted and
// dropped.
class LogFile {
 public:
  // Opens (and makes, 0640) the file; missing parent directories are made (0755). A symbolic link
  // or anything but a regular file in its place is refused.
  Status Open(const std::string& path);
  // Opens the path anew and closes the old file. On failure the old one stays.
  Status Reopen();
  // The container never came to be: an empty file at the path goes.
  void RemoveIfEmpty() const;
  // Writes all `parts`: whole lines. They are modified. Without an open file they are dropped.
  void Write(std::vector<iovec>* parts);
  [[nodiscard]] uint64_t dropped_bytes() const { return dropped_bytes_; }

 private:
  std::string path_;
  UniqueFd file_;
  bool torn_ = false;  // the last write broke off inside a line
  uint64_t dropped_bytes_ = 0;
};

// Cuts one stream (stdout or stderr) into records.
class LineCutter {
 public:
  explicit LineCutter(absl::string_view stream) : stream_(stream) {}
  // Writes the lines that `data` completes, with one time; keeps the rest, at most kMaxLogLine
  // bytes.
  void Write(absl::string_view data, int64_t unix_ns, LogFile* file);
  // The stream has ended: writes the rest.
  void Finish(int64_t unix_ns, LogFile* file);

 private:
  std::string Header(int64_t unix_ns, char tag) const;

  std::string stream_;
  std::string rest_;  // of a line that goes on
};

}  // namespace gantry::shim
