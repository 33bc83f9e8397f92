// Which layers are being fetched right now, so that pulls which share one fetch it once. Who has
// one is known by its registry: whoever waits in vain for another registry's can fetch it from its
// own.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>

namespace gantry::images {

// Any thread.
class LayerClaims {
 public:
  // True: the layer is the caller's until it calls Release. False: somebody else has it; the
  // eventfd(2) `wake` is written to when it is given back, and then the caller asks again.
  // `registry`: where the caller fetches from; empty: from an archive.
  bool Claim(const std::string& digest, const std::string& registry, int wake);
  // True when somebody has it who does not fetch from `registry`.
  bool IsElsewhere(const std::string& digest, const std::string& registry);
  void Release(const std::string& digest);
  // `wake` is about to be closed.
  void Forget(int wake);

 private:
  struct Layer {
    std::string registry;
    std::set<int> waiting;
  };
  std::mutex mutex_;
  std::map<std::string, Layer> claimed_;  // by digest
};

}  // namespace gantry::images
