// For tests: CNI plugins that are shell scripts and write down what they are given.
#pragma once

#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni.h"

namespace gantry::cri {

// Every script writes down its calls: "NAME VERB" in log, its input and environment in files.
inline constexpr char kPreamble[] = R"(#!/bin/sh
dir=${0%/*}; name=${0##*/}
cat > "$dir/$name.$CNI_COMMAND.json"
env | grep ^CNI_ > "$dir/$name.$CNI_COMMAND.env"
echo "$name $CNI_COMMAND" >> "$dir/log"
[ $CNI_COMMAND = DEL ] && [ -z "$del_fails" ] && [ ! -e "$dir/$name.del" ] && exit 0
[ $CNI_COMMAND = DEL ] && [ -e "$dir/$name.del" ] && . "$dir/$name.del"
)";
inline constexpr char kAnswer[] =
    R"(echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}],"by":"'$name'"}')";

class ScriptPlugins : public ::testing::Test {
 protected:
  ScriptPlugins() {
    signal(SIGPIPE, SIG_IGN);  // as the daemon does
    root_ = testing::TempDir() + "/gantry_cni_XXXXXX";
    EXPECT_NE(mkdtemp(root_.data()), nullptr);
    std::filesystem::create_directories(root_ + "/bin");
    std::filesystem::create_directories(root_ + "/net.d");
    options_.conf_dir = root_ + "/net.d";
    options_.bin_dirs = {root_ + "/nowhere", root_ + "/bin"};
    options_.cache_dir = root_ + "/cache";
    options_.conf.grace = absl::ZeroDuration();
    options_.conf.watch.quiet = absl::Milliseconds(20);
    request_.id = "abc123";
    request_.name = "web";
    request_.namespace_name = "default";
    request_.uid = "u-1";
    request_.netns_path = "/proc/self/ns/net";
  }
  ~ScriptPlugins() override { std::filesystem::remove_all(root_); }

  void Plugin(const std::string& name, const std::string& body) {
    const std::string path = root_ + "/bin/" + name;
    std::ofstream(path) << kPreamble << body << "\n";
    chmod(path.c_str(), 0755);
  }
  void OnDel(const std::string& name, const std::string& body) {
    std::ofstream(root_ + "/bin/" + name + ".del") << body << "\n";
  }
  // The list of these plugins; the first asks for two capabilities.
  std::string List(const std::vector<std::string>& types, const std::string& version = "1.0.0") {
    nlohmann::json list = {{"cniVersion", version}, {"name", "net"}};
    for (const std::string& type : types) list["plugins"].push_back({{"type", type}, {"key", 7}});
    list["plugins"][0]["capabilities"] = {{"portMappings", true}, {"dns", true}};
    return list.dump();
  }
  std::string File(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(root_ + "/" + name).rdbuf();
    return text.str();
  }
  nlohmann::json Input(const std::string& call) const {
    return nlohmann::json::parse(File("bin/" + call + ".json"));
  }
  static Logger logger() { return Logger(LogFormat::kText, LogLevel::kError); }
  StatusOr<PodNetworkResult> Add(const std::string& config) {
    return Network(options_, logger()).Add(request_, config);
  }
  Status Del(const std::string& config, const std::string& result = "") {
    return Network(options_, logger()).Del(request_, config, result);
  }

  std::string root_;
  NetworkOptions options_;
  PodNetworkRequest request_;
};

}  // namespace gantry::cri
