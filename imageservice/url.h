// Addresses of registries: what is same-origin, where a redirect leads, what may be shown. Parsing
// is libcurl's, so that what is checked here is what is then spoken to.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

struct Url {
  std::string scheme;  // http or https
  std::string host;    // lower case; IPv6 in brackets
  std::string port;    // always set
  std::string path;    // starts with a slash
  std::string query;   // without the question mark

  std::string ToString() const;
  // scheme://host:port/path: without the query, which may hold a signature.
  std::string Shown() const;
  // scheme://host:port
  std::string Origin() const;
  // host, with the port unless it is the scheme's own: as CRI's server_address and WWW-Authenticate
  // mean it.
  std::string HostPort() const;
};

// kInvalidArgument: no absolute http or https URL, or one with a user or password in it.
StatusOr<Url> ParseUrl(absl::string_view text);

// `location` as a Location header of `base` means it: absolute or relative. kInvalidArgument as
// ParseUrl.
StatusOr<Url> ResolveUrl(const Url& base, const std::string& location);

// Everything but letters, digits and "-._~" as %XX: for one value in a query or form.
std::string PercentEncode(absl::string_view text);

// True for localhost, 127.0.0.0/8 and [::1], with or without a port: where plain http is the
// default.
bool IsLoopbackHost(absl::string_view host);

}  // namespace gantry::images
