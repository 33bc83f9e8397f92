#include "cri/persist.h"

#include <future>

namespace gantry::cri {
namespace {

// Finding and queueing are one step, so that an older snapshot never overtakes a newer one; waiting
// is outside of it.
template <typename Table>
Status Persist(Node* node, const Table& table, const std::string& id) {
  std::future<Status> written;
  {
    absl::MutexLock lock(&node->persist_order);
    const auto object = table.Find(id);
    if (object == nullptr) return absl::OkStatus();
    written = node->store->PutLater(object->record);
  }
  return written.get();
}

}  // namespace

Status PersistContainer(Node* node, const std::string& id) {
  return Persist(node, node->containers, id);
}

Status PersistSandbox(Node* node, const std::string& id) {
  return Persist(node, node->sandboxes, id);
}

}  // namespace gantry::cri
