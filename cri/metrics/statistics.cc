#include "cri/metrics/statistics.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace gantry::cri {

int Statistics::DescriptorBudget() {
  rlimit limit;
  constexpr rlim_t kMost = 1 << 20;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<int>(std::min(limit.rlim_cur, kMost) / 2);
}

std::shared_ptr<Statistics::Entry> Statistics::Get(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Entry>& entry = entries_[id];
  if (entry == nullptr) entry = std::make_shared<Entry>();
  return entry;
}

bool Statistics::Take(int count) {
  absl::MutexLock lock(&mutex_);
  if (descriptors_ + count > max_descriptors_) return false;
  descriptors_ += count;
  return true;
}

StatusOr<std::shared_ptr<const CgroupReader>> Statistics::Reader(Entry* entry,
                                                                 const CgroupPaths& paths) {
  absl::MutexLock lock(&entry->mutex);
  if (entry->reader != nullptr) return entry->reader;
  ASSIGN_OR_RETURN(std::shared_ptr<const CgroupReader> opened, CgroupReader::Open(paths));
  if (!entry->forgotten && Take(opened->descriptors())) entry->reader = opened;
  return opened;
}

std::shared_ptr<DetailReader> Statistics::DetailOf(Entry* entry,
                                                   std::shared_ptr<const CgroupReader> reader) {
  absl::MutexLock lock(&entry->mutex);
  if (entry->detail != nullptr) return entry->detail;
  const bool kept = entry->reader == reader;
  auto detail = std::make_shared<DetailReader>(std::move(reader));
  if (kept && Take(DetailReader::MostDescriptors())) entry->detail = detail;
  return detail;
}

StatusOr<GroupSample> Statistics::Read(const std::string& id, const CgroupPaths& paths) {
  const std::shared_ptr<Entry> entry = Get(id);
  ASSIGN_OR_RETURN(const auto reader, Reader(entry.get(), paths));
  GroupSample sample;
  ASSIGN_OR_RETURN(sample.use, reader->Use());
  absl::MutexLock lock(&entry->mutex);
  if (sample.use.cpu_ns)
    sample.nano_cores = entry->rate.Add(sample.use.read_at_ns, *sample.use.cpu_ns);
  return sample;
}

GroupDetail Statistics::Detail(const std::string& id, const CgroupPaths& paths) {
  const std::shared_ptr<Entry> entry = Get(id);
  const auto reader = Reader(entry.get(), paths);
  return reader.ok() ? DetailOf(entry.get(), *reader)->Read() : GroupDetail();
}

std::vector<pid_t> Statistics::Processes(const std::string& id, const CgroupPaths& paths) {
  const auto reader = Reader(Get(id).get(), paths);
  if (!reader.ok()) return {};
  return (*reader)->Processes().value_or(std::vector<pid_t>());
}

std::optional<std::vector<InterfaceCounters>> Statistics::Network(const std::string& sandbox_id,
                                                                  const std::string& netns_path) {
  if (netns_path.empty()) return std::nullopt;
  const std::shared_ptr<Entry> entry = Get(sandbox_id);
  std::shared_ptr<const NetworkReader> network;
  {
    absl::MutexLock lock(&entry->mutex);
    network = entry->network;
  }
  if (network == nullptr) {
    auto opened = NetworkReader::Open(netns_path);
    if (!opened.ok()) return std::nullopt;
    network = *std::move(opened);
    absl::MutexLock lock(&entry->mutex);
    if (entry->network == nullptr && !entry->forgotten && Take(1)) entry->network = network;
  }
  return network->Read();
}

void Statistics::Forget(const std::string& id) {
  layers_.Forget(id);
  std::shared_ptr<Entry> entry;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    entry = std::move(found->second);
    entries_.erase(found);
  }
  int held = 0;
  {
    absl::MutexLock lock(&entry->mutex);
    if (entry->reader != nullptr) held += entry->reader->descriptors();
    if (entry->detail != nullptr) held += DetailReader::MostDescriptors();
    if (entry->network != nullptr) ++held;
    entry->forgotten = true;
    entry->detail.reset();
    entry->reader.reset();
    entry->network.reset();
  }
  absl::MutexLock lock(&mutex_);
  descriptors_ -= held;
}

}  // namespace gantry::cri
