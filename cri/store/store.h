// The records of pods and containers on disk: <root>/gantry.db, tables sandboxes and containers.
//
// The daemon serves lists from memory; the store is written for the next start. Writes go through
// one thread; whoever calls Put waits for the commit, so call it without a lock held. A commit
// survives the death of the daemon at any point.
//
// The image service keeps its tables in the same file with a connection of its own: open the store
// first, since it may have to replace a corrupt file.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cri/store/record.pb.h"
#include "cri/store/salvage.h"
#include "cri/store/write_queue.h"
#include "runtime/base/status.h"

namespace gantry::cri {

class Store {
 public:
  // A record that could not be read; it is in the table `quarantine` now, as it was.
  struct Quarantined {
    std::string table;
    std::string id;
    std::string reason;
  };
  // Records are sorted by created_at_ns.
  struct Contents {
    std::vector<store::SandboxRecord> sandboxes;
    std::vector<store::ContainerRecord> containers;
    std::vector<Quarantined> quarantined;  // at this Open; for the log and a metric
    std::optional<Salvaged> salvaged;      // the file was corrupt; for the log and a metric
  };

  // Opens or makes the database below `root` (which exists and is locked by the caller) and reads
  // all records. What cannot be read is set aside, never fatal. kFailedPrecondition when a newer
  // gantryd has made the file; kResourceExhausted and kInternal when the disk does not let us
  // write.
  static StatusOr<std::unique_ptr<Store>> Open(const std::string& root);
  // Waits until everything queued is committed.
  ~Store();

  // What was there at Open. Call it once, before other threads use the store.
  Contents LoadAll();

  // Writes the record, whole, under its id. From any thread. kResourceExhausted when the disk is
  // full: the record on disk is then the old one.
  Status Put(const store::SandboxRecord& record) { return PutLater(record).get(); }
  Status Put(const store::ContainerRecord& record) { return PutLater(record).get(); }
  // OK when there is no such record.
  Status DeleteSandbox(const std::string& id) { return DeleteLater(kSandboxes, id).get(); }
  Status DeleteContainer(const std::string& id) { return DeleteLater(kContainers, id).get(); }

  // The same without waiting; writes of one thread take effect in their order.
  std::future<Status> PutLater(const store::SandboxRecord& record);
  std::future<Status> PutLater(const store::ContainerRecord& record);
  std::future<Status> DeleteSandboxLater(const std::string& id) {
    return DeleteLater(kSandboxes, id);
  }
  std::future<Status> DeleteContainerLater(const std::string& id) {
    return DeleteLater(kContainers, id);
  }

  // The wall clock in Unix nanoseconds, but always later than any answer before it and any
  // created_at_ns on disk, over restarts too and when the clock is set back.
  int64_t NextCreatedAt();

 private:
  static constexpr char kSandboxes[] = "sandboxes";
  static constexpr char kContainers[] = "containers";

  Store(SqliteConnection database, Contents contents, int64_t last_created_at);
  std::future<Status> PutRow(const char* table, std::string id, int64_t created_at,
                             std::string detail);
  std::future<Status> DeleteLater(const char* table, std::string id);

  Contents contents_;
  std::atomic<int64_t> last_created_at_;
  WriteQueue queue_;
};

}  // namespace gantry::cri
