// Log lines of the processes without spdlog (shim, runtime, puller, unpacker): one logfmt line per
// call on standard error, which the daemon points at a file. Libraries return errors and log at
// debug only.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogField {
  absl::string_view key;
  std::string value;
};

// Lines below `level` are dropped. Process-wide; call it before threads start.
void SetLogLevel(LogLevel level);

// Writes `time=… level=… msg="…" key="value"…` with one write(2). Control characters are escaped.
void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace gantry
