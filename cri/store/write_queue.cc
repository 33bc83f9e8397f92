#include "cri/store/write_queue.h"

#include <pthread.h>

#include <iterator>
#include <utility>

namespace gantry::cri {
namespace {

constexpr size_t kMaxQueued = 1024;

}  // namespace

WriteQueue::WriteQueue(SqliteConnection database)
    : database_(std::move(database)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "store-writer");
}

WriteQueue::~WriteQueue() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

std::future<Status> WriteQueue::Submit(Operation operation) {
  Entry entry = {std::move(operation), {}};
  std::future<Status> done = entry.done.get_future();
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](std::deque<Entry>* entries) { return entries->size() < kMaxQueued; }, &entries_));
  entries_.push_back(std::move(entry));
  return done;
}

std::vector<WriteQueue::Entry> WriteQueue::NextBatch() {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !entries_.empty();
  };
  mutex_.Await(absl::Condition(&ready));
  std::vector<Entry> batch(std::make_move_iterator(entries_.begin()),
                           std::make_move_iterator(entries_.end()));
  entries_.clear();
  return batch;
}

void WriteQueue::Run() {
  for (std::vector<Entry> batch = NextBatch(); !batch.empty(); batch = NextBatch()) {
    if (CommitTogether(batch)) continue;
    for (Entry& entry : batch) entry.done.set_value(CommitAlone(entry.operation));
  }
}

// False: nothing of the batch took effect, and nobody has been told anything.
bool WriteQueue::CommitTogether(std::vector<Entry>& batch) {
  Status status = Execute(database_.get(), "BEGIN IMMEDIATE");
  if (!status.ok()) return false;
  for (size_t i = 0; i < batch.size() && status.ok(); ++i) {
    status = batch[i].operation(database_.get());
  }
  if (status.ok()) status = Execute(database_.get(), "COMMIT");
  if (!status.ok()) {
    // Fails where SQLite has rolled back by itself (disk full): then there is nothing left to undo.
    (void)Execute(database_.get(), "ROLLBACK");
    return false;
  }
  for (Entry& entry : batch) entry.done.set_value(absl::OkStatus());
  return true;
}

Status WriteQueue::CommitAlone(const Operation& operation) {
  RETURN_IF_ERROR(Execute(database_.get(), "BEGIN IMMEDIATE"));
  Status status = operation(database_.get());
  if (status.ok()) status = Execute(database_.get(), "COMMIT");
  if (!status.ok()) (void)Execute(database_.get(), "ROLLBACK");
  return status;
}

}  // namespace gantry::cri
