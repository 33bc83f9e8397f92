#include "cri/network_debts.h"

#include <algorithm>
#include <utility>

#include "cri/node.h"
#include "cri/persist.h"
#include "cri/sandbox_network.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kFirstPause = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Minutes(5);

}  // namespace

NetworkDebts::NetworkDebts(Node* node) : node_(node) {
  thread_ = std::thread([this] { Run(); });
}

NetworkDebts::~NetworkDebts() {
  {
    const absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

void NetworkDebts::Add(const std::string& id) {
  const absl::MutexLock lock(&mutex_);
  due_.emplace(id, Due{Deadline::After(kFirstPause), 2 * kFirstPause});
}

Status NetworkDebts::Keep(const std::string& id) {
  const auto removed =
      node_->sandboxes.Update(id, [](Sandbox& sandbox) { sandbox.record.set_removed(true); });
  Status stored = PersistSandbox(node_, id);
  if (!stored.ok()) {
    node_->sandboxes.Update(id, [](Sandbox& sandbox) { sandbox.record.set_removed(false); });
    return stored;
  }
  if (removed != nullptr) Resume(removed->record);
  return absl::OkStatus();
}

void NetworkDebts::Resume(const store::SandboxRecord& record) {
  {
    const absl::MutexLock lock(&mutex_);
    kept_[record.id()] = record;
  }
  Add(record.id());
}

std::vector<std::string> NetworkDebts::Kept() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, record] : kept_) ids.push_back(id);
  return ids;
}

std::string NetworkDebts::NextDue() {
  const absl::MutexLock lock(&mutex_);
  while (!ending_) {
    const auto first = std::min_element(due_.begin(), due_.end(), [](const auto& a, const auto& b) {
      return a.second.at.at() < b.second.at.at();
    });
    if (first != due_.end() && first->second.at.Passed()) {
      first->second.at = Deadline::After(first->second.pause);
      first->second.pause = std::min(2 * first->second.pause, kLongestPause);
      return first->first;
    }
    // Whatever is added meanwhile is due in a second at the earliest.
    mutex_.AwaitWithTimeout(absl::Condition(&ending_), kFirstPause);
  }
  return "";
}

void NetworkDebts::Run() {
  for (std::string id = NextDue(); !id.empty(); id = NextDue()) {
    const Status paid = Pay(id);
    if (!paid.ok()) {
      node_->log.Warning("CNI DEL is still owed, ignoring: it is tried again",
                         {{kPodField, id}, {"error", std::string(paid.message())}});
      continue;
    }
    const absl::MutexLock lock(&mutex_);
    due_.erase(id);
  }
}

Status NetworkDebts::Pay(const std::string& id) {
  const auto pod = node_->stops.Lock(id);
  const auto sandbox = node_->sandboxes.Find(id);
  if (sandbox == nullptr) {
    store::SandboxRecord record;
    {
      const absl::MutexLock lock(&mutex_);
      const auto found = kept_.find(id);
      if (found == kept_.end()) return absl::OkStatus();
      record = found->second;
    }
    return PayKept(std::move(record));
  }
  store::SandboxRecord record = sandbox->record;
  // A pod that is READY owes nothing yet.
  if (record.state() == v1::SANDBOX_READY) return absl::OkStatus();
  RETURN_IF_ERROR(PayNetwork(node_, *sandbox->config, &record));
  node_->sandboxes.Update(id, [](Sandbox& changed) { changed.record.set_network_intended(false); });
  return PersistSandbox(node_, id);
}

Status NetworkDebts::PayKept(store::SandboxRecord record) {
  v1::PodSandboxConfig config;
  if (!config.ParseFromString(record.config()))
    node_->log.Error("pod record has no readable config", {{kPodField, record.id()}});
  RETURN_IF_ERROR(PayNetwork(node_, config, &record));
  RETURN_IF_ERROR(node_->store->DeleteSandbox(record.id()));
  node_->log.Info("CNI DEL has succeeded for a removed pod", {{kPodField, record.id()}});
  const absl::MutexLock lock(&mutex_);
  kept_.erase(record.id());
  return absl::OkStatus();
}

}  // namespace gantry::cri
