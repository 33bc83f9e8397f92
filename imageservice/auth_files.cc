#include "imageservice/auth_files.h"

#include <fcntl.h>

#include <map>
#include <optional>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "imageservice/credential_program.h"
#include "imageservice/registry_auth.h"
#include "runtime/base/json.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxAuthFile = 1 << 20;
constexpr char kDockerHubKey[] = "https://index.docker.io/v1/";

struct AuthFile {
  std::map<std::string, Credentials> auths;    // by KeyOf what is written
  std::map<std::string, std::string> helpers;  // by KeyOf the host
  std::string store;
};

// "https://index.docker.io/v1/", "quay.io/team/" and the like in one form: host, or host/path.
std::string KeyOf(absl::string_view written) {
  const bool is_url = absl::StrContains(written, "://");
  for (const absl::string_view scheme : {"https://", "http://"})
    absl::ConsumePrefix(&written, scheme);
  absl::ConsumeSuffix(&written, "/");
  const size_t slash = written.find('/');
  std::string host = absl::AsciiStrToLower(written.substr(0, slash));
  if (host == "index.docker.io" || host == "registry-1.docker.io") host = "docker.io";
  // In a URL the path is that of the API: /v1, /v2.
  if (is_url || slash == absl::string_view::npos) return host;
  const absl::string_view path = written.substr(slash);
  return path == "/v1" || path == "/v2" ? host : absl::StrCat(host, path);
}

Credentials ReadEntry(const JsonReader& entry) {
  Credentials credentials;
  entry.Read("auth", credentials.auth);
  entry.Read("username", credentials.username);
  entry.Read("password", credentials.password);
  entry.Read("identitytoken", credentials.identity_token);
  entry.Read("registrytoken", credentials.registry_token);
  return credentials;
}

bool IsEmpty(const Credentials& credentials) {
  return credentials.auth.empty() && credentials.username.empty() &&
         credentials.identity_token.empty() && credentials.registry_token.empty();
}

// The parser quotes what it read last, which may be a password.
absl::string_view WithoutQuotation(absl::string_view problem) {
  return problem.substr(0, problem.find("; last read"));
}

StatusOr<AuthFile> ParseAuthFile(const std::string& text) {
  const auto parsed = ParseJson(text, {.max_bytes = kMaxAuthFile, .max_depth = 32});
  if (!parsed.ok()) return absl::InvalidArgumentError(WithoutQuotation(parsed.status().message()));
  const nlohmann::json& document = *parsed;
  if (!document.is_object()) return absl::InvalidArgumentError("must be an object");
  Status status;
  const JsonReader root(document, status);
  AuthFile file;
  root.ForEachMember("auths", [&](const std::string& key, JsonReader entry) {
    Credentials credentials = ReadEntry(entry);
    // docker leaves an empty entry for what its store knows.
    if (!IsEmpty(credentials)) file.auths[KeyOf(key)] = std::move(credentials);
  });
  std::map<std::string, std::string> helpers;
  root.Read("credHelpers", helpers);
  for (const auto& [key, helper] : helpers) file.helpers[KeyOf(key)] = helper;
  root.Read("credsStore", file.store);
  RETURN_IF_ERROR(status);
  return file;
}

// The entry for exactly `key`.
StatusOr<StoredCredentials> EntryOf(const AuthFile& file, const std::string& path,
                                    const std::string& key) {
  const auto found = file.auths.find(key);
  if (found == file.auths.end()) return StoredCredentials();
  const std::string source = absl::StrCat(path, ": auths[\"", key, "\"]");
  const StatusOr<Login> login = ReadCredentials(found->second);
  if (!login.ok())
    return absl::FailedPreconditionError(absl::StrCat(source, ": ", login.status().message()));
  return StoredCredentials{found->second, source};
}

class Search {
 public:
  Search(const std::string& path, const AuthFile& file, const AuthFiles& files)
      : path_(path), file_(file), files_(files) {}

  StatusOr<StoredCredentials> Find(const std::string& host, const std::string& repository) const {
    for (std::string name = absl::StrCat(host, "/", repository); name.size() > host.size();
         name.resize(name.rfind('/'))) {
      ASSIGN_OR_RETURN(StoredCredentials stored, EntryOf(file_, path_, name));
      if (!stored.source.empty()) return stored;
    }
    if (const auto helper = file_.helpers.find(host); helper != file_.helpers.end()) {
      ASSIGN_OR_RETURN(StoredCredentials stored, Ask("credHelpers", helper->second, host));
      if (!stored.source.empty()) return stored;
    }
    if (!file_.store.empty()) {
      ASSIGN_OR_RETURN(StoredCredentials stored, Ask("credsStore", file_.store, host));
      if (!stored.source.empty()) return stored;
    }
    return EntryOf(file_, path_, host);
  }

 private:
  StatusOr<StoredCredentials> Ask(const char* key, const std::string& helper,
                                  const std::string& host) const {
    const std::string source = absl::StrCat(path_, ": ", key);
    ASSIGN_OR_RETURN_CONTEXT(
        std::optional<Credentials> answer,
        AskCredentialHelper({.name = helper, .environment = files_.helper_environment},
                            host == "docker.io" ? kDockerHubKey : host),
        source);
    if (!answer.has_value()) return StoredCredentials();
    const Status usable = ReadCredentials(*answer).status();
    if (!usable.ok())
      return absl::FailedPreconditionError(absl::StrCat(source, ": ", usable.message()));
    answer->server_address.clear();  // FindCredentials was asked for one host
    return StoredCredentials{*std::move(answer),
                             absl::StrCat(source, " (docker-credential-", helper, ")")};
  }

  const std::string& path_;
  const AuthFile& file_;
  const AuthFiles& files_;
};

}  // namespace

StatusOr<StoredCredentials> FindCredentials(const AuthFiles& files, const std::string& host,
                                            const std::string& repository) {
  const std::vector<std::string> paths = absl::StrSplit(files.paths, ':', absl::SkipEmpty());
  for (const std::string& path : paths) {
    const StatusOr<std::string> text = ReadFileAt(AT_FDCWD, path, kMaxAuthFile);
    if (ErrnoOf(text.status()) == ENOENT) continue;
    if (!text.ok())
      return absl::FailedPreconditionError(absl::StrCat(path, ": ", text.status().message()));
    const StatusOr<AuthFile> file = ParseAuthFile(*text);
    if (!file.ok())
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": it is no file of credentials: ", file.status().message()));
    ASSIGN_OR_RETURN(StoredCredentials stored,
                     Search(path, *file, files).Find(KeyOf(host), repository));
    if (!stored.source.empty()) return stored;
  }
  return StoredCredentials();
}

}  // namespace gantry::images
