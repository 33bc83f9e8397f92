// gantry config default, check, dump: the daemon's configuration, without the daemon.
#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"

#include "cri/cli/command.h"
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
  check->callback(
      [&context] { context.action = [&context] { return Check(context.config_path); }; });

  CLI::App* dump = group->add_subcommand("dump", "Print the values in force, defaults included");
  dump->add_option("FILE", context.config_path, "Default: /etc/gantry/config.toml");
  dump->footer("Example:\n  gantry config dump");
  dump->callback([&context] { context.action = [&context] { return Dump(context.config_path); }; });
}

}  // namespace gantry::cli
