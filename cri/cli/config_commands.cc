// gantry config default, check, dump, network: the node's configuration, without the daemon.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "cri/cli/command.h"
#include "cri/cli/network_config.h"
#include "cri/config/config.h"

namespace gantry::cli {
namespace {

// Without a file at the usual place the daemon runs on its defaults; one that is named must exist.
StatusOr<cri::Config> Load(const std::string& path) {
  if (!path.empty()) return cri::LoadConfig(path);
  StatusOr<cri::Config> config = cri::LoadConfig(cri::kDefaultConfigPath);
  if (absl::IsNotFound(config.status())) return cri::Config();
  return config;
}

StatusOr<int> Check(const std::string& path) {
  RETURN_IF_ERROR(Load(path).status());
  printf("%s: good\n", path.empty() ? cri::kDefaultConfigPath : path.c_str());
  return 0;
}

StatusOr<int> Dump(const std::string& path) {
  ASSIGN_OR_RETURN(const cri::Config config, Load(path));
  printf("%s", cri::DumpConfig(config).c_str());
  return 0;
}

StatusOr<int> Default() {
  printf("%s", cri::DefaultConfigText().c_str());
  return 0;
}

struct NetworkFlags {
  BridgeNetwork network;
  std::string directory;  // empty: that of the daemon's configuration
  bool bridge = false;
  bool force = false;
};

// What the file needs that is not there, and what would keep it from being used.
void PrintHints(const cri::Config& config, const std::string& path) {
  for (const char* plugin : {"bridge", "host-local", "portmap"}) {
    const bool found =
        std::any_of(config.network.bin_dirs.begin(), config.network.bin_dirs.end(),
                    [plugin](const std::string& dir) {
                      return access(absl::StrCat(dir, "/", plugin).c_str(), X_OK) == 0;
                    });
    if (!found)
      fprintf(stderr,
              "gantry: note: CNI plugin %s is in none of network.bin_dirs; Debian has it in "
              "containernetworking-plugins\n",
              plugin);
  }
  const std::filesystem::path written(path);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(written.parent_path(), error)) {
    const std::string name = entry.path().filename();
    const std::string ending = entry.path().extension();
    const bool candidate = ending == ".conf" || ending == ".conflist" || ending == ".json";
    if (candidate && name < written.filename().string())
      fprintf(stderr, "gantry: note: %s comes first by name and is used while it is valid\n",
              name.c_str());
  }
}

StatusOr<int> WriteNetwork(const std::string& config_path, const NetworkFlags& flags) {
  if (!flags.bridge)
    return absl::InvalidArgumentError(
        "config network: --bridge is the only kind, and must be given");
  ASSIGN_OR_RETURN(const cri::Config config, Load(config_path));
  ASSIGN_OR_RETURN(const std::string text, BridgeConflist(flags.network));
  const std::string& directory =
      flags.directory.empty() ? config.network.conf_dir : flags.directory;
  ASSIGN_OR_RETURN(const std::string path,
                   WriteConflist(directory, flags.network.name, text, flags.force));
  PrintHints(config, path);
  printf("%s\n", path.c_str());
  return 0;
}

void AddNetworkCommand(CLI::App& group, CommandContext& context) {
  CLI::App* network = group.add_subcommand("network", "Write a CNI configuration for this node");
  auto flags = std::make_shared<NetworkFlags>();
  network->add_flag("--bridge", flags->bridge, "Pods on a bridge, with host ports by portmap");
  network->add_option("--name", flags->network.name, "Of the network (default: gantry)");
  network->add_option("--interface", flags->network.interface, "The bridge (default: gantry0)");
  network->add_option("--subnet", flags->network.subnets,
                      "Pods' addresses; once more for IPv6 (default: 10.85.0.0/16)");
  network->add_option("--directory", flags->directory, "Default: network.conf_dir of gantryd");
  network->add_option("--config", context.config_path,
                      "Of gantryd (default: /etc/gantry/config.toml)");
  network->add_flag("--force", flags->force, "Overwrite the file when it is there already");
  network->footer(
      "Example:\n  gantry config network --bridge --subnet 10.85.0.0/16 --subnet fd00:85::/64");
  network->callback([&context, flags] {
    context.action = [&context, flags] { return WriteNetwork(context.config_path, *flags); };
  });
}

}  // namespace

void AddConfigCommands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("config", "Show and check the configuration of gantryd");
  group->require_subcommand(1);
  CLI::App* defaults = group->add_subcommand("default", "Print the commented defaults");
  defaults->footer("Example:\n  gantry config default > /etc/gantry/config.toml");
  defaults->callback([&context] { context.action = [] { return Default(); }; });

  CLI::App* check = group->add_subcommand("check", "Say what is wrong with a file");
  check->add_option("FILE", context.config_path, "Default: /etc/gantry/config.toml");
  check->footer("Example:\n  gantry config check /etc/gantry/config.toml");
  AddNetworkCommand(*group, context);
  check->callback(
      [&context] { context.action = [&context] { return Check(context.config_path); }; });

  CLI::App* dump = group->add_subcommand("dump", "Print the values in force, defaults included");
  dump->add_option("FILE", context.config_path, "Default: /etc/gantry/config.toml");
  dump->footer("Example:\n  gantry config dump");
  dump->callback([&context] { context.action = [&context] { return Dump(context.config_path); }; });
}

}  // namespace gantry::cli
