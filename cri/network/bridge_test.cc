// The real plugins bridge and host-local, in a network namespace that stands for the host.
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/network/cni.h"
#include "cri/network/netns.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPluginDir[] = "/usr/lib/cni";

// A fresh network namespace that lives by this descriptor.
UniqueFd NewNetns() {
  UniqueFd fd;
  std::thread([&fd] {
    if (unshare(CLONE_NEWNET) == 0)
      fd.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  return fd;
}

// "IFNAME ADDRESS" of each IPv4 address inside.
std::set<std::string> AddressesIn(int netns) {
  std::set<std::string> found;
  std::thread([&found, netns] {
    if (setns(netns, CLONE_NEWNET) != 0) return;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) return;
    for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
      if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
      char text[INET_ADDRSTRLEN];
      const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
      inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
      found.insert(absl::StrCat(one->ifa_name, " ", text));
    }
    freeifaddrs(list);
  }).join();
  return found;
}

class BridgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: makes namespaces";
    if (access(absl::StrCat(kPluginDir, "/bridge").c_str(), X_OK) != 0) {
      GTEST_SKIP() << "needs the CNI plugins in " << kPluginDir;
    }
    signal(SIGPIPE, SIG_IGN);
    // The links that bridge makes, and the pins, are seen by nobody else.
    ASSERT_EQ(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    root_ = testing::TempDir() + "/gantry_bridge_XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    options_.bin_dirs = {kPluginDir};
    options_.cache_dir = root_ + "/cache";
    config_ = absl::StrCat(R"({"cniVersion": "1.0.0", "name": "testnet", "plugins": [
        {"type": "bridge", "bridge": "gtest0", "isGateway": true,
         "ipam": {"type": "host-local", "dataDir": ")",
                           root_, R"(/ipam",
                  "ranges": [[{"subnet": "10.88.7.0/29"}]]}}]})");
  }
  void TearDown() override {
    if (root_.empty()) return;
    for (const std::string& id : pinned_) EXPECT_TRUE(UnpinNetns(Pin(id)).ok());
    std::filesystem::remove_all(root_);
  }

  [[nodiscard]] std::string Pin(const std::string& id) const { return root_ + "/netns/" + id; }
  PodNetworkRequest Pod(const std::string& id, int netns) {
    const Status pinned = PinNetns(netns, Pin(id));
    EXPECT_TRUE(pinned.ok()) << pinned;
    pinned_.push_back(id);
    return Request(id);
  }
  [[nodiscard]] PodNetworkRequest Request(const std::string& id) const {
    PodNetworkRequest request;
    request.id = id;
    request.name = "pod-" + id;
    request.namespace_name = "default";
    request.uid = "uid";
    request.netns_path = Pin(id);
    return request;
  }
  // The addresses that host-local has given out.
  [[nodiscard]] std::set<std::string> Allocated() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root_ + "/ipam/testnet")) {
      const std::string name = entry.path().filename();
      if (name.starts_with("10.")) names.insert(name);
    }
    return names;
  }

  std::string root_;
  std::string config_;
  NetworkOptions options_;
  std::vector<std::string> pinned_;
};

TEST_F(BridgeTest, PodHasItsAddressUntilItIsDeleted) {
  const UniqueFd netns = NewNetns();
  ASSERT_TRUE(netns.valid());
  const PodNetworkRequest pod = Pod("a", netns.get());
  Network network(options_, Logger(LogFormat::kText, LogLevel::kError));
  const auto added = network.Add(pod, config_);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_THAT(added->ips, ElementsAre("10.88.7.2"));
  EXPECT_THAT(AddressesIn(netns.get()), Contains("eth0 10.88.7.2"));
  EXPECT_THAT(Allocated(), ElementsAre("10.88.7.2"));

  for (int i = 0; i < 2; ++i) {  // idempotent
    const Status deleted = network.Del(pod, added->config_bytes, added->result_bytes);
    EXPECT_TRUE(deleted.ok()) << deleted;
  }
  EXPECT_THAT(Allocated(), ElementsAre());
  EXPECT_THAT(AddressesIn(netns.get()), Not(Contains("eth0 10.88.7.2")));
}

TEST_F(BridgeTest, AddressIsFreedWhenTheNamespaceIsGone) {
  UniqueFd netns = NewNetns();
  const PodNetworkRequest pod = Pod("a", netns.get());
  Network network(options_, Logger(LogFormat::kText, LogLevel::kError));
  const auto added = network.Add(pod, config_);
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_TRUE(UnpinNetns(Pin("a")).ok());
  netns.Reset();
  const Status deleted = network.Del(pod, added->config_bytes, added->result_bytes);
  EXPECT_TRUE(deleted.ok()) << deleted;
  EXPECT_THAT(Allocated(), ElementsAre());
}

TEST_F(BridgeTest, FullRangeFailsInThePluginsWordsAndLeavesNothing) {
  Network network(options_, Logger(LogFormat::kText, LogLevel::kError));
  std::vector<UniqueFd> namespaces;
  for (int i = 0; i < 5; ++i) {  // a /29 less network, gateway and broadcast
    namespaces.push_back(NewNetns());
    const auto added = network.Add(Pod(absl::StrCat("p", i), namespaces.back().get()), config_);
    ASSERT_TRUE(added.ok()) << added.status();
  }
  namespaces.push_back(NewNetns());
  const auto added = network.Add(Pod("last", namespaces.back().get()), config_);
  EXPECT_THAT(std::string(added.status().message()),
              HasSubstr("CNI network \"testnet\": plugin \"bridge\" ADD: "));
  EXPECT_THAT(std::string(added.status().message()), HasSubstr("no IP addresses available"));
  EXPECT_TRUE(network.Del(Request("last"), config_, "").ok());
  EXPECT_EQ(Allocated().size(), 5u);
  EXPECT_THAT(AddressesIn(namespaces.back().get()), ElementsAre());
}

TEST_F(BridgeTest, PinOutlivesTheDescriptorAndIsRemovedWhole) {
  UniqueFd netns = NewNetns();
  ASSERT_TRUE(PinNetns(netns.get(), Pin("x")).ok());
  netns.Reset();
  EXPECT_TRUE(IsPinnedNetns(Pin("x")));
  const Status twice = PinNetns(NewNetns().get(), Pin("x"));
  EXPECT_FALSE(twice.ok());
  EXPECT_TRUE(IsPinnedNetns(Pin("x")));
  EXPECT_TRUE(UnpinNetns(Pin("x")).ok());
  EXPECT_FALSE(std::filesystem::exists(Pin("x")));
  EXPECT_TRUE(UnpinNetns(Pin("x")).ok());
}

TEST_F(BridgeTest, StalePlainFileIsRemoved) {
  std::filesystem::create_directories(root_ + "/netns");
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, Pin("x"), "", 0444).ok());
  EXPECT_FALSE(IsPinnedNetns(Pin("x")));
  EXPECT_TRUE(UnpinNetns(Pin("x")).ok());
  EXPECT_FALSE(std::filesystem::exists(Pin("x")));
}

TEST_F(BridgeTest, PinOfWhatIsNoNamespaceLeavesNothing) {
  EXPECT_FALSE(PinNetns(-1, Pin("x")).ok());
  EXPECT_FALSE(std::filesystem::exists(Pin("x")));
}

}  // namespace
}  // namespace gantry::cri
