#include "imageservice/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

using CurlUrl = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string Part(const CurlUrl& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK || text == nullptr)
    return "";
  std::string result(text);
  curl_free(text);
  return result;
}

StatusOr<Url> Take(const CurlUrl& parsed) {
  Url url{Part(parsed, CURLUPART_SCHEME), absl::AsciiStrToLower(Part(parsed, CURLUPART_HOST)),
          Part(parsed, CURLUPART_PORT), Part(parsed, CURLUPART_PATH),
          Part(parsed, CURLUPART_QUERY)};
  if (url.scheme != "http" && url.scheme != "https") {
    return absl::InvalidArgumentError("a URL must be http or https");
  }
  if (!Part(parsed, CURLUPART_USER).empty() || !Part(parsed, CURLUPART_PASSWORD).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a URL with a user name is refused: host ", url.host));
  }
  return url;
}

}  // namespace

std::string Url::ToString() const { return absl::StrCat(Shown(), query.empty() ? "" : "?", query); }

std::string Url::Shown() const { return absl::StrCat(scheme, "://", HostPort(), path); }

std::string Url::Origin() const { return absl::StrCat(scheme, "://", host, ":", port); }

std::string Url::HostPort() const {
  const bool usual = (scheme == "https" && port == "443") || (scheme == "http" && port == "80");
  return usual ? host : absl::StrCat(host, ":", port);
}

StatusOr<Url> ParseUrl(absl::string_view text) {
  if (text.size() > 8192) return absl::InvalidArgumentError("a URL is longer than 8192 bytes");
  const CurlUrl parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, std::string(text).c_str(),
                   CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return absl::InvalidArgumentError("it is no URL");
  }
  return Take(parsed);
}

StatusOr<Url> ResolveUrl(const Url& base, const std::string& location) {
  if (location.size() > 8192) return absl::InvalidArgumentError("a URL is longer than 8192 bytes");
  const CurlUrl parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, base.ToString().c_str(), 0) != CURLUE_OK ||
      curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
          CURLUE_OK) {
    return absl::InvalidArgumentError("the redirect leads to no URL");
  }
  return Take(parsed);
}

std::string PercentEncode(absl::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '.' || c == '_' || c == '~') {
      encoded.push_back(c);
    } else {
      encoded.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return encoded;
}

bool IsLoopbackHost(absl::string_view host) {
  if (absl::StartsWith(host, "[")) return host == "[::1]" || absl::StartsWith(host, "[::1]:");
  host = host.substr(0, host.find(':'));
  if (host == "localhost") return true;
  const bool numeric = std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '.';
  });
  return numeric && absl::StartsWith(host, "127.");
}

}  // namespace gantry::images
