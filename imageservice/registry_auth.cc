#include "imageservice/registry_auth.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/base/json.h"

#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry::images {
namespace {

constexpr size_t kMaxTokenAnswer = 1 << 20;

bool IsTokenCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::StrContains("!#$%&'*+-.^_`|~", c);
}

// Reads a header's grammar piece by piece.
class HeaderCursor {
 public:
  explicit HeaderCursor(absl::string_view text) : text_(text) {}

  void SkipSpacesAndCommas() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\t' || text_[0] == ','))
      text_.remove_prefix(1);
  }
  void SkipSpaces() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\t')) text_.remove_prefix(1);
  }
  std::string Token() {
    size_t size = 0;
    while (size < text_.size() && IsTokenCharacter(text_[size])) ++size;
    std::string token(text_.substr(0, size));
    text_.remove_prefix(size);
    return token;
  }
  bool Take(char c) {
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::string Value() {
    if (!Take('"')) return Token();
    std::string value;
    while (!text_.empty() && text_[0] != '"') {
      if (text_[0] == '\\' && text_.size() > 1) text_.remove_prefix(1);
      value.push_back(text_[0]);
      text_.remove_prefix(1);
    }
    Take('"');
    return value;
  }
  bool done() const { return text_.empty(); }

 private:
  absl::string_view text_;
};

// A value that becomes part of a header or form must not end it.
bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
}

std::string BasicValue(const Login& login) {
  return absl::StrCat("Basic ",
                      absl::Base64Escape(absl::StrCat(login.username, ":", login.password)));
}

void Append(std::string& query, absl::string_view name, absl::string_view value) {
  if (!value.empty())
    absl::StrAppend(&query, query.empty() ? "" : "&", name, "=", PercentEncode(value));
}

std::string Parameter(const AuthChallenge& challenge, const char* name) {
  const auto found = challenge.parameters.find(name);
  return found == challenge.parameters.end() ? "" : found->second;
}

StatusOr<std::string> TokenIn(const std::string& body) {
  const JsonLimits limits = {.max_bytes = kMaxTokenAnswer, .max_depth = 16, .max_values = 10'000};
  const auto document = ParseJson(body, limits);
  // Without the parser's words: they quote what it read, which may be the token.
  if (!document.ok()) return absl::InvalidArgumentError("its answer is no JSON");
  Status status;
  const JsonReader root(*document, status);
  std::string token, access_token;
  root.Read("token", token);
  root.Read("access_token", access_token);
  RETURN_IF_ERROR(status);
  if (token.empty()) token = access_token;
  if (token.empty() || !IsPrintable(token)) return absl::InvalidArgumentError("it holds no token");
  return token;
}

// "docker.io", "https://index.docker.io/v1/", "registry.example:5000" all name a host.
std::string AddressHost(absl::string_view address) {
  for (const absl::string_view scheme : {"https://", "http://"}) {
    if (absl::StartsWith(address, scheme)) address.remove_prefix(scheme.size());
  }
  std::string host = absl::AsciiStrToLower(address.substr(0, address.find('/')));
  if (host == "index.docker.io" || host == "registry-1.docker.io") host = "docker.io";
  return host;
}

// The challenges of all WWW-Authenticate headers.
std::vector<AuthChallenge> ChallengesIn(const HttpResponse& response) {
  std::vector<AuthChallenge> challenges;
  const auto [begin, end] = response.headers.equal_range("www-authenticate");
  for (auto header = begin; header != end; ++header) {
    for (AuthChallenge& challenge : ParseChallenges(header->second))
      challenges.push_back(std::move(challenge));
  }
  return challenges;
}

}  // namespace

bool WantsAnotherToken(const HttpResponse& response) {
  if (response.status != 401 && response.status != 403) return false;
  for (const AuthChallenge& challenge : ChallengesIn(response)) {
    if (challenge.scheme != "bearer") continue;
    const std::string error = Parameter(challenge, "error");
    if (error == "insufficient_scope" || error == "invalid_token") return true;
  }
  return false;
}

