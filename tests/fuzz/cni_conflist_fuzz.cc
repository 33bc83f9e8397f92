// CNI configurations as somebody may put them into the folder.
//
// What is taken can be recorded: it is read back the same, its names are safe in paths, and each of
// its plugins can be given an input that says whose it is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_echo.h"
#include "cri/network/cni_input.h"
#include "cri/network/conflist.h"

namespace gantry::cri {
namespace {

void Expect(bool holds) {
  if (!holds) abort();
}

bool SafeInPaths(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

void CheckPlugin(const CniConfig& config, const CniPlugin& plugin) {
  Expect(SafeInPaths(plugin.type));
  const nlohmann::json args = {{"portMappings", {{{"hostPort", 80}}}}};
  const auto input = PluginInput(config, plugin, args, R"({"ips":[]})");
  Expect(input.ok());
  const nlohmann::json object = nlohmann::json::parse(*input);
  Expect(object["name"] == config.name && object["cniVersion"] == config.version);
  Expect(object["type"] == plugin.type && object["prevResult"].is_object());
  (void)OnlyEchoes(plugin, args);
  Expect(GcInput(config, plugin, {{"pod", "eth0"}}).ok());
}

void Check(absl::string_view text) {
  const std::string folder = CniPluginFolder(text);
  Expect(folder.empty() || SafeInPaths(folder));
  const auto config = ParseCniConfig(text);
  if (!config.ok()) return;
  Expect(SafeInPaths(config->name) && !config->plugins.empty());
  Expect(CniVersionAtLeast(config->version, "0.1.0") &&
         CniVersionAtLeast("1.1.0", config->version));
  const auto again = ParseCniConfig(config->bytes);
  Expect(again.ok() && again->bytes == config->bytes && again->name == config->name &&
         again->version == config->version && again->disable_gc == config->disable_gc &&
         again->plugins.size() == config->plugins.size());
  for (const CniPlugin& plugin : config->plugins) CheckPlugin(*config, plugin);
}

}  // namespace
}  // namespace gantry::cri

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gantry::cri::Check(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
