#include "imageservice/layer_claims.h"

#include <sys/eventfd.h>

namespace gantry::images {

bool LayerClaims::Claim(const std::string& digest, int wake) {
  const std::lock_guard lock(mutex_);
  const auto [entry, claimed] = waiting_.try_emplace(digest);
  if (!claimed) entry->second.insert(wake);
  return claimed;
}

void LayerClaims::Release(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const auto node = waiting_.extract(digest);
  if (node.empty()) return;
  for (const int wake : node.mapped()) eventfd_write(wake, 1);
}

void LayerClaims::Forget(int wake) {
  const std::lock_guard lock(mutex_);
  for (auto& [digest, wakes] : waiting_) wakes.erase(wake);
}

}  // namespace gantry::images
