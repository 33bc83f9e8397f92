// The folder of CNI configurations: which one is in force now.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "cri/log.h"
#include "cri/network/conflist.h"
#include "cri/network/directory_watch.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

struct ConfInForce {
  std::shared_ptr<const CniConfig> config;  // null: none was ever good, or the folder is empty
  std::string file;                         // name in the folder
  std::string problem;                      // of the folder as it is now; empty: none
};

// The first valid file by name among *.conf, *.conflist and *.json, with the plugins of its folder
// (CniPluginFolder). The folder is watched and read again when it has been quiet for a moment; what
// was read is then in force as a whole. A bad file never hides a good one: it is logged, with the
// reason, when it comes up. When all are bad, and for `grace` after the last one is gone, the last
// good one stays in force, since installers replace files one by one. From any thread; only the
// constructor and the watching thread read the folder.
class ConfDirectory {
 public:
  struct Options {
    absl::Duration grace = absl::Seconds(5);
    DirectoryWatch::Timing watch;
  };

  ConfDirectory(std::string path, Options options, Logger log);

  // kUnavailable when there is none: the message tells what is in the folder, and why it will not
  // do.
  StatusOr<std::shared_ptr<const CniConfig>> Current() const;
  ConfInForce InForce() const;

 private:
  struct Listing {
    std::vector<std::string> names;  // sorted
    std::string fingerprint;         // of names, inodes, sizes and times, drop-in folders included
  };
  struct Snapshot {
    ConfInForce in_force;
    std::string fingerprint;
    std::optional<Deadline> kept_until;  // the folder is empty
  };

  void Reload();
  [[nodiscard]] Listing List() const;
  [[nodiscard]] Snapshot Read(const Listing& listing, const Snapshot& last) const;
  void Report(const Snapshot& now, const Snapshot& last) const;

  const std::string path_;
  const Options options_;
  const Logger log_;
  mutable absl::Mutex mutex_;
  Snapshot snapshot_ ABSL_GUARDED_BY(mutex_);
  DirectoryWatch watch_;  // the last: its thread uses the rest
};

}  // namespace gantry::cri
