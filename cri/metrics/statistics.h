// The groups and networks whose use is asked for: their open readers, the rates made of two
// readings, the sizes of writable layers.
//
// A reader is opened when it is first asked for and closed by Forget. Opening one for somebody who
// goes at that moment would keep it for ever: whoever asks looks afterwards whether the object is
// still there, and forgets it when not.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "cri/metrics/cgroup_detail.h"
#include "cri/metrics/cgroup_reader.h"
#include "cri/metrics/network_reader.h"
#include "cri/metrics/usage_rate.h"
#include "cri/metrics/writable_layers.h"

namespace gantry::cri {

struct GroupSample {
  GroupUse use;
  std::optional<uint64_t> nano_cores;  // from the second reading on
};

// Any thread.
class Statistics {
 public:
  // Readers hold no more than `max_descriptors` together; those above are opened for each reading.
  explicit Statistics(int max_descriptors) : max_descriptors_(max_descriptors) {}
  // Half of what the process may open.
  static int DescriptorBudget();

  // `id`: of the container or sandbox. kNotFound: the group is gone.
  StatusOr<GroupSample> Read(const std::string& id, const CgroupPaths& paths);
  // Everything unset when the group is gone.
  GroupDetail Detail(const std::string& id, const CgroupPaths& paths);
  // Of the group and the groups below it (execs). Empty when it is gone.
  std::vector<pid_t> Processes(const std::string& id, const CgroupPaths& paths);
  // Unset when there is no network namespace at that path.
  std::optional<std::vector<InterfaceCounters>> Network(const std::string& sandbox_id,
                                                        const std::string& netns_path);
  WritableLayers& layers() { return layers_; }
  // Closes what is held for a container or sandbox.
  void Forget(const std::string& id);

 private:
  struct Entry {
    absl::Mutex mutex;
    std::shared_ptr<const CgroupReader> reader ABSL_GUARDED_BY(mutex);  // none: opened each time
    std::shared_ptr<DetailReader> detail ABSL_GUARDED_BY(mutex);        // goes with `reader`
    std::shared_ptr<const NetworkReader> network ABSL_GUARDED_BY(mutex);
    UsageRate rate ABSL_GUARDED_BY(mutex);
    bool forgotten ABSL_GUARDED_BY(mutex) = false;  // nothing is kept in it any more
  };
  std::shared_ptr<Entry> Get(const std::string& id);
  StatusOr<std::shared_ptr<const CgroupReader>> Reader(Entry* entry, const CgroupPaths& paths);
  std::shared_ptr<DetailReader> DetailOf(Entry* entry, std::shared_ptr<const CgroupReader> reader);
  // False: there is no room for `count` more.
  bool Take(int count);

  const int max_descriptors_;
  absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
  int descriptors_ ABSL_GUARDED_BY(mutex_) = 0;
  WritableLayers layers_;
};

}  // namespace gantry::cri
