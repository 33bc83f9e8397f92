#include "imageservice/host_health.h"

#include <algorithm>
#include <random>
#include <thread>

namespace gantry::images {
namespace {

using Clock = HostHealth::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kMaxWait{60'000};
constexpr milliseconds kFirstBackoff{200};
constexpr milliseconds kFirstOpen{10'000};
constexpr milliseconds kLongestOpen{300'000};
constexpr milliseconds kTrial{10'000};
constexpr milliseconds kTick{100};

// Up to half of `base`, at most half a second: those who were refused together come back apart.
milliseconds Jitter(milliseconds base) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  const auto most = std::clamp<int64_t>(base.count() / 2, 1, 500);
  return milliseconds(static_cast<int64_t>(random()) % most);
}

std::string Printable(absl::string_view text) {
  std::string shown(text.substr(0, kMaxHostReason));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e) c = ' ';
  }
  return shown;
}

}  // namespace

std::optional<Clock::time_point> HostHealth::Retry(const std::string& origin,
                                                   Clock::time_point sent,
                                                   std::optional<milliseconds> retry_after) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  Host& host = hosts_[origin];
  // Another request was refused while this one was under way: its wait is ours.
  if (host.tries > 0 && sent <= host.waits_since && host.not_before > now) return host.not_before;
  if (++host.tries >= kMaxTries) return std::nullopt;
  milliseconds wait = kFirstBackoff * (1 << (host.tries - 1));
  if (retry_after.has_value()) {
    if (*retry_after > kMaxWait) return std::nullopt;
    wait = std::max(*retry_after, milliseconds(50));
  }
  host.waits_since = now;
  host.not_before = now + wait + Jitter(wait);
  return host.not_before;
}

Clock::time_point HostHealth::NotBefore(const std::string& origin) const {
  const std::lock_guard lock(mutex_);
  const auto host = hosts_.find(origin);
  return host == hosts_.end() ? Clock::time_point() : host->second.not_before;
}

void HostHealth::AwaitTurn(const std::string& origin, const std::function<bool()>& stop) const {
  for (;;) {
    const Clock::time_point now = Clock::now();
    const Clock::time_point until = NotBefore(origin);  // may have moved meanwhile
    if (until <= now || (stop && stop())) return;
    std::this_thread::sleep_for(std::min<Clock::duration>(until - now, kTick));
  }
}

void HostHealth::Answered(const std::string& origin) {
  const std::lock_guard lock(mutex_);
  const auto host = hosts_.find(origin);
  if (host == hosts_.end() || host->second.failures == 0) return;
  // To what was asked before it was given up: other blobs of a host that sends one of them wrong.
  if (!host->second.on_trial && host->second.open_until > Clock::now()) return;
  host->second.failures = 0;
  host->second.open_until = {};
  host->second.learnt = true;
}

void HostHealth::Progressed(const std::string& origin) {
  const std::lock_guard lock(mutex_);
  const auto host = hosts_.find(origin);
  if (host != hosts_.end()) host->second.tries = 0;
}

void HostHealth::GiveUp(const std::string& origin, absl::string_view reason) {
  const std::lock_guard lock(mutex_);
  Host& host = hosts_[origin];
  host.failures = std::min(host.failures + 1, 16);
  const milliseconds open = kFirstOpen * (1 << std::min(host.failures - 1, 5));
  host.open_until = Clock::now() + std::min(open, kLongestOpen);
  host.on_trial = false;
  host.reason = Printable(reason);
  host.learnt = true;
  host.tries = 0;
}

bool HostHealth::Usable(const std::string& origin) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  const auto host = hosts_.find(origin);
  if (host == hosts_.end() || host->second.failures == 0) return true;
  if (host->second.open_until > now) return false;
  host->second.open_until = now + kTrial;
  host->second.on_trial = true;
  return true;
}

std::string HostHealth::ReasonOf(const std::string& origin) const {
  const std::lock_guard lock(mutex_);
  const auto host = hosts_.find(origin);
  return host == hosts_.end() ? "" : host->second.reason;
}

std::vector<HostReport> HostHealth::News() const {
  return ReportIf([](const Host& host) { return host.learnt; });
}

std::vector<HostReport> HostHealth::Failing() const {
  return ReportIf([](const Host& host) { return host.failures > 0; });
}

std::vector<HostReport> HostHealth::ReportIf(const std::function<bool(const Host&)>& wanted) const {
  const Clock::time_point now = Clock::now();
  std::vector<HostReport> reports;
  const std::lock_guard lock(mutex_);
  for (const auto& [origin, host] : hosts_) {
    if (!wanted(host) || reports.size() == kMaxHostReports) continue;
    const auto left = std::chrono::duration_cast<milliseconds>(host.open_until - now);
    reports.push_back({origin, host.failures, std::max(left, milliseconds(0)), host.reason});
  }
  return reports;
}

void HostHealth::Merge(const std::vector<HostReport>& reports) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  for (const HostReport& report : reports) {
    if (report.failures == 0) {
      hosts_.erase(report.origin);
      continue;
    }
    // A table that grows with what registries say must have an end.
    if (hosts_.size() >= kMaxHostReports && !hosts_.contains(report.origin)) continue;
    Host& host = hosts_[report.origin];
    host.failures = std::clamp(report.failures, 1, 16);
    host.open_until = now + std::clamp(report.open_for, milliseconds(0), kLongestOpen);
    host.reason = Printable(report.reason);
  }
}

}  // namespace gantry::images