std::vector<AuthChallenge> ParseChallenges(absl::string_view header) {
  std::vector<AuthChallenge> challenges;
  HeaderCursor cursor(header);
  for (;;) {
    cursor.SkipSpacesAndCommas();
    const std::string word = cursor.Token();
    if (word.empty() || challenges.size() > 8) return challenges;
    cursor.SkipSpaces();
    // A word followed by "=" is a parameter of the challenge before it, any other starts a
    // challenge.
    if (!cursor.Take('=')) {
      challenges.push_back({absl::AsciiStrToLower(word), {}});
      continue;
    }
    if (challenges.empty()) return challenges;
    cursor.SkipSpaces();
    challenges.back().parameters[absl::AsciiStrToLower(word)] = cursor.Value();
  }
}

StatusOr<Login> ReadCredentials(const Credentials& credentials) {
  Login login;
  if (!credentials.registry_token.empty()) {
    login.registry_token = credentials.registry_token;
  } else if (!credentials.identity_token.empty()) {
    login.identity_token = credentials.identity_token;
  } else if (!credentials.username.empty()) {
    login.username = credentials.username;
    login.password = credentials.password;
  } else if (!credentials.auth.empty()) {
    std::string decoded;
    const std::string stripped = credentials.auth;
    if (!absl::Base64Unescape(stripped, &decoded)) {
      return absl::InvalidArgumentError("credentials: auth is not base64");
    }
    const size_t colon = decoded.find(':');
    if (colon == std::string::npos)
      return absl::InvalidArgumentError("credentials: auth is not user:password");
    login.username = decoded.substr(0, colon);
    login.password = decoded.substr(colon + 1);
    while (absl::EndsWith(login.password, absl::string_view("\0", 1))) login.password.pop_back();
  }
  // Docker's way to keep an identity token as a password.
  if (login.username == "<token>") {
    login.identity_token = std::exchange(login.password, "");
    login.username.clear();
  }
  if (IsPrintable(login.username + login.password + login.identity_token + login.registry_token))
    return login;
  return absl::InvalidArgumentError("credentials: a value holds control characters");
}

bool CredentialsAreFor(const Credentials& credentials, const std::string& registry,
                       const RegistryEndpoint& endpoint) {
  if (credentials.server_address.empty()) return endpoint.upstream;
  const std::string address = AddressHost(credentials.server_address);
  if (endpoint.upstream && address == AddressHost(registry)) return true;
  return address == AddressHost(endpoint.base.HostPort());
}

StatusOr<std::unique_ptr<RegistryAuth>> RegistryAuth::Make(const Credentials& credentials,
                                                           const std::string& registry,
                                                           const std::string& repository) {
  ASSIGN_OR_RETURN(Login login, ReadCredentials(credentials));
  return std::unique_ptr<RegistryAuth>(
      new RegistryAuth(credentials, std::move(login), registry, repository));
}

Status RegistryAuth::UseStored(const RegistryEndpoint& endpoint, const Credentials& credentials,
                               std::string source) {
  ASSIGN_OR_RETURN(Login login, ReadCredentials(credentials));
  stored_[endpoint.base.ToString()] = {std::move(login), std::move(source)};
  return absl::OkStatus();
}

Login RegistryAuth::LoginFor(const RegistryEndpoint& endpoint) const {
  const auto stored = stored_.find(endpoint.base.ToString());
  if (stored != stored_.end()) return stored->second.login;
  return CredentialsAreFor(credentials_, registry_, endpoint) ? login_ : Login();
}

std::string RegistryAuth::Who(const RegistryEndpoint& endpoint) const {
  if (Anonymous(endpoint)) return "nobody is logged in";
  const auto stored = stored_.find(endpoint.base.ToString());
  return stored == stored_.end() ? "the credentials of the request" : stored->second.source;
}

std::string RegistryAuth::Authorization(const RegistryEndpoint& endpoint) const {
  const std::lock_guard lock(mutex_);
  const auto found = values_.find(endpoint.base.ToString());
  return found == values_.end() ? "" : found->second;
}

