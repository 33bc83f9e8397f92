#include "cri/log.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "runtime/linux/unique_fd.h"

namespace gantry::cri {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// A file without a name, read back whole.
class Capture {
 public:
  Capture() : fd_(memfd_create("log", MFD_CLOEXEC)) {}
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::string Text() const {
    std::string text(1 << 20, '\0');
    const ssize_t size = pread(fd_.get(), text.data(), text.size(), 0);
    text.resize(size < 0 ? 0 : static_cast<size_t>(size));
    return text;
  }

 private:
  UniqueFd fd_;
};

TEST(Log, TextLineHasTheFieldsOfTheContextFirst) {
  const Capture capture;
  const Logger log(LogFormat::kText, LogLevel::kInfo, capture.fd());
  log.With({{kRequestField, "7"}, {kPodField, "ab"}}).Info("pod started", {{"took", "12 ms"}});
  EXPECT_THAT(capture.Text(),
              EndsWith("level=info msg=\"pod started\" request=7 pod=ab took=\"12 ms\"\n"));
}

TEST(Log, JsonLineIsOneObjectWhateverIsInIt) {
  const Capture capture;
  const Logger log(LogFormat::kJson, LogLevel::kInfo, capture.fd());
  log.Error("a \"quoted\"\nline\x01", {{kContainerField, "c\\d"}, {"bytes", "\xff"}});
  const std::string text = capture.Text();
  const nlohmann::json line = nlohmann::json::parse(text);
  EXPECT_EQ(line["msg"], "a \"quoted\"\nline\x01");
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["container"], "c\\d");
  EXPECT_EQ(line["bytes"], "\xef\xbf\xbd");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(Log, LevelChangesAtRunTimeForAllThatShareTheOutput) {
  const Capture capture;
  const Logger log(LogFormat::kText, LogLevel::kInfo, capture.fd());
  const Logger child = log.With({{kPodField, "ab"}});
  child.Debug("unseen");
  log.SetLevel(LogLevel::kDebug);
  child.Debug("seen");
  log.SetLevel(LogLevel::kError);
  child.Warning("unseen");
  EXPECT_THAT(capture.Text(), HasSubstr("msg=seen"));
  EXPECT_THAT(capture.Text(), Not(HasSubstr("unseen")));
}

TEST(Log, NoFormatStringIsReadInMessages) {
  const Capture capture;
  Logger(LogFormat::kText, LogLevel::kInfo, capture.fd()).Info("{} {0} %s");
  EXPECT_THAT(capture.Text(), HasSubstr("msg=\"{} {0} %s\""));
}

TEST(Log, LinesOfThreadsDoNotMix) {
  const Capture capture;
  const Logger log(LogFormat::kText, LogLevel::kInfo, capture.fd());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&log] {
      for (int n = 0; n < 100; ++n) log.Info(std::string(200, 'x'));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = absl::StrSplit(capture.Text(), '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, SizeIs(400));
  for (const std::string& line : lines) EXPECT_THAT(line, EndsWith(std::string(200, 'x')));
}

TEST(Log, LinesAreBounded) {
  const Capture capture;
  const Logger log(LogFormat::kText, LogLevel::kInfo, capture.fd());
  log.Info(std::string(1 << 19, 'm'), {{"a", std::string(1 << 19, 'v')}});
  EXPECT_LT(capture.Text().size(), size_t{80} << 10);
}

struct Secret {
  const char* description;
  const char* text;
  const char* logged;
};

TEST(Log, CredentialsNeverReachALine) {
  const Secret kSecrets[] = {
      {"user and password in a URL", "GET https://u:s3cret@host/v2/: 401",
       "GET https://REDACTED@host/v2/: 401"},
      {"an at sign in the password", "http://u:s3@cret@host", "http://REDACTED@host"},
      {"a URL without a user", "https://host/v2/a@sha256:1", "https://host/v2/a@sha256:1"},
      {"two URLs", "http://s3cret@a, http://s3cret@b", "http://REDACTED@a, http://REDACTED@b"},
      {"a bearer token", "header Authorization: Bearer s3cret.x-y, next",
       "header Authorization: Bearer REDACTED, next"},
      {"basic authentication", "authorization: basic czNjcmV0", "authorization: basic REDACTED"},
      {"a challenge", "Bearer realm=\"https://auth\"", "Bearer realm=\"https://auth\""},
      {"no credential", "start container \"a\": No such file",
       "start container \"a\": No such file"},
  };
  for (const Secret& secret : kSecrets) {
    EXPECT_EQ(RedactCredentials(secret.text), secret.logged) << secret.description;
  }
  const Capture capture;
  const Logger log(LogFormat::kText, LogLevel::kInfo, capture.fd());
  for (const char* key : {"password", "identity_token", "auth", "registryToken", "Authorization"}) {
    log.With({{key, "s3cret"}}).Info("x");
    log.Info("x", {{key, "s3cret"}});
  }
  log.With({{"url", "http://u:s3cret@h"}}).Info("fetch http://u:s3cret@h");
  EXPECT_THAT(capture.Text(), Not(HasSubstr("s3cret")));
  EXPECT_THAT(capture.Text(), HasSubstr("REDACTED"));
}

TEST(Log, NamesAreParsed) {
  EXPECT_EQ(*ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(*ParseLogLevel("error"), LogLevel::kError);
  EXPECT_FALSE(ParseLogLevel("warn").ok());
  EXPECT_EQ(*ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_FALSE(ParseLogFormat("").ok());
}

}  // namespace
}  // namespace gantry::cri
