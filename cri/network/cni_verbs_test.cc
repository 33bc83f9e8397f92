// What is run between pods and beside them: STATUS and GC, plugins that are left out, the end of
// the daemon.
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "cri/network/plugin_orphans.h"
#include "cri/network/script_plugins.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::cri {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kBound = absl::Seconds(30);

class CniVerbs : public ScriptPlugins {
 protected:
  CniVerbs() {
    options_.health.period = absl::Milliseconds(20);
    options_.health.grace = absl::ZeroDuration();
  }
  void Configure(const std::string& text) {
    std::ofstream(options_.conf_dir + "/10.conflist") << text;
  }
  // How the STATUS of "one" answers from now on.
  void OnStatus(const std::string& body) {
    std::ofstream(root_ + "/bin/next") << body << "\n";
    std::filesystem::rename(root_ + "/bin/next", root_ + "/bin/one.status");
  }
  void PluginWithStatus() {
    Plugin("one", std::string("[ $CNI_COMMAND = STATUS ] && { . $dir/one.status; exit 0; }\n") +
                      "[ $CNI_COMMAND = GC ] && exit 0\n" + kAnswer);
  }
  static bool Comes(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + kBound;
    while (!condition() && absl::Now() < end) usleep(2000);
    return condition();
  }
};

TEST_F(CniVerbs, ReadyTellsWhatIsMissing) {
  const Network network(options_, logger());
  EXPECT_THAT(std::string(network.Ready().message()), HasSubstr("no CNI configuration in"));
  EXPECT_EQ(network.Config().status().code(), absl::StatusCode::kUnavailable);
  Configure(List({"one"}));
  ASSERT_TRUE(Comes([&] { return network.Config().ok(); }));
  EXPECT_EQ(network.Ready().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(network.Ready().message()), HasSubstr("plugin \"one\" is in none of"));
  Plugin("one", kAnswer);
  EXPECT_TRUE(network.Ready().ok());
  EXPECT_EQ(File("bin/log"), "");  // nothing was run for it
}

TEST_F(CniVerbs, StatusIsAskedInTheBackgroundAndItsWordsArePassedOn) {
  PluginWithStatus();
  OnStatus(R"(echo '{"code": 50, "msg": "no agent yet", "details": "retrying"}'; exit 1)");
  Configure(List({"one"}, "1.1.0"));
  Network network(options_, logger());
  ASSERT_TRUE(Comes([&] { return absl::StrContains(network.Ready().message(), "no agent"); }));
  EXPECT_EQ(
      network.Ready(),
      absl::UnavailableError("CNI network \"net\": plugin \"one\" STATUS: no agent yet; retrying"));
  EXPECT_THAT(File("bin/one.STATUS.env"), Not(HasSubstr("CNI_CONTAINERID")));
  EXPECT_THAT(File("bin/one.STATUS.env"), HasSubstr("CNI_PATH="));
  OnStatus("true");
  EXPECT_TRUE(Comes([&] { return network.Ready().ok(); }));
  OnStatus("exit 1");
  EXPECT_TRUE(Comes([&] { return !network.Ready().ok(); }));
}

TEST_F(CniVerbs, NetworkThatWasWellStaysSoForTheGrace) {
  options_.health.grace = absl::Hours(1);
  PluginWithStatus();
  OnStatus("true");
  Configure(List({"one"}, "1.1.0"));
  Network network(options_, logger());
  ASSERT_TRUE(Comes([&] { return network.Ready().ok(); }));
  OnStatus("echo bad >> $dir/asked; exit 1");
  ASSERT_TRUE(Comes([&] { return File("bin/asked").size() > 8; }));
  EXPECT_TRUE(network.Ready().ok());
}

TEST_F(CniVerbs, OldConfigurationsHaveNoStatusAndNoGc) {
  Plugin("one", kAnswer);
  Configure(List({"one"}, "1.0.0"));
  Network network(options_, logger());
  std::atomic<bool> asked{false};
  network.CollectGarbageWhenReady([&asked] {
    asked = true;
    return std::vector<CniAttachment>();
  });
  EXPECT_TRUE(network.Ready().ok());
  // A pod goes through all that the network does.
  ASSERT_TRUE(network.Add(request_, List({"one"})).ok());
  EXPECT_EQ(File("bin/log"), "one ADD\n");
  EXPECT_FALSE(asked);
}

