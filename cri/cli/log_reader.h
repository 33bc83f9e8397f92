// Container logs as the kubelet and CRI have them: "TIMESTAMP STREAM TAG CONTENT", one line each.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cli {

struct LogLine {
  absl::string_view timestamp;  // RFC 3339 with nanoseconds
  bool is_stderr = false;
  bool partial = false;  // the container's line goes on in the next one
  absl::string_view content;
};

// Nothing for a line of another form. `line` without its newline.
std::optional<LogLine> ParseLogLine(absl::string_view line);

// Follows a log file over its rotation.
class LogReader {
 public:
  // The views are valid during the call.
  using Visitor = std::function<void(const LogLine&)>;

  // From the beginning, or from the last `tail` lines. The file need not exist yet.
  explicit LogReader(std::string path, std::optional<size_t> tail = std::nullopt);

  // Visits every complete line that has come since the last call; when the file has been replaced
  // by a new one, the rest of the old one first. OK when there is none yet. An error when it cannot
  // be read.
  Status Read(const Visitor& visit);

  // The open file, -1 when there is none yet.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Status Open();
  Status ReadOpen(const Visitor& visit);
  [[nodiscard]] bool Replaced() const;
  [[nodiscard]] off_t TailOffset() const;

  std::string path_;
  std::optional<size_t> tail_;
  UniqueFd fd_;
  std::string rest_;  // an incomplete line
};

}  // namespace gantry::cli
