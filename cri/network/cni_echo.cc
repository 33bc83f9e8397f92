#include "cri/network/cni_echo.h"

#include <algorithm>
#include <array>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

// The plugins of github.com/containernetworking/plugins, up to 1.9.
struct Echo {
  const char* type;
  const char* capability;                      // without it there is nothing to do
  std::array<absl::string_view, 12> harmless;  // keys that ask for nothing by themselves
};

constexpr std::array<Echo, 2> kEchoes = {{
    {"portmap",
     "portMappings",
     {"type", "name", "cniVersion", "capabilities", "snat", "masqAll", "markMasqBit",
      "externalSetMarkChain", "conditionsV4", "conditionsV6", "backend", "disableCheck"}},
    {"bandwidth", "bandwidth", {"type", "name", "cniVersion", "capabilities"}},
}};

}  // namespace

bool OnlyEchoes(const CniPlugin& plugin, const nlohmann::json& capability_args) {
  const auto* const echo = std::find_if(kEchoes.begin(), kEchoes.end(), [&plugin](const Echo& one) {
    return plugin.type == one.type;
  });
  if (echo == kEchoes.end()) return false;
  const bool asks = std::find(plugin.capabilities.begin(), plugin.capabilities.end(),
                              echo->capability) != plugin.capabilities.end();
  if (asks && capability_args.contains(echo->capability)) return false;
  const StatusOr<nlohmann::json> object = ParseJson(plugin.json);
  if (!object.ok()) return false;
  for (const auto& [key, value] : object->items()) {
    if (std::find(echo->harmless.begin(), echo->harmless.end(), key) == echo->harmless.end())
      return false;
  }
  return true;
}

}  // namespace gantry::cri