TEST_F(CniVerbs, HangingStatusNeitherHoldsUpReadyNorTheEnd) {
  PluginWithStatus();
  OnStatus("echo $$ > $dir/pid; exec sleep 1000");
  options_.status_timeout = absl::Hours(1);
  Configure(List({"one"}, "1.1.0"));
  std::string pid;
  {
    const Network network(options_, logger());
    ASSERT_TRUE(Comes([&] { return !File("bin/pid").empty(); }));
    EXPECT_THAT(std::string(network.Ready().message()), HasSubstr("have not answered STATUS yet"));
    pid = File("bin/pid");
  }  // ends at once
  EXPECT_NE(kill(atoi(pid.c_str()), 0), 0);
}

TEST_F(CniVerbs, GcIsRunOnceWithWhatIsToStay) {
  PluginWithStatus();
  OnStatus("true");
  Configure(List({"one"}, "1.1.0"));
  Network network(options_, logger());
  network.CollectGarbageWhenReady([] {
    return std::vector<CniAttachment>{{"pod1", "eth0"}, {"pod2", "eth0"}};
  });
  ASSERT_TRUE(Comes([&] { return absl::StrContains(File("bin/log"), "one GC\n"); }));
  // Some rounds of STATUS later.
  const size_t rounds = File("bin/log").size() + 60;
  ASSERT_TRUE(Comes([&] { return File("bin/log").size() > rounds; }));
  EXPECT_EQ(File("bin/log").find("one GC"), File("bin/log").rfind("one GC"));
  const nlohmann::json input = Input("one.GC");
  const nlohmann::json valid = {{{"containerID", "pod1"}, {"ifname", "eth0"}},
                                {{"containerID", "pod2"}, {"ifname", "eth0"}}};
  EXPECT_EQ(input["cni.dev/valid-attachments"], valid);
  EXPECT_EQ(input["cniVersion"], "1.1.0");
  EXPECT_FALSE(input.contains("prevResult"));
}

TEST_F(CniVerbs, GcIsNotRunWhereItIsDisabled) {
  PluginWithStatus();
  OnStatus("true");
  nlohmann::json list = nlohmann::json::parse(List({"one"}, "1.1.0"));
  list["disableGC"] = true;
  Configure(list.dump());
  Network network(options_, logger());
  network.CollectGarbageWhenReady([] { return std::vector<CniAttachment>(); });
  ASSERT_TRUE(Comes([&] { return File("bin/log").size() > 60; }));
  EXPECT_THAT(File("bin/log"), Not(HasSubstr("GC")));
}

TEST_F(CniVerbs, GcWaitsForPodsAndPodsForGc) {
  PluginWithStatus();
  OnStatus("true");
  Plugin("slow",
         std::string("echo begin >> $dir/order; while [ ! -e $dir/go ]; do sleep 0.01; done;"
                     "echo end >> $dir/order\n") +
             kAnswer);
  Configure(List({"one"}, "1.1.0"));
  Network network(options_, logger());
  std::thread pod([&] { EXPECT_TRUE(network.Add(request_, List({"slow"})).ok()); });
  ASSERT_TRUE(Comes([&] { return !File("bin/order").empty(); }));
  network.CollectGarbageWhenReady([this] {
    std::ofstream(root_ + "/bin/order", std::ios::app) << "gc\n";
    return std::vector<CniAttachment>();
  });
  const size_t rounds = File("bin/log").size() + 60;
  ASSERT_TRUE(Comes([&] { return File("bin/log").size() > rounds; }));
  std::ofstream(root_ + "/bin/go") << "";
  pod.join();
  ASSERT_TRUE(Comes([&] { return absl::StrContains(File("bin/order"), "gc"); }));
  EXPECT_EQ(File("bin/order"), "begin\nend\ngc\n");
}

