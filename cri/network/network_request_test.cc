// What a pod asks of its network: quantities, annotations, and what plugins are told of them.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_echo.h"
#include "cri/network/cni_input.h"
#include "cri/network/network_annotations.h"
#include "cri/network/quantity.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Amount {
  const char* text;
  uint64_t value;
};

TEST(Quantity, ReadsWhatKubernetesWrites) {
  const Amount kAmounts[] = {
      {"0", 0},
      {"1", 1},
      {"1k", 1000},
      {"10M", 10000000},
      {"1.5M", 1500000},
      {"1Ki", 1024},
      {"1.5Gi", 1610612736},
      {"1P", 1000000000000000},
      {"2e6", 2000000},
      {"2E3", 2000},
      {"1E", 1000000000000000000},
      {"0.5", 1},
      {"1500m", 2},
      {"1n", 1},
      {".5k", 500},
      {"5.", 5},
      {"+3", 3},
      {"12e-1", 2},
      {"9223372036854775807n", 9223372037},
      {"000000000000000001", 1},
  };
  for (const Amount& amount : kAmounts) {
    const auto value = ParseQuantity(amount.text);
    if (std::string(amount.text).size() > 19) {
      EXPECT_FALSE(value.ok()) << amount.text;  // more digits than are read
      continue;
    }
    ASSERT_TRUE(value.ok()) << amount.text << ": " << value.status();
    EXPECT_EQ(*value, amount.value) << amount.text;
  }
}

TEST(Quantity, RefusesTheRest) {
  for (const char* text :
       {"", "M", ".", "-1", "1 M", "1m5", "1e", "1e99", "1kk", "1K", "ten", "1e+-2", "1.2.3",
        "0x10", "1234567890123456789", "9300P", "10E", "1ei", "1.k."}) {
    EXPECT_EQ(ParseQuantity(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(NetworkAnnotations, BandwidthIsKubernetesOwn) {
  const auto read = ReadNetworkAnnotations({{"kubernetes.io/ingress-bandwidth", "1k"},
                                            {"kubernetes.io/egress-bandwidth", "1P"},
                                            {"other", "x"}},
                                           {});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->bandwidth.ingress, 1000u);
  EXPECT_EQ(read->bandwidth.egress, 1000000000000000u);
}

TEST(NetworkAnnotations, AddressesAreChosenOnlyWhereThatIsAllowed) {
  const std::map<std::string, std::string> kAll = {
      {kIpsAnnotation, "10.0.0.5/24,fd00::5"},
      {kMacAnnotation, "02:00:00:00:00:05"},
      {kAliasesAnnotation, "web,www.example"},
      {kIpRangesAnnotation, R"([[{"subnet": "10.0.0.0/24"}]])"},
  };
  const auto ignored = ReadNetworkAnnotations(kAll, {kAliasesAnnotation});
  ASSERT_TRUE(ignored.ok());
  EXPECT_TRUE(ignored->ips.empty() && ignored->mac.empty() && ignored->ip_ranges.empty());
  EXPECT_THAT(ignored->aliases, ElementsAre("web", "www.example"));

  const auto read = ReadNetworkAnnotations(
      kAll, {kIpsAnnotation, kMacAnnotation, kAliasesAnnotation, kIpRangesAnnotation});
  ASSERT_TRUE(read.ok()) << read.status();
  const nlohmann::json args = CapabilityArgs(PodNetworkRequest(), *read);
  EXPECT_EQ(args, nlohmann::json::parse(R"({"ips": ["10.0.0.5/24", "fd00::5"],
      "mac": "02:00:00:00:00:05", "aliases": ["web", "www.example"],
      "ipRanges": [[{"subnet": "10.0.0.0/24"}]]})"));
}

struct BadAnnotation {
  const char* key;
  const char* value;
  const char* error;
};

TEST(NetworkAnnotations, BadOnesAreNamed) {
  const BadAnnotation kBad[] = {
      {"kubernetes.io/ingress-bandwidth", "fast", "\"fast\" is no quantity"},
      {"kubernetes.io/ingress-bandwidth", "999", "out of range: 1k to 1P"},
      {"kubernetes.io/egress-bandwidth", "1001T", "out of range: 1k to 1P"},
      {kIpsAnnotation, "10.0.0.5,", "\"\" is no address"},
      {kIpsAnnotation, "10.0.0.5/33", "is no address"},
      {kIpsAnnotation, "fd00::5/129", "is no address"},
      {kIpsAnnotation, "10.0.0.5/24/7", "is no address"},
      {kMacAnnotation, "02:00:00:00:00", "is no hardware address"},
      {kMacAnnotation, "02:00:00:00:00:0g", "is no hardware address"},
      {kAliasesAnnotation, "a b", "is no name"},
      {kIpRangesAnnotation, "[{}]", "is no list of ranges"},
      {kIpRangesAnnotation, "[[", "annotation io.gantry/ip-ranges"},
  };
  for (const BadAnnotation& bad : kBad) {
    const Status status = ReadNetworkAnnotations({{bad.key, bad.value}}, {bad.key}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.key)) << bad.value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.error)) << bad.value;
  }
}

TEST(CapabilityArgs, AllThatThePodHas) {
  PodNetworkRequest request;
  request.port_mappings = {{8080, 80, "UDP", "::1"}, {0, 1, "tcp", ""}};
  request.dns = {{"10.0.0.10"}, {"svc.local"}, {"ndots:5"}};
  request.annotations = {{"a", "b"}};
  request.cgroup_path = "/kubepods/pod1";
  NetworkAnnotations asked;
  asked.bandwidth = {1000, 2000};
  EXPECT_EQ(CapabilityArgs(request, asked), nlohmann::json::parse(R"({
      "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "::1"}],
      "dns": {"servers": ["10.0.0.10"], "searches": ["svc.local"], "options": ["ndots:5"]},
      "cgroupPath": "/kubepods/pod1",
      "io.kubernetes.cri.pod-annotations": {"a": "b"},
      "bandwidth": {"ingressRate": 1000, "ingressBurst": 4294967295,
                    "egressRate": 2000, "egressBurst": 4294967295}})"));
  EXPECT_TRUE(CapabilityArgs(PodNetworkRequest(), NetworkAnnotations()).empty());
}

TEST(OnlyEchoes, OnlyWhatUpstreamHasAndNothingIsAskedOf) {
  const nlohmann::json none = nlohmann::json::object();
  const nlohmann::json ports = {{"portMappings", nlohmann::json::array({1})}};
  const CniPlugin portmap{"portmap", {"portMappings"}, R"({"type": "portmap", "snat": true})"};
  EXPECT_TRUE(OnlyEchoes(portmap, none));
  EXPECT_FALSE(OnlyEchoes(portmap, ports));
  EXPECT_FALSE(OnlyEchoes({"bridge", {}, R"({"type": "bridge"})"}, none));
  EXPECT_FALSE(OnlyEchoes({"portmap", {}, R"({"type": "portmap", "extra": 1})"}, none));
  EXPECT_FALSE(OnlyEchoes({"portmap", {}, R"({"type": "portmap", "runtimeConfig": {}})"}, none));
  // It has not asked for the mappings: it is not given them.
  EXPECT_TRUE(OnlyEchoes({"portmap", {}, R"({"type": "portmap"})"}, ports));
  EXPECT_FALSE(OnlyEchoes({"bandwidth", {}, R"({"type": "bandwidth", "egressRate": 5})"}, none));
}

}  // namespace
}  // namespace gantry::cri
