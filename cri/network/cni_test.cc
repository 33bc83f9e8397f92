// Chains of plugins that are shell scripts: what they are given, in which order, and what becomes
// of their failures.
#include "cri/network/cni.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_exec.h"
#include "cri/network/script_plugins.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using CniTest = ScriptPlugins;

TEST_F(CniTest, ChainIsAddedInOrderAndDeletedInReverseWithTheResult) {
  Plugin("one", kAnswer);
  Plugin("two", kAnswer);
  const std::string config = List({"one", "two"});
  const auto added = Add(config);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_THAT(added->ips, ElementsAre("10.0.0.5"));
  EXPECT_EQ(nlohmann::json::parse(added->result_bytes)["by"], "two");
  EXPECT_FALSE(Input("one.ADD").contains("prevResult"));
  EXPECT_EQ(Input("two.ADD")["prevResult"]["by"], "one");
  EXPECT_EQ(Input("two.ADD")["key"], 7);
  EXPECT_EQ(Input("two.ADD")["name"], "net");
  EXPECT_EQ(Input("two.ADD")["cniVersion"], "1.0.0");

  const Status deleted = Del(added->config_bytes, added->result_bytes);
  EXPECT_TRUE(deleted.ok()) << deleted;
  EXPECT_EQ(File("bin/log"), "one ADD\ntwo ADD\ntwo DEL\none DEL\n");
  EXPECT_EQ(Input("one.DEL")["prevResult"]["by"], "two");
}

TEST_F(CniTest, EnvironmentIsWhatKubernetesPluginsExpect) {
  Plugin("one", kAnswer);
  setenv("CNI_ARGS", "of the daemon", 1);
  ASSERT_TRUE(Add(List({"one"})).ok());
  unsetenv("CNI_ARGS");
  const std::string env = File("bin/one.ADD.env");
  EXPECT_THAT(env, HasSubstr("CNI_CONTAINERID=abc123\n"));
  EXPECT_THAT(env, HasSubstr("CNI_NETNS=/proc/self/ns/net\n"));
  EXPECT_THAT(env, HasSubstr("CNI_IFNAME=eth0\n"));
  EXPECT_THAT(env,
              HasSubstr("CNI_PATH=" + options_.bin_dirs[0] + ":" + options_.bin_dirs[1] + "\n"));
  EXPECT_THAT(env, HasSubstr("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
                             "K8S_POD_INFRA_CONTAINER_ID=abc123;K8S_POD_UID=u-1\n"));
  EXPECT_THAT(env, Not(HasSubstr("of the daemon")));
}

TEST_F(CniTest, CapabilitiesGoToThePluginsThatAskForThem) {
  Plugin("one", kAnswer);
  Plugin("two", kAnswer);
  request_.port_mappings = {{8080, 80, "TCP", "127.0.0.1"}, {0, 90, "tcp", ""}};
  request_.dns.servers = {"10.0.0.10"};
  ASSERT_TRUE(Add(List({"one", "two"})).ok());
  const nlohmann::json config = Input("one.ADD")["runtimeConfig"];
  ASSERT_EQ(config["portMappings"].size(), 1u);
  EXPECT_EQ(config["portMappings"][0]["hostPort"], 8080);
  EXPECT_EQ(config["portMappings"][0]["containerPort"], 80);
  EXPECT_EQ(config["portMappings"][0]["protocol"], "tcp");
  EXPECT_EQ(config["portMappings"][0]["hostIP"], "127.0.0.1");
  EXPECT_EQ(config["dns"]["servers"][0], "10.0.0.10");
  EXPECT_FALSE(Input("two.ADD").contains("runtimeConfig"));
}

