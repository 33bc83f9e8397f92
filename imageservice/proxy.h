// Which proxy a request goes through, by the usual variables: http_proxy, https_proxy, all_proxy
// and no_proxy, in small or capital letters (the small ones win).
//
// Rules of no_proxy, separated by commas or spaces: "*" (everything), a domain with all below it
// (a leading dot changes nothing), "*.domain" (only what is below), an address, a network in CIDR
// form; each but a network with ":port" if only that port is meant. Names are not resolved for it.
// localhost, 127.0.0.0/8 and [::1] never go through a proxy: there they are somebody else. The
// values may hold a password: nothing of them but ShownProxy may be printed.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/url.h"

namespace gantry::images {

struct ProxySettings {
  std::string http, https;  // for URLs of these schemes; empty: none
  std::string exceptions;   // as in no_proxy
};

// From variables as "NAME=value"; others than those four are left out. The last of a name counts.
ProxySettings ReadProxySettings(const std::vector<std::string>& variables);

// The proxy for `url` as it was configured, or empty: none.
std::string ProxyFor(const ProxySettings& settings, const Url& url);

// `proxy` without user and password: "http://proxy.example:3128".
std::string ShownProxy(absl::string_view proxy);

}  // namespace gantry::images
