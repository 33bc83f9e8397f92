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
    if (object == nullptr || object->forgotten) return absl::OkStatus();
    written = node->store->PutLater(object->record);
  }
  return written.get();
}

template <typename Table>
Status PersistOrNote(Node* node, const Table& table, const std::string& id) {
  const Status written = Persist(node, table, id);
  absl::MutexLock lock(&node->persist_order);
  if (written.ok())
    node->unrecorded.erase(id);
  else
    node->unrecorded.insert(id);
  return written;
}

template <typename Table>
Status Forget(Node* node, Table* table, const std::string& id,
              std::future<Status> (Store::*remove)(const std::string&)) {
  std::future<Status> removed;
  {
    absl::MutexLock lock(&node->persist_order);
    table->Update(id, [](auto& object) { object.forgotten = true; });
    removed = (node->store.get()->*remove)(id);
    node->unrecorded.erase(id);
  }
  const Status status = removed.get();
  if (!status.ok()) table->Update(id, [](auto& object) { object.forgotten = false; });
  return status;
}

}  // namespace

Status ForgetContainer(Node* node, const std::string& id) {
  return Forget(node, &node->containers, id, &Store::DeleteContainerLater);
}

Status ForgetSandbox(Node* node, const std::string& id) {
  return Forget(node, &node->sandboxes, id, &Store::DeleteSandboxLater);
}

Status PersistContainer(Node* node, const std::string& id) {
  return PersistOrNote(node, node->containers, id);
}

Status PersistSandbox(Node* node, const std::string& id) {
  return PersistOrNote(node, node->sandboxes, id);
}

void PersistUnrecorded(Node* node) {
  std::set<std::string> ids;
  {
    absl::MutexLock lock(&node->persist_order);
    ids = node->unrecorded;
  }
  for (const std::string& id : ids) {
    // Of the two one knows it, or none any more.
    Status written = PersistContainer(node, id);
    if (node->containers.Find(id) == nullptr) written = PersistSandbox(node, id);
    if (!written.ok()) return;  // for the same reason as before: the next turn tries again
    node->log.Info("recorded on disk after all", {{"id", id}});
  }
}

}  // namespace gantry::cri
