#include "cri/network/network_health.h"

#include <algorithm>
#include <utility>

namespace gantry::cri {
namespace {

bool HasStatus(const CniConfig& config) { return CniVersionAtLeast(config.version, "1.1.0"); }

// While there is nothing to ask, a new configuration is looked for this often.
constexpr absl::Duration kLook = absl::Milliseconds(500);

}  // namespace

NetworkHealth::NetworkHealth(const ConfDirectory* configs, Options options,
                             std::function<Status(const CniConfig&)> ask,
                             std::function<void(const CniConfig&)> ready)
    : configs_(configs),
      options_(options),
      ask_(std::move(ask)),
      ready_(std::move(ready)),
      last_(absl::UnavailableError("its plugins have not answered STATUS yet")) {
  thread_ = std::thread([this] { Run(); });
}

NetworkHealth::~NetworkHealth() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

void NetworkHealth::Run() {
  Config asked;
  Deadline next = Deadline::After(absl::ZeroDuration());
  while (true) {
    const auto config = configs_->Current();
    if (config.ok() && (*config != asked || next.Passed())) {
      AskOnce();
      asked = *config;
      next = Deadline::After(options_.period);
    }
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&ending_), std::min(kLook, options_.period)))
      return;
  }
}

void NetworkHealth::AskOnce() {
  const auto config = configs_->Current();
  if (!config.ok()) return;
  const Status status = HasStatus(**config) ? ask_(**config) : absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    if (ending_) return;
    last_ = status;
    if (status.ok()) well_until_ = Deadline::After(options_.grace);
  }
  if (status.ok()) ready_(**config);
}

Status NetworkHealth::Of(const CniConfig& config) const {
  if (!HasStatus(config)) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  if (last_.ok() || !well_until_.Passed()) return absl::OkStatus();
  return absl::UnavailableError(last_.message());
}

}  // namespace gantry::cri
