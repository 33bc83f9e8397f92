// The connections that fetch the rest of one blob from one server, each a range at a time, into a
// window that puts them into order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "imageservice/piece_window.h"
#include "imageservice/registry_client.h"

namespace gantry::images {

class RangeFetch {
 public:
  // The bytes from `first` to the end of `blob`. Nothing is asked for before Grow. All but the
  // values outlive it.
  RangeFetch(const RegistryClient& registry, const RegistryEndpoint& endpoint,
             const Descriptor& blob, FetchBudget* budget, uint64_t first);
  // Ends all requests.
  ~RangeFetch();

  // Opens connections until there are `count`, as far as the pull may have more.
  void Grow(int count);

  // Whether the server honours ranges: not known before its first answer. When it does not, all
  // connections have ended, and the window gives nothing.
  enum class Support { kUnknown, kYes, kNo };
  Support support() const;
  Support AwaitSupport() const;

  PieceWindow& window() { return window_; }

 private:
  void Work();
  Status Fetch(HttpClient& client, const PieceWindow::Claim& claim);
  Status Attempt(HttpClient& client, const PieceWindow::Claim& claim, std::string& retry_after);
  Status OnHead(const HttpResponse& response, const PieceWindow::Claim& claim);
  void Learn(Support support);

  const RegistryClient& registry_;
  const RegistryEndpoint& endpoint_;
  const Descriptor blob_;
  const std::string path_;
  FetchBudget* const budget_;
  PieceWindow window_;
  mutable std::mutex mutex_;
  mutable std::condition_variable learnt_;
  Support support_ = Support::kUnknown;
  std::atomic<int> failures_{0};  // since a range last brought something
  std::vector<std::thread> threads_;
};

}  // namespace gantry::images
