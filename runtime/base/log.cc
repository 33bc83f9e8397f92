#include "runtime/base/log.h"

#include <time.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry {
namespace {

LogLevel g_minimum = LogLevel::kInfo;

const char* NameOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

}  // namespace

void SetLogLevel(LogLevel level) { g_minimum = level; }

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  if (level < g_minimum) return;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc;
  gmtime_r(&now.tv_sec, &utc);
  char stamp[40];
  const size_t length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(stamp + length, sizeof stamp - length, ".%06ldZ", now.tv_nsec / 1000);
  std::string line = absl::StrCat("time=", stamp, " level=", NameOf(level), " msg=\"",
                                  absl::CEscape(message), "\"");
  for (const LogField& field : fields)
    absl::StrAppend(&line, " ", field.key, "=\"", absl::CEscape(field.value), "\"");
  line += '\n';
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // nobody is left to tell
}

}  // namespace gantry
