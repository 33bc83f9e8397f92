#include "cri/log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "spdlog/logger.h"
#include "spdlog/sinks/base_sink.h"

#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxLine = 32 << 10;  // what a reader of the journal still gets whole
constexpr char kRedacted[] = "REDACTED";

constexpr std::array<const char*, 4> kLevelNames = {"debug", "info", "warning", "error"};

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

// Takes lines that are complete already: the payload and a newline, in one write(2) under one lock,
// so that lines of several threads (and of processes that share the descriptor) do not mix.
class FdSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FdSink(int fd) : fd_(fd) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    line_.assign(message.payload.data(), message.payload.size());
    line_.push_back('\n');
    const char* data = line_.data();
    size_t left = line_.size();
    while (left > 0) {
      const ssize_t written = write(fd_, data, left);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;
      data += written;
      left -= static_cast<size_t>(written);
    }
  }
  void flush_() override {}

 private:
  int fd_;
  std::string line_;
};

bool NamesCredential(absl::string_view key) {
  const std::string lower = absl::AsciiStrToLower(key);
  for (const char* word :
       {"password", "passwd", "token", "secret", "credential", "authorization"}) {
    if (absl::StrContains(lower, word)) return true;
  }
  return lower == "auth";
}

std::string RedactedValue(const LogField& field) {
  if (NamesCredential(field.key)) return kRedacted;
  return RedactCredentials(field.value);
}

std::string JsonString(absl::string_view text) {
  return DumpJson(nlohmann::json(std::string(text)));
}

// For logfmt, whose readers take the escapes of JSON; bytes that are not UTF-8 stay as they are.
std::string Escaped(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&out, "\\u%04x", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

bool NeedsQuotes(absl::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (c == '"' || c == '=' || c == '\\' || !absl::ascii_isgraph(static_cast<unsigned char>(c))) {
      return true;
    }
  }
  return false;
}

void Append(std::string& line, LogFormat format, absl::string_view key, absl::string_view value) {
  if (format == LogFormat::kJson) {
    absl::StrAppend(&line, line.empty() ? "" : ",", JsonString(key), ":", JsonString(value));
    return;
  }
  absl::StrAppend(&line, line.empty() ? "" : " ", key, "=");
  if (NeedsQuotes(value)) {
    absl::StrAppend(&line, "\"", Escaped(value), "\"");
  } else {
    absl::StrAppend(&line, value);
  }
}

std::string Now() {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone());
}

bool SchemeCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '-' || c == '.';
}

// Of "https://user:word@host/…" only the part between "://" and the last "@" before the path.
void RedactUrls(std::string& text) {
  for (size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at + 3)) {
    if (at == 0 || !SchemeCharacter(text[at - 1])) continue;
    const size_t begin = at + 3;
    const size_t end = std::min(text.find_first_of("/?# \t\n\"'<>", begin), text.size());
    const size_t host = text.substr(begin, end - begin).rfind('@');
    if (host != std::string::npos) text.replace(begin, host, kRedacted);
  }
}

void RedactAfter(std::string& text, const std::string& word) {
  const std::string lower = absl::AsciiStrToLower(text);
  std::string out;
  size_t done = 0;
  for (size_t at = lower.find(word); at != std::string::npos; at = lower.find(word, done)) {
    const size_t begin = at + word.size();
    const size_t end = std::min(text.find_first_of(" \t\n\"',;", begin), text.size());
    absl::StrAppend(&out, text.substr(done, begin - done));
    // A challenge (Bearer realm="…") is no credential, and helps who reads the log.
    const std::string token = text.substr(begin, end - begin);
    absl::StrAppend(
        &out, absl::StrContains(token, "realm=") || token.empty() ? token : std::string(kRedacted));
    done = end;
  }
  text = out + text.substr(done);
}

}  // namespace

struct Logger::Output {
  Output(LogFormat line_format, int fd)
      : format(line_format), spdlog("gantryd", std::make_shared<FdSink>(fd)) {}
  LogFormat format;
  spdlog::logger spdlog;
};

StatusOr<LogLevel> ParseLogLevel(absl::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (name == kLevelNames[i]) return static_cast<LogLevel>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("log level \"", name, "\" is none of debug, info, warning, error"));
}

StatusOr<LogFormat> ParseLogFormat(absl::string_view name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(
      absl::StrCat("log format \"", name, "\" is none of text, json"));
}

Logger::Logger(LogFormat format, LogLevel level, int fd)
    : output_(std::make_shared<Output>(format, fd)) {
  // The default handler writes to standard error by itself.
  output_->spdlog.set_error_handler([](const std::string&) {});
  SetLevel(level);
}

Logger Logger::With(Fields fields) const {
  Logger child = *this;
  for (const LogField& field : fields) {
    child.fields_.emplace_back(std::string(field.key), RedactedValue(field));
  }
  return child;
}

void Logger::SetLevel(LogLevel level) const { output_->spdlog.set_level(SpdlogLevel(level)); }

bool Logger::Enabled(LogLevel level) const {
  return output_->spdlog.should_log(SpdlogLevel(level));
}

void Logger::Write(LogLevel level, absl::string_view message, Fields fields) const {
  if (!Enabled(level)) return;
  const LogFormat format = output_->format;
  std::string line;
  Append(line, format, "time", Now());
  Append(line, format, "level", kLevelNames[static_cast<size_t>(level)]);
  Append(line, format, "msg", RedactCredentials(message.substr(0, kMaxLine)));
  for (const auto& [key, value] : fields_) Append(line, format, key, value);
  for (const LogField& field : fields) {
    if (line.size() > kMaxLine) break;
    LogField cut = {field.key, field.value.substr(0, kMaxLine)};
    Append(line, format, field.key, RedactedValue(cut));
  }
  if (format == LogFormat::kJson) line = absl::StrCat("{", line, "}");
  output_->spdlog.log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

std::string RedactCredentials(absl::string_view text) {
  std::string out(text);
  if (absl::StrContains(text, "://")) RedactUrls(out);
  for (const char* word : {"bearer ", "basic "}) {
    if (absl::StrContains(absl::AsciiStrToLower(out), word)) RedactAfter(out, word);
  }
  return out;
}

}  // namespace gantry::cri
