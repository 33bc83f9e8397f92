// A container as the daemon knows it: a snapshot that is replaced as a whole (object_table.h).
#pragma once

#include <memory>
#include <string>

#include "cri/api.h"
#include "cri/store/record.pb.h"
#include "runtime/linux/cgroup.h"

namespace gantry::cri {

struct Container {
  store::ContainerRecord record;
  std::shared_ptr<const v1::ContainerConfig> config;  // what record.config holds
  CgroupPaths cgroup;
  std::shared_ptr<const std::string> list_entry;  // list_entry.h; nullptr: not made
  bool claimed = true;  // the caller of CreateContainer, or its retry, has got the id: it is listed
  bool starting = false;          // StartContainer is under way
  bool removing = false;          // RemoveContainer is under way
  bool forgotten = false;         // its record is deleted: never to be written again
  bool killing = false;           // SIGKILL is being sent: nothing is executed in it any more
  bool stop_signal_sent = false;  // by a StopContainer: a retry does not send it again

  [[nodiscard]] int state() const { return record.state(); }
  [[nodiscard]] bool exited() const {
    return record.state() == v1::CONTAINER_EXITED || record.state() == v1::CONTAINER_UNKNOWN;
  }
  [[nodiscard]] const std::string& id() const { return record.id(); }
};

// The key of CreateContainer: name_podname_namespace_uid_attempt.
std::string ContainerName(const v1::ContainerMetadata& metadata,
                          const v1::PodSandboxMetadata& sandbox);

// Messages made of a snapshot: pure.
v1::Container ContainerSummary(const Container& container);
v1::ContainerStatus ContainerStatusMessage(const Container& container);

// Sets what an exit means for the record: state, code, time, reason (Completed, Error, OOMKilled),
// message.
struct ContainerExit {
  int exit_code = 0;
  int64_t finished_at_ns = 0;
  bool oom_killed = false;
  bool log_incomplete = false;
};
void RecordExit(store::ContainerRecord* record, const ContainerExit& exit);
// The exit nobody saw: code 255, reason Unknown, with the time of now.
void RecordLostExit(store::ContainerRecord* record, const std::string& why);

}  // namespace gantry::cri
