#include "cri/network/cni_result.h"

#include <arpa/inet.h>

#include <algorithm>

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

}  // namespace

StatusOr<std::vector<std::string>> PodAddresses(absl::string_view text) {
  const StatusOr<Json> result = ParseJson(text);
  if (!result.ok() || !result->is_object()) {
    return absl::DataLossError(
        absl::StrCat("the CNI result is malformed: ",
                     result.ok() ? absl::string_view("not an object") : result.status().message()));
  }
  std::vector<std::string> addresses;
  const auto ips = result->find("ips");
  if (ips != result->end() && ips->is_array()) {
    for (const Json& ip : *ips) {
      if (!ip.is_object() || OnHost(ip, *result)) continue;
      addresses.push_back(Address(ip, "address"));
    }
  }
  for (const char* old : {"ip4", "ip6"}) {
    if (result->contains(old)) addresses.push_back(Address((*result)[old], "ip"));
  }
  std::erase(addresses, "");
  std::stable_partition(addresses.begin(), addresses.end(), [](const std::string& address) {
    return !absl::StrContains(address, ":");
  });
  if (!addresses.empty()) return addresses;
  return absl::InternalError("the CNI result has no address for the pod");
}

}  // namespace gantry::cri
