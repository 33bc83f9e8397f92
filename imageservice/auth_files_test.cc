// Files of credentials and the helpers that they name, with helpers made by the test.
#include "imageservice/auth_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/credential_program.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class AuthFilesTest : public ::testing::Test {
 protected:
  AuthFilesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gantry-auth-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    files_.paths = Path("auth.json");
    files_.helper_environment = {absl::StrCat("PATH=", directory_.string(), ":/usr/bin:/bin")};
  }
  ~AuthFilesTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return (directory_ / name).string(); }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text;
  }
  // A program docker-credential-NAME: a shell script.
  void WriteHelper(const std::string& name, const std::string& script) const {
    const std::string path = Path(absl::StrCat("docker-credential-", name));
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    chmod(path.c_str(), 0755);
  }
  StatusOr<StoredCredentials> Find(const std::string& host, const std::string& repository) const {
    return FindCredentials(files_, host, repository);
  }
  static std::string Auth(const std::string& login) {
    return absl::StrCat(R"({"auth":")", absl::Base64Escape(login), "\"}");
  }

  std::filesystem::path directory_;
  AuthFiles files_;
};

TEST_F(AuthFilesTest, TheMostSpecificPathComesFirst) {
  Write("auth.json",
        absl::StrCat(R"({"auths":{"reg.example":)", Auth("host:1"), R"(,"reg.example/team":)",
                     Auth("team:2"), R"(,"reg.example/team/app":)", Auth("app:3"),
                     R"(,"https://other.example:5000/v2/":)", Auth("other:4"), "}}"));
  const struct {
    std::string host, repository, login;
  } rows[] = {{"reg.example", "team/app", "app:3"},
              {"reg.example", "team/app/deep", "app:3"},
              {"reg.example", "team/application", "team:2"},
              {"reg.example", "teams/app", "host:1"},
              {"other.example:5000", "x", "other:4"}};
  for (const auto& row : rows) {
    const auto found = Find(row.host, row.repository);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->credentials.auth, absl::Base64Escape(row.login)) << row.repository;
    EXPECT_THAT(found->source, HasSubstr(Path("auth.json") + ": auths["));
  }
  EXPECT_EQ(Find("reg.example:5000", "team/app")->source, "") << "another port is another host";
  EXPECT_EQ(Find("other.example", "x")->source, "");
}

TEST_F(AuthFilesTest, DockersFormsOfTheHubAreOne) {
  for (const std::string key : {"https://index.docker.io/v1/", "docker.io", "index.docker.io",
                                "registry-1.docker.io", "https://docker.io"}) {
    Write("auth.json", absl::StrCat(R"({"auths":{")", key, R"(":)", Auth("hub:1"), "}}"));
    EXPECT_NE(Find("docker.io", "library/a")->source, "") << key;
    EXPECT_NE(Find("registry-1.docker.io", "library/a")->source, "") << key;
  }
}

TEST_F(AuthFilesTest, TokensAreReadAndFilesComeInTheirOrder) {
  files_.paths = absl::StrCat(Path("missing"), ":", Path("one"), ":", Path("two"));
  Write("one", R"({"auths":{"a.example":{"auth":"","identitytoken":"idt"},"b.example":{}}})");
  Write("two",
        absl::StrCat(R"({"auths":{"a.example":)", Auth("late:1"), R"(,"b.example":)",
                     R"({"username":"u","password":"p"},"c.example":{"registrytoken":"r"}}})"));
  EXPECT_EQ(Find("a.example", "x")->credentials.identity_token, "idt");
  EXPECT_EQ(Find("b.example", "x")->credentials.password, "p") << "an empty entry is none";
  EXPECT_EQ(Find("c.example", "x")->credentials.registry_token, "r");
  EXPECT_EQ(Find("d.example", "x")->source, "");
}

TEST_F(AuthFilesTest, Row65MalformedFilesAreNamedAndNotQuoted) {
  const struct {
    std::string text, reason;
  } rows[] = {
      {"", "no file of credentials"},
      {"[]", "must be an object"},
      {R"({"auths":{"reg.example":{"auth":"hunter2)", "malformed at byte"},
      {R"({"auths":{"reg.example":{"auth":"aHVudGVyMg==" x)", "malformed at byte"},
      {R"({"auths":[]})", "auths"},
      {R"({"auths":{"reg.example":"hunter2"}})", "reg.example"},
      {R"({"auths":{"reg.example":{"auth":["hunter2"]}}})", "auth"},
      {R"({"auths":{},"auths":{}})", "twice"},
      {R"({"credHelpers":{"reg.example":5}})", "credHelpers"},
      {R"({"auths":{"reg.example":{"auth":"!!hunter2"}}})", "auth is not base64"},
      {R"({"auths":{"reg.example":{"auth":"aHVudGVyMg=="}}})", "not user:password"},
      {R"({"credHelpers":{"reg.example":"../evil"}})", "no helper's name"},
      {R"({"credHelpers":{"reg.example":"missing"}})", "no such program"},
  };
  for (const auto& row : rows) {
    Write("auth.json", row.text);
    const Status status = Find("reg.example", "x").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << row.text << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(Path("auth.json")));
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.reason));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("aHVudGVyMg")));
  }
  files_.paths = directory_.string();
  EXPECT_EQ(Find("reg.example", "x").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(AuthFilesTest, HelpersGetTheHostAndComeBeforeTheEntryOfTheHost) {
  WriteHelper("own", R"(read server; [ "$1" = get ] || exit 9
echo "{\"ServerURL\":\"$server\",\"Username\":\"user-of-$server\",\"Secret\":\"s\"}")");
  WriteHelper("none", "echo 'credentials not found in native keychain'; exit 1");
  Write("auth.json",
        absl::StrCat(R"({"credsStore":"own","credHelpers":{"b.example":"none","c.example":"own"},)",
                     R"("auths":{"b.example":)", Auth("b:1"), R"(,"c.example/team":)", Auth("c:1"),
                     R"(,"d.example":)", Auth("d:1"), "}}"));
  EXPECT_EQ(Find("c.example", "x")->credentials.username, "user-of-c.example");
  EXPECT_EQ(Find("c.example", "x")->source,
            Path("auth.json") + ": credHelpers (docker-credential-own)");
  EXPECT_EQ(Find("c.example", "team/app")->credentials.auth, absl::Base64Escape("c:1"));
  EXPECT_EQ(Find("d.example", "x")->credentials.username, "user-of-d.example") << "the store";
  EXPECT_EQ(Find("docker.io", "library/a")->credentials.username,
            "user-of-https://index.docker.io/v1/");
  Write("auth.json",
        absl::StrCat(R"({"credsStore":"none","auths":{"b.example":)", Auth("b:1"), "}}"));
  EXPECT_EQ(Find("b.example", "x")->credentials.auth, absl::Base64Escape("b:1"));
  EXPECT_EQ(Find("e.example", "x")->source, "");
}

TEST_F(AuthFilesTest, AHelperThatFailsIsNamedAndNothingThatItSaidIs) {
  const struct {
    std::string script, reason;
  } rows[] = {
      {"echo hunter2; echo hunter2 >&2; exit 3", "it fails with 3"},
      {"echo hunter2", "no JSON with Username and Secret"},
      {R"(echo '{"Username":"hunter2"}')", "no JSON with Username and Secret"},
      {R"(echo '{"Username":5,"Secret":"hunter2"}')", "no JSON with Username and Secret"},
      {R"(printf '{"Username":"a\\u000ab","Secret":"hunter2"}')", "control characters"},
      {"head -c 100000 /dev/zero", "more than 64 KiB"},
      {"kill -9 $$", "it fails with 137"},
  };
  Write("auth.json", R"({"credHelpers":{"reg.example":"bad"}})");
  for (const auto& row : rows) {
    WriteHelper("bad", row.script);
    const Status status = Find("reg.example", "x").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << row.script << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(Path("auth.json")));
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.reason));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
  }
}

TEST_F(AuthFilesTest, AHelperThatHangsIsKilledAtItsDeadline) {
  WriteHelper("slow", absl::StrCat("echo $$ > ", Path("pid"), "; exec sleep 1000"));
  CredentialHelper helper{.name = "slow", .environment = files_.helper_environment};
  helper.deadline = std::chrono::seconds(2);
  const Status status = AskCredentialHelper(helper, "reg.example").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("docker-credential-slow"));
  int pid = 0;
  std::ifstream(Path("pid")) >> pid;
  ASSERT_GT(pid, 0) << "it was not started in two seconds";
  EXPECT_NE(kill(pid, 0), 0) << "it runs on";
}

}  // namespace
}  // namespace gantry::images
