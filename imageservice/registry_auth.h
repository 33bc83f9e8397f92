// Being let in by a registry: WWW-Authenticate challenges, Basic, and bearer tokens from a token
// server (distribution spec/auth/token.md, spec/auth/oauth.md; RFC 9110 section 11).
//
// Rules: credentials are for the upstream registry alone, or for the one host that server_address
// names; they go to it and to the token server that it names, never in the clear when the registry
// was asked over TLS. A token server's redirects are not followed. Nothing here is logged.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/credentials.h"
#include "imageservice/http_client.h"
#include "imageservice/registry_hosts.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct AuthChallenge {
  std::string scheme;                             // lower case: bearer, basic
  std::map<std::string, std::string> parameters;  // names in lower case
};

// Reads one header, which may hold several challenges. What cannot be read ends the list.
std::vector<AuthChallenge> ParseChallenges(absl::string_view header);

// True when an answer (401, or 403 as RFC 6750 has it) says that another token would do: its bearer
// challenge has the error insufficient_scope or invalid_token.
bool WantsAnotherToken(const HttpResponse& response);

// What `credentials` come to: exactly one way, or none.
struct Login {
  std::string username, password;
  std::string identity_token, registry_token;
  bool empty() const {
    return username.empty() && identity_token.empty() && registry_token.empty();
  }
};
// kInvalidArgument: `auth` is not base64 of user:password, or a value holds control characters.
StatusOr<Login> ReadCredentials(const Credentials& credentials);

// True when `credentials` may be used with this endpoint of `registry`.
bool CredentialsAreFor(const Credentials& credentials, const std::string& registry,
                       const RegistryEndpoint& endpoint);

// The Authorization headers of one pull. Any thread.
class RegistryAuth {
 public:
  // `registry` and `repository` as in Reference.
  static StatusOr<std::unique_ptr<RegistryAuth>> Make(const Credentials& credentials,
                                                      const std::string& registry,
                                                      const std::string& repository);

  // What this node's files know for `endpoint`, used there instead of the credentials of Make.
  // `source` says for people where they come from. Before the first request. kInvalidArgument as
  // ReadCredentials.
  Status UseStored(const RegistryEndpoint& endpoint, const Credentials& credentials,
                   std::string source);

  // Who asks `endpoint`, for texts: "nobody is logged in", "the credentials of the request", or the
  // source of stored ones.
  std::string Who(const RegistryEndpoint& endpoint) const;
  bool Anonymous(const RegistryEndpoint& endpoint) const { return LoginFor(endpoint).empty(); }

  // The value to send to `endpoint`; empty: none yet.
  std::string Authorization(const RegistryEndpoint& endpoint) const;

  // After a 401 that was answered to `used` (what Authorization returned before): gets a new value
  // for `endpoint`, unless another thread has. kUnauthenticated: no way in, or no other than
  // `used`; kUnavailable: the token server cannot be reached.
  Status Answer(HttpClient& client, const RegistryEndpoint& endpoint, const HttpResponse& refusal,
                const std::string& used);

 private:
  RegistryAuth(Credentials credentials, Login login, std::string registry, std::string repository)
      : credentials_(std::move(credentials)),
        login_(std::move(login)),
        registry_(std::move(registry)),
        repository_(std::move(repository)) {}
  Login LoginFor(const RegistryEndpoint& endpoint) const;
  StatusOr<std::string> Obtain(HttpClient& client, const RegistryEndpoint& endpoint,
                               const HttpResponse& refusal);
  StatusOr<HttpRequest> TokenRequest(const RegistryEndpoint& endpoint,
                                     const AuthChallenge& challenge, const Login& login) const;
  StatusOr<std::string> FetchToken(HttpClient& client, const RegistryEndpoint& endpoint,
                                   const AuthChallenge& challenge, const Login& login);

  const Credentials credentials_;
  const Login login_;
  const std::string registry_, repository_;
  struct Stored {
    Login login;
    std::string source;
  };
  std::map<std::string, Stored> stored_;  // by endpoint base
  mutable std::mutex mutex_;
  std::map<std::string, std::string> values_;  // by endpoint base
};

}  // namespace gantry::images
