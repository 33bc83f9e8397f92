// Pods that owe their network a DEL: each is tried again, ever more rarely, until it has succeeded.
//
//   stop ── DEL fails ──▶ owed ── 1 s, 2 s, 4 s … 5 min ──▶ DEL ──▶ paid
//                          └─ the pod is removed: its record stays, marked `removed`, until paid
//
// Also those of another boot, whose namespaces are gone while their addresses are still given out.
#pragma once

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "cri/store/record.pb.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

struct Node;

// From any thread. A DEL runs under the pod's lock in Node::stops, in a thread of this class.
class NetworkDebts {
 public:
  explicit NetworkDebts(Node* node);
  ~NetworkDebts();  // waits for the DEL under way: see Network::Cancel
  NetworkDebts(const NetworkDebts&) = delete;
  NetworkDebts& operator=(const NetworkDebts&) = delete;

  // Of a pod in the table of sandboxes, or kept. Tried in a second; nothing changes when it waits
  // already.
  void Add(const std::string& id);

  // Of a pod in the table that is being removed: its record is stored as such and the DEL tried
  // until it succeeds, over restarts; then the record is deleted. The caller erases the pod from
  // the table. On failure all is as before.
  Status Keep(const std::string& id);

  // Of a record that Keep has stored, found again at the start.
  void Resume(const store::SandboxRecord& record);

  // Pods that are only known here.
  std::vector<std::string> Kept() const;

 private:
  struct Due {
    Deadline at;
    absl::Duration pause;  // before the try after that
  };

  void Run();
  std::string NextDue();  // empty: the end
  Status Pay(const std::string& id);
  Status PayKept(store::SandboxRecord record);

  Node* const node_;
  mutable absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, Due> due_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, store::SandboxRecord> kept_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace gantry::cri
