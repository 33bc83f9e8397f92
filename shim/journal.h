// The shim's journal, <pod directory>/journal: what gantryd needs to know of a pod whose shim has
// died. One line a record, appended with one write(2):
//
//   <fnv1a-32 of the rest, 8 hex digits> <record>\n
//
//   shim PID START · init PID START · pump PID START       START: clock ticks since boot
//   (/proc/PID/stat field 22) created ID PID START · started ID NS · exited ID CODE NS OOM
//   LOG_INCOMPLETE · deleted ID      NS: Unix nanoseconds
//
// A reader takes the longest prefix of good lines, so a torn tail costs the last record only. The
// folder is on a tmpfs: nothing is synced.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "shim/shim.pb.h"

namespace gantry::shim {

struct JournalProcess {
  pid_t pid = -1;  // -1: none was recorded
  uint64_t start_time = 0;
};

struct JournalContents {
  JournalProcess shim, init, pump;
  // Without those that were deleted. Phases: CREATED (or before), RUNNING, EXITED.
  std::map<std::string, proto::ContainerState> containers;
};

// Reads <directory>/journal. A missing file is an empty journal; a torn tail is dropped. Errors:
// kInternal when it cannot be read.
StatusOr<JournalContents> ReadJournal(const std::string& directory);

// The writer, in the shim. A record that cannot be written (tmpfs full) is logged and lost; the
// shim goes on.
class Journal {
 public:
  // Starts <directory>/journal, or goes on behind the last good record.
  static StatusOr<Journal> Open(const std::string& directory);
  Journal(Journal&&) = default;
  Journal& operator=(Journal&&) = default;

  // `role`: shim, init, pump.
  void Process(absl::string_view role, pid_t pid);
  void Created(const std::string& id, pid_t pid, uint64_t start_time);
  void Started(const std::string& id, int64_t started_at_ns);
  void Exited(const std::string& id, const proto::ExitRecord& exit);
  void Deleted(const std::string& id);

 private:
  Journal() = default;
  void Append(const std::string& record);
  // A crash loop would let the file grow for ever: beyond a bound it is written anew from what
  // still counts.
  void Compact();

  std::string directory_;
  UniqueFd file_;
  size_t size_ = 0;
  size_t compact_at_ = 0;
};

}  // namespace gantry::shim
