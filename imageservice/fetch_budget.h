// What one pull may use for range connections, all its blobs together: memory for bytes that came
// out of order, and connections.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace gantry::images {

inline constexpr size_t kPieceSize = 2 << 20;       // bytes: one range request, one buffer
inline constexpr size_t kPiecesPerBlob = 16;        // 32 MiB
inline constexpr size_t kPiecesPerPull = 20;        // 40 MiB
inline constexpr int kRangeConnectionsPerHost = 8;  // beside the first of each blob
inline constexpr int kRangeConnectionsPerPull = 12;

// Any thread.
class FetchBudget {
 public:
  FetchBudget() = default;
  FetchBudget(const FetchBudget&) = delete;
  FetchBudget& operator=(const FetchBudget&) = delete;
  ~FetchBudget();

  // A buffer of kPieceSize bytes, or nullptr when the pull has none left. `owned`: how many the
  // blob has; one that has none always gets one, or it would stand still for the others.
  char* TakeBuffer(size_t owned);
  void GiveBuffer(char* buffer);

  bool TakeConnection(const std::string& origin);
  void GiveConnection(const std::string& origin);

 private:
  std::mutex mutex_;
  size_t buffers_ = 0;  // out
  std::map<std::string, int> connections_;
  int all_connections_ = 0;
};

}  // namespace gantry::images
