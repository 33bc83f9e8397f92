#include "imageservice/proxy.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::images {
namespace {

// An IP address as its bytes: 4 or 16.
std::optional<std::string> AddressBytes(absl::string_view text) {
  if (absl::StartsWith(text, "[") && absl::EndsWith(text, "]"))
    text = text.substr(1, text.size() - 2);
  std::array<char, 16> bytes;
  const std::string name(text);
  if (inet_pton(AF_INET, name.c_str(), bytes.data()) == 1) return std::string(bytes.data(), 4);
  if (inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1) return std::string(bytes.data(), 16);
  return std::nullopt;
}

bool InNetwork(const std::string& address, absl::string_view rule) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(rule, absl::MaxSplits('/', 1));
  const auto network = AddressBytes(parts.first);
  size_t bits = 0;
  if (!network.has_value() || network->size() != address.size() ||
      !absl::SimpleAtoi(parts.second, &bits) || bits > address.size() * 8)
    return false;
  if (memcmp(network->data(), address.data(), bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  const int shift = 8 - static_cast<int>(bits % 8);
  return (static_cast<unsigned char>((*network)[bits / 8]) >> shift) ==
         (static_cast<unsigned char>(address[bits / 8]) >> shift);
}

// Takes ":port" off `rule`; false when it names another port than `port`.
bool TakePort(absl::string_view& rule, absl::string_view port) {
  const size_t colon = rule.rfind(':');
  const bool bare_ipv6 = !absl::StartsWith(rule, "[") && rule.find(':') != colon;
  if (colon == absl::string_view::npos || bare_ipv6 || absl::EndsWith(rule, "]")) return true;
  if (rule.substr(colon + 1) != port) return false;
  rule = rule.substr(0, colon);
  return true;
}

bool IsException(absl::string_view rule, const Url& url) {
  if (rule == "*") return true;
  const auto address = AddressBytes(url.host);
  if (absl::StrContains(rule, '/')) return address.has_value() && InNetwork(*address, rule);
  if (!TakePort(rule, url.port)) return false;
  if (const auto excepted = AddressBytes(rule)) return address == excepted;
  if (address.has_value()) return false;
  const bool below_only = absl::ConsumePrefix(&rule, "*.");
  if (!below_only) absl::ConsumePrefix(&rule, ".");
  if (rule.empty()) return false;
  if (!below_only && url.host == rule) return true;
  return absl::EndsWith(url.host, absl::StrCat(".", rule));
}

}  // namespace

ProxySettings ReadProxySettings(const std::vector<std::string>& variables) {
  std::map<std::string, std::string> found;
  for (const std::string& variable : variables) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(variable, absl::MaxSplits('=', 1));
    found[parts.first] = parts.second;
  }
  const auto value = [&](absl::string_view name) {
    std::string& small = found[std::string(name)];
    return small.empty() ? found[absl::AsciiStrToUpper(name)] : small;
  };
  ProxySettings settings{value("http_proxy"), value("https_proxy"), value("no_proxy")};
  if (settings.http.empty()) settings.http = value("all_proxy");
  if (settings.https.empty()) settings.https = value("all_proxy");
  return settings;
}

std::string ProxyFor(const ProxySettings& settings, const Url& url) {
  const std::string& proxy = url.scheme == "https" ? settings.https : settings.http;
  if (proxy.empty() || IsLoopbackHost(url.host)) return "";
  const std::string exceptions = absl::AsciiStrToLower(settings.exceptions);
  for (const absl::string_view rule :
       absl::StrSplit(exceptions, absl::ByAnyChar(", \t"), absl::SkipEmpty())) {
    if (IsException(rule, url)) return "";
  }
  return proxy;
}

std::string ShownProxy(absl::string_view proxy) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  std::string text(proxy);
  if (!absl::StrContains(text, "://")) text = absl::StrCat("http://", text);
  char* host = nullptr;
  if (curl_url_set(parsed.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
          CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_HOST, &host, 0) != CURLUE_OK)
    return "a proxy that is no URL";
  std::string shown = absl::StrCat(text.substr(0, text.find("://")), "://", host);
  curl_free(host);
  char* port = nullptr;
  if (curl_url_get(parsed.get(), CURLUPART_PORT, &port, 0) != CURLUE_OK) return shown;
  absl::StrAppend(&shown, ":", port);
  curl_free(port);
  return shown;
}

}  // namespace gantry::images