Status RegistryAuth::Answer(HttpClient& client, const RegistryEndpoint& endpoint,
                            const HttpResponse& refusal, const std::string& used) {
  if (Authorization(endpoint) != used) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string value, Obtain(client, endpoint, refusal));
  if (value == used) return absl::UnauthenticatedError(absl::StrCat("it refuses ", Who(endpoint)));
  const std::lock_guard lock(mutex_);
  values_[endpoint.base.ToString()] = std::move(value);
  return absl::OkStatus();
}

StatusOr<std::string> RegistryAuth::Obtain(HttpClient& client, const RegistryEndpoint& endpoint,
                                           const HttpResponse& refusal) {
  const Login login = LoginFor(endpoint);
  const std::vector<AuthChallenge> challenges = ChallengesIn(refusal);
  for (const AuthChallenge& challenge : challenges) {
    if (challenge.scheme != "bearer") continue;
    if (!login.registry_token.empty()) return absl::StrCat("Bearer ", login.registry_token);
    ASSIGN_OR_RETURN(const std::string token, FetchToken(client, endpoint, challenge, login));
    return absl::StrCat("Bearer ", token);
  }
  for (const AuthChallenge& challenge : challenges) {
    if (challenge.scheme == "basic" && !login.username.empty()) return BasicValue(login);
  }
  if (login.empty() && !login_.empty()) {
    return absl::UnauthenticatedError("it wants credentials, and those given are for another host");
  }
  return absl::UnauthenticatedError(challenges.empty()
                                        ? "it refuses without saying how to log in"
                                        : "it wants credentials, and there are none that it takes");
}

StatusOr<HttpRequest> RegistryAuth::TokenRequest(const RegistryEndpoint& endpoint,
                                                 const AuthChallenge& challenge,
                                                 const Login& login) const {
  HttpRequest request;
  ASSIGN_OR_RETURN(request.url, ParseUrl(Parameter(challenge, "realm")));
  if (endpoint.base.scheme == "https" && request.url.scheme != "https") {
    return absl::InvalidArgumentError(
        absl::StrCat(request.url.Shown(), " is not asked in the clear"));
  }
  request.max_body = kMaxTokenAnswer;
  request.tls = endpoint.tls;
  if (request.url.Origin() != endpoint.base.Origin())
    request.tls.client_cert = request.tls.client_key = "";
  if (endpoint.dial_timeout.count() > 0) request.timeouts.connect = endpoint.dial_timeout;
  const std::string scope = Parameter(challenge, "scope");
  std::string query;
  Append(query, "service", Parameter(challenge, "service"));
  Append(query, "scope", scope.empty() ? absl::StrCat("repository:", repository_, ":pull") : scope);
  if (!login.identity_token.empty()) {
    Append(query, "grant_type", "refresh_token");
    Append(query, "client_id", "gantry");
    Append(query, "refresh_token", login.identity_token);
    request.form = query;
    return request;
  }
  Append(query, "account", login.username);
  absl::StrAppend(&request.url.query, request.url.query.empty() ? "" : "&", query);
  if (!login.username.empty()) request.headers.emplace_back("Authorization", BasicValue(login));
  return request;
}

StatusOr<std::string> RegistryAuth::FetchToken(HttpClient& client, const RegistryEndpoint& endpoint,
                                               const AuthChallenge& challenge, const Login& login) {
  const StatusOr<HttpRequest> request = TokenRequest(endpoint, challenge, login);
  if (!request.ok())
    return absl::UnauthenticatedError(absl::StrCat("token server: ", request.status().message()));
  const std::string where = absl::StrCat("token server ", request->url.Shown());
  ASSIGN_OR_RETURN_CONTEXT(const HttpResponse response, client.Exchange(*request), where);
  if (response.status == 429 || response.status >= 500) {
    return absl::UnavailableError(absl::StrCat(where, ": HTTP ", response.status));
  }
  if (response.status != 200) {
    return absl::UnauthenticatedError(absl::StrCat(where, " refuses: HTTP ", response.status));
  }
  const StatusOr<std::string> token = TokenIn(response.body);
  if (!token.ok())
    return absl::UnauthenticatedError(absl::StrCat(where, ": ", token.status().message()));
  return token;
}

}  // namespace gantry::images
