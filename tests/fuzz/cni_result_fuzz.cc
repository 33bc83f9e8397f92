// What a plugin prints for ADD: the addresses that we read from it.
//
// All are addresses, none twice; the preference changes the order and nothing else; and what is
// handed on to the next plugin says the same addresses and has a version.
#include <arpa/inet.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_result.h"

namespace gantry::cri {
namespace {

void Expect(bool holds) {
  if (!holds) abort();
}

bool IsAddress(const std::string& text) {
  unsigned char binary[sizeof(in6_addr)];
  return inet_pton(AF_INET, text.c_str(), binary) == 1 ||
         inet_pton(AF_INET6, text.c_str(), binary) == 1;
}

bool IsSix(const std::string& text) { return text.find(':') != std::string::npos; }

void CheckOrder(absl::string_view text, IpPreference preference,
                const std::vector<std::string>& plain) {
  auto sorted = PodAddresses(text, preference);
  Expect(sorted.ok());
  const bool six = preference == IpPreference::kIpv6;
  Expect(std::is_partitioned(sorted->begin(), sorted->end(),
                             [six](const std::string& address) { return IsSix(address) == six; }));
  Expect(std::set<std::string>(sorted->begin(), sorted->end()) ==
         std::set<std::string>(plain.begin(), plain.end()));
}

void Check(absl::string_view text) {
  const auto handed_on = WithCniVersion(text, "1.0.0");
  if (handed_on.ok())
    Expect(!nlohmann::json::parse(*handed_on)["cniVersion"].get<std::string>().empty());
  const auto plain = PodAddresses(text, IpPreference::kCni);
  if (!plain.ok()) return;
  Expect(!plain->empty() && std::all_of(plain->begin(), plain->end(), IsAddress));
  Expect(std::set<std::string>(plain->begin(), plain->end()).size() == plain->size());
  CheckOrder(text, IpPreference::kIpv4, *plain);
  CheckOrder(text, IpPreference::kIpv6, *plain);
  Expect(handed_on.ok() && *PodAddresses(*handed_on, IpPreference::kCni) == *plain);
}

}  // namespace
}  // namespace gantry::cri

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gantry::cri::Check(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
