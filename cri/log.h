// The log of gantryd: one structured line per event, as text (logfmt) or JSON, through spdlog.
//
//   Logger log(LogFormat::kText, LogLevel::kInfo);
//   const Logger call = log.With({{"request", id}, {"pod", pod_id}});
//   call.Info("pod started", {{"took", "12ms"}});
//   // time=2026-01-02T03:04:05.678901Z level=info msg="pod started" request=1f pod=ab took=12ms
//
// An error is logged once, by the one who stops passing it on. Credentials never reach a line:
// values of fields named like one are left out, and so are the user part of URLs and the token of
// an Authorization header, wherever they stand.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace gantry::cri {

enum class LogFormat { kText, kJson };

// kInvalidArgument for a name that is none of "debug", "info", "warning", "error" ("text", "json").
StatusOr<LogLevel> ParseLogLevel(absl::string_view name);
StatusOr<LogFormat> ParseLogFormat(absl::string_view name);

// Names of the fields that lines are searched by.
inline constexpr char kRequestField[] = "request";
inline constexpr char kPodField[] = "pod";
inline constexpr char kContainerField[] = "container";

// A handle on one output and the fields that its lines begin with: cheap to copy, every method from
// any thread. Copies and what With returns share output and level.
class Logger {
 public:
  using Fields = std::initializer_list<LogField>;

  // Lines go to `fd` (not owned) with one write(2) each. A line that cannot be written is dropped.
  Logger(LogFormat format, LogLevel level, int fd = 2);

  // A logger whose lines carry `fields` before their own.
  [[nodiscard]] Logger With(Fields fields) const;

  // For all that share the output, from now on.
  void SetLevel(LogLevel level) const;
  [[nodiscard]] bool Enabled(LogLevel level) const;

  void Write(LogLevel level, absl::string_view message, Fields fields = {}) const;
  void Debug(absl::string_view message, Fields fields = {}) const {
    Write(LogLevel::kDebug, message, fields);
  }
  void Info(absl::string_view message, Fields fields = {}) const {
    Write(LogLevel::kInfo, message, fields);
  }
  void Warning(absl::string_view message, Fields fields = {}) const {
    Write(LogLevel::kWarning, message, fields);
  }
  void Error(absl::string_view message, Fields fields = {}) const {
    Write(LogLevel::kError, message, fields);
  }

 private:
  struct Output;
  std::shared_ptr<Output> output_;
  std::vector<std::pair<std::string, std::string>> fields_;  // redacted already
};

// `text` with what looks like a credential in it replaced by "REDACTED": the user part of URLs,
// what follows Bearer or Basic.
std::string RedactCredentials(absl::string_view text);

}  // namespace gantry::cri
