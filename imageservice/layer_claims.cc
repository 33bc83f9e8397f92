#include "imageservice/layer_claims.h"

#include <sys/eventfd.h>

namespace gantry::images {

bool LayerClaims::Claim(const std::string& digest, const std::string& registry, int wake) {
  const std::lock_guard lock(mutex_);
  const auto [entry, claimed] = claimed_.try_emplace(digest, Layer{registry, {}});
  if (!claimed) entry->second.waiting.insert(wake);
  return claimed;
}

bool LayerClaims::IsElsewhere(const std::string& digest, const std::string& registry) {
  const std::lock_guard lock(mutex_);
  const auto entry = claimed_.find(digest);
  return entry != claimed_.end() && entry->second.registry != registry;
}

void LayerClaims::Release(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const auto node = claimed_.extract(digest);
  if (node.empty()) return;
  for (const int wake : node.mapped().waiting) eventfd_write(wake, 1);
}

void LayerClaims::Forget(int wake) {
  const std::lock_guard lock(mutex_);
  for (auto& [digest, layer] : claimed_) layer.waiting.erase(wake);
}

}  // namespace gantry::images
