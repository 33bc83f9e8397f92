#include "cri/network/cni_result.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

using Json = nlohmann::json;

// "10.1.2.3/24" → "10.1.2.3"; empty for what is no address.
std::string Address(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_string()) return "";
  std::string text = found->get<std::string>();
  text = text.substr(0, text.find('/'));
  unsigned char binary[sizeof(in6_addr)];
  const bool valid = inet_pton(AF_INET, text.c_str(), binary) == 1 ||
                     inet_pton(AF_INET6, text.c_str(), binary) == 1;
  return valid ? text : "";
}

// An entry of "ips" names its interface by index; one without a sandbox is on the host.
bool OnHost(const Json& ip, const Json& result) {
  const auto index = ip.find("interface");
  const auto interfaces = result.find("interfaces");
  if (index == ip.end() || !index->is_number_unsigned()) return false;
  if (interfaces == result.end() || !interfaces->is_array()) return false;
  const auto at = index->get<size_t>();
  if (at >= interfaces->size() || !(*interfaces)[at].is_object()) return false;
  const auto sandbox = (*interfaces)[at].find("sandbox");
  return sandbox == (*interfaces)[at].end() || !sandbox->is_string() ||
         sandbox->get_ref<const std::string&>().empty();
}

StatusOr<Json> ParseResult(absl::string_view text) {
  StatusOr<Json> result = ParseJson(text);
  if (result.ok() && result->is_object()) return result;
  constexpr size_t kShown = 200;
  return absl::DataLossError(
      absl::StrCat("the CNI result is malformed: ",
                   result.ok() ? absl::string_view("not an object") : result.status().message(),
                   "; the plugin printed \"", absl::CEscape(text.substr(0, kShown)), "\""));
}

void Add(std::string address, std::vector<std::string>& addresses) {
  if (address.empty()) return;
  if (std::find(addresses.begin(), addresses.end(), address) != addresses.end()) return;
  addresses.push_back(std::move(address));
}

}  // namespace

StatusOr<IpPreference> ParseIpPreference(absl::string_view name) {
  if (name == "cni") return IpPreference::kCni;
  if (name == "ipv4") return IpPreference::kIpv4;
  if (name == "ipv6") return IpPreference::kIpv6;
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is none of cni, ipv4, ipv6"));
}

StatusOr<std::vector<std::string>> PodAddresses(absl::string_view text, IpPreference preference) {
  ASSIGN_OR_RETURN(const Json result, ParseResult(text));
  std::vector<std::string> addresses;
  const auto ips = result.find("ips");
  if (ips != result.end() && ips->is_array()) {
    for (const Json& ip : *ips) {
      if (!ip.is_object() || OnHost(ip, result)) continue;
      Add(Address(ip, "address"), addresses);
    }
  }
  for (const char* old : {"ip4", "ip6"}) {
    if (result.contains(old)) Add(Address(result[old], "ip"), addresses);
  }
  if (addresses.empty()) return absl::InternalError("the CNI result has no address for the pod");
  if (preference == IpPreference::kCni) return addresses;
  const bool six = preference == IpPreference::kIpv6;
  std::stable_partition(addresses.begin(), addresses.end(), [six](const std::string& address) {
    return absl::StrContains(address, ":") == six;
  });
  return addresses;
}

StatusOr<std::string> WithCniVersion(absl::string_view text, absl::string_view version) {
  ASSIGN_OR_RETURN(Json result, ParseResult(text));
  const auto own = result.find("cniVersion");
  if (own != result.end() && own->is_string() && !own->get_ref<const std::string&>().empty())
    return std::string(text);
  result["cniVersion"] = version;
  return DumpJson(result);
}

}  // namespace gantry::cri
