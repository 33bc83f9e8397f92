#include "cri/network/network_annotations.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "cri/network/quantity.h"
#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

constexpr char kIngress[] = "kubernetes.io/ingress-bandwidth";
constexpr char kEgress[] = "kubernetes.io/egress-bandwidth";
constexpr uint64_t kLeastRate = 1'000;
constexpr uint64_t kGreatestRate = 1'000'000'000'000'000;
constexpr size_t kMaxAlias = 253;  // RFC 1035

Status Wrong(const std::string& value, absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(value), "\" is ", wanted));
}

StatusOr<uint64_t> Rate(const std::string& text) {
  ASSIGN_OR_RETURN(const uint64_t rate, ParseQuantity(text));
  if (rate >= kLeastRate && rate <= kGreatestRate) return rate;
  return Wrong(text, "out of range: 1k to 1P bits in a second");
}

Status CheckAddress(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  unsigned char binary[sizeof(in6_addr)];
  const bool four = inet_pton(AF_INET, parts[0].c_str(), binary) == 1;
  const bool six = inet_pton(AF_INET6, parts[0].c_str(), binary) == 1;
  int length = 0;
  const bool prefix =
      parts.size() == 1 || (parts.size() == 2 && absl::SimpleAtoi(parts[1], &length) &&
                            length >= 0 && length <= (four ? 32 : 128));
  return (four || six) && prefix ? absl::OkStatus()
                                 : Wrong(text, "no address; write 10.0.0.5 or 10.0.0.5/24");
}

Status CheckMac(const std::string& text) {
  const std::vector<std::string> bytes = absl::StrSplit(text, ':');
  const bool good =
      bytes.size() == 6 && std::all_of(bytes.begin(), bytes.end(), [](const std::string& byte) {
        return byte.size() == 2 &&
               byte.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
      });
  return good ? absl::OkStatus() : Wrong(text, "no hardware address; write 02:00:00:00:00:05");
}

Status CheckAlias(const std::string& text) {
  const bool good = !text.empty() && text.size() <= kMaxAlias &&
                    std::all_of(text.begin(), text.end(), [](char c) {
                      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
                             c == '.' || c == '_';
                    });
  return good ? absl::OkStatus() : Wrong(text, "no name");
}

// A list of lists of objects: what the plugin makes of them is its own to judge.
Status CheckRanges(const std::string& text) {
  ASSIGN_OR_RETURN(const nlohmann::json sets, ParseJson(text));
  const auto ranges = [](const nlohmann::json& set) {
    return set.is_array() && std::all_of(set.begin(), set.end(), [](const nlohmann::json& range) {
             return range.is_object();
           });
  };
  const bool good = sets.is_array() && std::all_of(sets.begin(), sets.end(), ranges);
  return good ? absl::OkStatus()
              : Wrong(text, R"(no list of ranges; write [[{"subnet": "10.0.0.0/24"}]])");
}

Status CheckEach(const std::vector<std::string>& values, Status (*check)(const std::string&)) {
  for (const std::string& value : values) RETURN_IF_ERROR(check(value));
  return absl::OkStatus();
}

Status ReadOne(const std::string& key, const std::string& value, NetworkAnnotations& read) {
  if (key == kIngress) {
    ASSIGN_OR_RETURN(read.bandwidth.ingress, Rate(value));
  } else if (key == kEgress) {
    ASSIGN_OR_RETURN(read.bandwidth.egress, Rate(value));
  } else if (key == kIpsAnnotation) {
    read.ips = absl::StrSplit(value, ',');
    return CheckEach(read.ips, CheckAddress);
  } else if (key == kAliasesAnnotation) {
    read.aliases = absl::StrSplit(value, ',');
    return CheckEach(read.aliases, CheckAlias);
  } else if (key == kMacAnnotation) {
    read.mac = value;
    return CheckMac(value);
  } else if (key == kIpRangesAnnotation) {
    read.ip_ranges = value;
    return CheckRanges(value);
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<NetworkAnnotations> ReadNetworkAnnotations(
    const std::map<std::string, std::string>& annotations,
    const std::vector<std::string>& allowed) {
  NetworkAnnotations read;
  for (const auto& [key, value] : annotations) {
    const bool chosen = std::find(allowed.begin(), allowed.end(), key) != allowed.end();
    if (key != kIngress && key != kEgress && !chosen) continue;
    RETURN_IF_ERROR_CONTEXT(ReadOne(key, value, read), absl::StrCat("annotation ", key));
  }
  return read;
}

}  // namespace gantry::cri
