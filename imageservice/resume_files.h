// What interrupted pulls left of blobs: <root>/resume/<algorithm>-<hex>, written by pullers
// (blob_spool.h), which get the open file and never see a path.
//
// One puller has a file at a time (flock(2), which its copy of the descriptor holds too: a puller
// that outlives its gantryd for a moment keeps it).
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "imageservice/tree_walk.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

inline constexpr uint64_t kMinResumedBlob = 64 << 20;  // smaller ones are fetched again

// Any thread.
class ResumeFiles {
 public:
  // Makes the folder if need be, and learns what is there. Names that are no digests are deleted.
  static StatusOr<std::unique_ptr<ResumeFiles>> Open(const std::string& root);

  // The file for a blob of `size` bytes, made if there is none: the caller's until Settle or
  // Remove. kResourceExhausted: writing the rest of the blob would leave less than the disk's
  // reserve (5 % and at least 1 GiB), also after all others were deleted. kUnavailable: another
  // puller has it.
  StatusOr<UniqueFd> Take(const std::string& digest, uint64_t size);
  // A taken file has grown: counts it anew.
  void Measure(const std::string& digest, const UniqueFd& file);
  // Its puller has ended. A file without bytes is deleted, another one kept for the next pull.
  void Settle(const std::string& digest);
  // The layer is complete, or its bytes were wrong.
  void Remove(const std::string& digest);

  // Deletes files that nobody has and nobody wrote to for so long.
  void Collect(std::chrono::seconds age);
  // On disk, kept up to date, never walked on call.
  TreeUsage Usage() const;

 private:
  struct File {
    uint64_t bytes = 0;  // allocated
    bool taken = false;
  };
  explicit ResumeFiles(UniqueFd folder) : folder_(std::move(folder)) {}
  Status Learn();
  bool HasRoom(uint64_t bytes) const;
  void CollectLocked(std::chrono::seconds age);
  void RemoveLocked(const std::string& digest);

  const UniqueFd folder_;
  mutable std::mutex mutex_;
  std::map<std::string, File> files_;  // by digest
};

}  // namespace gantry::images