TEST_F(CniVerbs, PluginsThatWouldOnlyEchoAreNotRun) {
  Plugin("one", kAnswer);
  Plugin("portmap", kAnswer);
  Plugin("bandwidth", kAnswer);
  nlohmann::json list = nlohmann::json::parse(List({"one", "portmap", "bandwidth"}));
  for (int i = 1; i < 3; ++i) list["plugins"][i].erase("key");
  list["plugins"][1]["capabilities"] = {{"portMappings", true}};
  list["plugins"][1]["snat"] = true;
  list["plugins"][2]["capabilities"] = {{"bandwidth", true}};
  const auto added = Add(list.dump());
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_TRUE(Del(added->config_bytes, added->result_bytes).ok());
  EXPECT_EQ(File("bin/log"), "one ADD\none DEL\n");

  std::filesystem::remove(root_ + "/bin/log");
  request_.port_mappings = {{8080, 80, "tcp", ""}};
  request_.annotations["kubernetes.io/ingress-bandwidth"] = "10M";
  ASSERT_TRUE(Add(list.dump()).ok());
  EXPECT_EQ(File("bin/log"), "one ADD\nportmap ADD\nbandwidth ADD\n");
  EXPECT_EQ(Input("bandwidth.ADD")["runtimeConfig"]["bandwidth"],
            nlohmann::json({{"ingressRate", 10000000}, {"ingressBurst", 4294967295u}}));

  // A key that is not upstream's: it may be another program of that name.
  std::filesystem::remove(root_ + "/bin/log");
  request_.port_mappings.clear();
  list["plugins"][1]["mine"] = 1;
  list["plugins"][2]["ingressRate"] = 100;
  request_.annotations.clear();
  ASSERT_TRUE(Add(list.dump()).ok());
  EXPECT_EQ(File("bin/log"), "one ADD\nportmap ADD\nbandwidth ADD\n");
}

TEST_F(CniVerbs, CancelKillsADelAndLeavesItOwed) {
  Plugin("one", kAnswer);
  OnDel("one", "echo $$ > $dir/pid; sleep 1000");
  Network network(options_, logger());
  std::thread daemon([&] {
    EXPECT_TRUE(Comes([&] { return !File("bin/pid").empty(); }));
    network.Cancel();
  });
  const Status status = network.Del(request_, List({"one"}), "");
  daemon.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_NE(kill(atoi(File("bin/pid").c_str()), 0), 0);
}

TEST_F(CniVerbs, PluginsOfADeadDaemonAreKilledAndNobodyElse) {
  const auto start = [](const std::string& pod, const std::string& command) {
    SpawnRequest request;
    request.path = "/bin/sh";
    request.args = {"sh", "-c", "sleep 1000 & wait"};
    request.env = {"PATH=/bin:/usr/bin", "CNI_CONTAINERID=" + pod};
    if (!command.empty()) request.env.push_back("CNI_COMMAND=" + command);
    request.fds = {{0, 0}, {1, 1}, {2, 2}};
    request.new_session = true;
    return *Spawn(request);
  };
  const std::string mine = "orphan-test-mine";
  const ClonedProcess orphan = start(mine, "ADD");
  const ClonedProcess other_pod = start("orphan-test-other", "ADD");
  const ClonedProcess no_plugin = start(mine, "");
  ASSERT_TRUE(Comes([&] {  // its child is there too
    return ReadFileAt(AT_FDCWD, "/proc/" + std::to_string(orphan.pid) + "/task/" +
                                    std::to_string(orphan.pid) + "/children")
               .value_or("?") != "";
  }));
  EXPECT_GE(EndPluginsOf({mine}), 2);
  EXPECT_EQ((*WaitPidFd(orphan.pidfd.get(), true))->Code(), 137);
  for (const ClonedProcess* process : {&other_pod, &no_plugin}) {
    EXPECT_FALSE(WaitPidFd(process->pidfd.get(), false)->has_value());
    kill(-process->pid, SIGKILL);
    (void)WaitPidFd(process->pidfd.get(), true);
  }
  EXPECT_EQ(EndPluginsOf({}), 0);
}

TEST_F(CniVerbs, EveryRunIsALineAtDebug) {
  Plugin("one", kAnswer);
  const auto file = OpenAt(AT_FDCWD, root_ + "/lines", O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(file.ok());
  Network network(options_, Logger(LogFormat::kText, LogLevel::kDebug, file->get()));
  ASSERT_TRUE(network.Add(request_, List({"one"})).ok());
  EXPECT_THAT(File("lines"), HasSubstr("network=net plugin=one verb=ADD pod=abc123 took="));
}

}  // namespace
}  // namespace gantry::cri
