// Which layers are being fetched right now, so that pulls which share one fetch it once.
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
  bool Claim(const std::string& digest, int wake);
  void Release(const std::string& digest);
  // `wake` is about to be closed.
  void Forget(int wake);

 private:
  std::mutex mutex_;
  std::map<std::string, std::set<int>> waiting_;  // by digest of a claimed layer
};

}  // namespace gantry::images