TEST_F(CniTest, PluginsOwnErrorIsPassedOnAndTheWholeListCanBeDeleted) {
  Plugin("one", kAnswer);
  Plugin(
      "two",
      R"(echo '{"code": 104, "msg": "no more addresses", "details": "in 10.0.0.0/24"}'; exit 1)");
  const auto added = Add(List({"one", "two", "one"}));
  EXPECT_EQ(added.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(added.status().message(),
            "CNI network \"net\": plugin \"two\" ADD: no more addresses; in 10.0.0.0/24");
  EXPECT_EQ(CniErrorCode(added.status()), 104);
  ASSERT_TRUE(Del(List({"one", "two", "one"})).ok());
  EXPECT_EQ(File("bin/log"), "one ADD\ntwo ADD\none DEL\ntwo DEL\none DEL\n");
  EXPECT_FALSE(Input("two.DEL").contains("prevResult"));
  // The same configuration works again when the plugin does.
  Plugin("two", kAnswer);
  EXPECT_TRUE(Add(List({"one", "two", "one"})).ok());
}

// The kernel does not execute a file that somebody has open for writing (ETXTBSY).
TEST_F(CniTest, APluginThatIsBeingInstalledIsWaitedFor) {
  Plugin("one", kAnswer);
  auto installer = OpenAt(AT_FDCWD, root_ + "/bin/one", O_WRONLY);
  ASSERT_TRUE(installer.ok()) << installer.status();
  std::thread end([&installer] {
    absl::SleepFor(absl::Milliseconds(300));
    *installer = UniqueFd();
  });
  const auto added = Add(List({"one"}));
  end.join();
  EXPECT_TRUE(added.ok()) << added.status();
}

struct BadPlugin {
  const char* description;
  const char* body;
  const char* error;
};

TEST_F(CniTest, FailuresWithoutAnErrorObjectAreWrapped) {
  const BadPlugin plugins[] = {
      {"text on standard error", "echo 'panic: no bridge' >&2; exit 3",
       "exit status 3: panic: no bridge"},
      {"text on standard output", "echo 'usage: none'; exit 2", "exit status 2: usage: none"},
      {"nothing", "exit 9", "exit status 9"},
      {"a signal", "kill -SEGV $$", "killed by signal 11"},
      {"try again later", R"(echo '{"code": 11, "msg": "later"}'; exit 1)", "ADD: later"},
      {"an error without a message", R"(echo '{"code": 7}'; exit 1)", "error 7 without a message"},
      {"a result, then an error",
       R"(echo '{"ips": [{"address": "10.0.0.5/24"}]}'; echo '{"code": 9, "msg": "full"}'; exit 1)",
       "ADD: full"},
      {"lines of a log, then an error",
       R"(echo '{"level": "info"}'; echo 'more {'; echo '{"code": 9, "msg": "full"}'; exit 1)",
       "ADD: full"},
      {"what was printed", "printf 'no\\n\\001'", R"(the plugin printed "no\n\001")"},
      {"garbage for a result", "echo 'done!'", "the CNI result is malformed"},
      {"an empty result", "true", "the CNI result is malformed"},
      {"a result without addresses", "echo '{}'", "no address for the pod"},
      {"too much output", "yes | head -c 5000000", "wrote more than"},
  };
  for (const BadPlugin& plugin : plugins) {
    std::filesystem::remove(root_ + "/bin/log");
    Plugin("one", plugin.body);
    const auto added = Add(List({"one"}));
    ASSERT_FALSE(added.ok()) << plugin.description;
    EXPECT_THAT(std::string(added.status().message()), HasSubstr(plugin.error))
        << plugin.description;
    EXPECT_TRUE(absl::IsInternal(added.status()) || absl::IsUnavailable(added.status()))
        << plugin.description << added.status();
    EXPECT_EQ(File("bin/log"), "one ADD\n") << plugin.description;
    EXPECT_TRUE(Del(List({"one"})).ok()) << plugin.description;
    EXPECT_FALSE(std::filesystem::exists(root_ + "/cache/results/net-abc123-eth0"));
  }
}

TEST_F(CniTest, CallerIsToldToTryAgainLater) {
  Plugin("one", R"(echo '{"code": 11, "msg": "later"}'; exit 1)");
  EXPECT_EQ(Add(List({"one"})).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(CniTest, HangingPluginIsKilledWithItsChildrenAtTheDeadline) {
  Plugin("one", "echo $$ > $dir/pid; sleep 1000 & echo $! >> $dir/pid; echo stuck >&2; wait");
  options_.add_timeout = absl::Milliseconds(700);
  const auto added = Add(List({"one"}));
  EXPECT_EQ(added.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(added.status().message()),
              HasSubstr("took too long and was killed: stuck"));
  int leader = 0;
  int child = 0;
  std::stringstream(File("bin/pid")) >> leader >> child;
  ASSERT_GT(child, 1);
  // The leader has been reaped; its orphan dies on its own schedule, but within the bound.
  EXPECT_NE(kill(leader, 0), 0);
  const absl::Time bound = absl::Now() + absl::Seconds(10);
  auto alive = [child] {
    const auto stat = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", child, "/stat"));
    return stat.ok() && !absl::StrContains(*stat, ") Z");
  };
  while (alive() && absl::Now() < bound) sched_yield();
  EXPECT_FALSE(alive());
}

TEST_F(CniTest, OrphanThatHoldsThePipesIsNotWaitedFor) {
  Plugin("one", absl::StrCat("sleep 30 & echo $! > $dir/pid\n", kAnswer));
  const absl::Time start = absl::Now();
  EXPECT_TRUE(Add(List({"one"})).ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  kill(atoi(File("bin/pid").c_str()), SIGKILL);
}

TEST_F(CniTest, PluginThatDoesNotReadItsInputIsNoError) {
  const std::string path = root_ + "/bin/one";
  std::ofstream(path) << "#!/bin/sh\nexec 0<&-\n[ $CNI_COMMAND = DEL ] || " << kAnswer << "\n";
  chmod(path.c_str(), 0755);
  request_.annotations["big"] = std::string(1 << 20, 'x');
  nlohmann::json list = nlohmann::json::parse(List({"one"}));
  list["plugins"][0]["capabilities"]["io.kubernetes.cri.pod-annotations"] = true;
  const auto added = Add(list.dump());
  EXPECT_TRUE(added.ok()) << added.status();
}

TEST_F(CniTest, PluginThatIsBeingWrittenIsTriedAgain) {
  Plugin("one", kAnswer);
  auto writer = OpenAt(AT_FDCWD, root_ + "/bin/one", O_WRONLY);
  ASSERT_TRUE(writer.ok());
  std::thread closer([&writer] {
    absl::SleepFor(absl::Milliseconds(300));  // the retry itself is what is tested
    writer->Reset();
  });
  const auto added = Add(List({"one"}));
  closer.join();
  EXPECT_TRUE(added.ok()) << added.status();
}

TEST_F(CniTest, MissingPluginIsNamedWithTheFolders) {
  const auto added = Add(List({"ghost"}));
  EXPECT_THAT(
      std::string(added.status().message()),
      HasSubstr("CNI plugin \"ghost\" is in none of " + root_ + "/nowhere, " + root_ + "/bin"));
}

TEST_F(CniTest, DelGoesOnPastAFailingPluginAndReportsIt) {
  Plugin("one", kAnswer);
  Plugin("two", kAnswer);
  OnDel("two", R"(echo '{"code": 5, "msg": "device busy"}'; exit 1)");
  const Status status = Del(List({"one", "two"}));
  EXPECT_EQ(status.message(), "CNI network \"net\": plugin \"two\" DEL: device busy");
  EXPECT_EQ(File("bin/log"), "two DEL\none DEL\n");
}

TEST_F(CniTest, UnknownContainerIsASuccessfulDel) {
  Plugin("one", kAnswer);
  OnDel("one", R"(echo '{"code": 3, "msg": "who?"}'; exit 1)");
  EXPECT_TRUE(Del(List({"one"})).ok());
}

TEST_F(CniTest, DelWithoutANamespaceHasAnEmptyNetns) {
  Plugin("one", kAnswer);
  for (const std::string& path : {std::string(), root_ + "/gone", root_ + "/bin/one"}) {
    request_.netns_path = path;
    EXPECT_TRUE(Del(List({"one"})).ok());
    EXPECT_THAT(File("bin/one.DEL.env"), HasSubstr("CNI_NETNS=\n")) << path;
  }
}

TEST_F(CniTest, OldVersionsGetNoResultAtDel) {
  Plugin("one", kAnswer);
  const auto added = Add(List({"one"}, "0.3.1"));
  ASSERT_TRUE(added.ok());
  ASSERT_TRUE(Del(added->config_bytes, added->result_bytes).ok());
  EXPECT_FALSE(Input("one.DEL").contains("prevResult"));
}

TEST_F(CniTest, ResultCacheIsThatOfLibcniAndGoesWithTheDel) {
  Plugin("one", kAnswer);
  request_.port_mappings = {{8080, 80, "tcp", ""}};
  const auto added = Add(List({"one"}));
  ASSERT_TRUE(added.ok());
  const nlohmann::json entry = nlohmann::json::parse(File("cache/results/net-abc123-eth0"));
  EXPECT_EQ(entry["kind"], "cniCacheV1");
  EXPECT_EQ(entry["containerId"], "abc123");
  EXPECT_EQ(entry["ifName"], "eth0");
  EXPECT_EQ(entry["networkName"], "net");
  EXPECT_EQ(entry["netns"], "/proc/self/ns/net");
  EXPECT_EQ(entry["cniArgs"][4], nlohmann::json({"K8S_POD_UID", "u-1"}));
  EXPECT_EQ(entry["capabilityArgs"]["portMappings"][0]["hostPort"], 8080);
  EXPECT_EQ(entry["result"]["by"], "one");
  ASSERT_TRUE(Del(added->config_bytes, added->result_bytes).ok());
  EXPECT_TRUE(std::filesystem::is_empty(root_ + "/cache/results"));
}

TEST_F(CniTest, ValuesThatCniArgsCannotHoldAreRefused) {
  Plugin("one", kAnswer);
  request_.name = "web;K8S_POD_NAMESPACE=kube-system";
  EXPECT_EQ(Add(List({"one"})).status().code(), absl::StatusCode::kInvalidArgument);
  request_.name = "web";
  request_.id = "../../x";
  EXPECT_EQ(Add(List({"one"})).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(File("bin/log"), "");
}

}  // namespace
}  // namespace gantry::cri
