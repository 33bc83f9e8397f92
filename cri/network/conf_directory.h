// The folder of CNI configurations: which one is in force now.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "cri/network/conflist.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// The first valid file by name among *.conf, *.conflist and *.json. Files are looked at (names,
// times, sizes) at each call and read again when something has changed. A bad file never hides a
// good one; when all are bad, and for `grace` after the last one is gone, the last good one stays
// in force, since installers replace files one by one. From any thread; no lock is held while the
// folder is read.
class ConfDirectory {
 public:
  ConfDirectory(std::string path, absl::Duration grace);

  // kUnavailable when there is none: the message tells what is in the folder, and why it will not
  // do.
  StatusOr<std::shared_ptr<const CniConfig>> Current();

 private:
  struct Listing {
    std::vector<std::string> names;  // sorted
    std::string fingerprint;         // of names, inodes, sizes and times
  };
  struct Snapshot {
    std::shared_ptr<const CniConfig> config;  // null: none was ever good, or the folder is empty
    std::string fingerprint;
    std::string problem;  // why, when config is null
    absl::Time empty_since = absl::InfiniteFuture();
  };

  [[nodiscard]] Listing List() const;
  [[nodiscard]] Snapshot Read(const Listing& listing, const Snapshot& last) const;

  const std::string path_;
  const absl::Duration grace_;
  absl::Mutex mutex_;
  Snapshot snapshot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::cri
