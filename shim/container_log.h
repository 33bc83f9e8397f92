// A container's log in the CRI format, one line a record:
//
//   2026-11-24T01:02:03.000000004Z stdout F content\n
//
// Lines are cut at 16 KiB: all pieces but the last are tagged P, the last F; what stands
// unterminated at the end of the stream is tagged P (as containerd does). Nothing of the content is
// changed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::shim {

inline constexpr size_t kMaxLogLine = 16384;
// With its header and the end of the line.
inline constexpr size_t kMaxLogRecord = kMaxLogLine + 64;

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
  // Writes whole records. Without an open file they are dropped.
  void Write(absl::string_view records);
  [[nodiscard]] uint64_t dropped_bytes() const { return dropped_bytes_; }

 private:
  // How much could be written.
  [[nodiscard]] size_t WriteWhatFits(absl::string_view bytes) const;

  std::string path_;
  UniqueFd file_;
  bool torn_ = false;  // the last write broke off inside a line
  uint64_t dropped_bytes_ = 0;
};

// Where records are put together, so that many lines are one write: the kernel takes one piece of
// 100 kB sooner than 2,000 small ones.
class RecordBuffer {
 public:
  // `memory` is borrowed: `size` bytes, kMaxLogRecord at least.
  RecordBuffer(char* memory, size_t size) : memory_(memory), size_(size) {}
  [[nodiscard]] bool Fits(size_t size) const { return size <= size_ - used_; }
  // `bytes` fit.
  void Append(absl::string_view bytes);
  [[nodiscard]] absl::string_view records() const { return {memory_, used_}; }
  void Clear() { used_ = 0; }

 private:
  char* const memory_;
  const size_t size_;
  size_t used_ = 0;
};

// Cuts one stream (stdout or stderr) into records.
class LineCutter {
 public:
  // `buffer` is borrowed, and empty between the calls: all streams of a thread may have the same.
  LineCutter(absl::string_view stream, RecordBuffer* buffer) : stream_(stream), buffer_(*buffer) {}
  // Writes the lines that `data` completes, with one time; keeps the rest, at most kMaxLogLine
  // bytes.
  void Write(absl::string_view data, int64_t unix_ns, LogFile* file);
  // The stream has ended: writes the rest.
  void Finish(int64_t unix_ns, LogFile* file);

 private:
  [[nodiscard]] std::string Header(int64_t unix_ns, char tag) const;
  // A record of the rest of a line, which is then none any more, and of `more` of it.
  void Put(absl::string_view header, absl::string_view more, LogFile* file);
  void Flush(LogFile* file);

  const std::string stream_;
  RecordBuffer& buffer_;
  std::string rest_;  // of a line that goes on
};

}  // namespace gantry::shim
