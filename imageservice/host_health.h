// What is known of the servers that images come from: when each may be asked again (one wait for
// all connections, however many of them were refused), how many more tries it is worth, and whether
// it is left out for a while (a circuit breaker). A puller learns it; gantryd keeps it between
// pulls.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gantry::images {

// A server that did not answer, as one process tells another.
struct HostReport {
  std::string origin;                     // scheme://host:port
  int failures = 0;                       // in a row; 0: it answers again
  std::chrono::milliseconds open_for{0};  // left out for so long from now
  std::string reason;                     // of the last failure, printable
};
inline constexpr size_t kMaxHostReports = 64;
inline constexpr size_t kMaxHostReason = 300;

inline constexpr int kMaxTries = 4;

// Any thread. Hosts are named by their origin.
class HostHealth {
 public:
  using Clock = std::chrono::steady_clock;

  // A request that was sent at `sent` failed in a way that is worth another try: when to make it.
  // `retry_after`: what the server asked for. Nothing when the host has had its tries (four without
  // progress), or asks for more than a minute: GiveUp then. Several requests that failed together
  // count once and share their wait.
  std::optional<Clock::time_point> Retry(const std::string& origin, Clock::time_point sent,
                                         std::optional<std::chrono::milliseconds> retry_after);
  // Not before then may anybody ask this host.
  Clock::time_point NotBefore(const std::string& origin) const;
  // Sleeps until then, or until `stop` (polled ten times a second) is true.
  void AwaitTurn(const std::string& origin, const std::function<bool()>& stop) const;

  // It answered: the circuit closes. It sent what is worth new tries: they are counted anew.
  void Answered(const std::string& origin);
  void Progressed(const std::string& origin);
  // Opens the circuit: ten seconds, doubling with each failure in a row up to five minutes.
  void GiveUp(const std::string& origin, absl::string_view reason);

  // False while the circuit is open. When its time is over the first who asks gets true and tries
  // the host (half-open); the others get false for as long as it takes to know, at most ten
  // seconds.
  bool Usable(const std::string& origin);
  // Why it is left out.
  std::string ReasonOf(const std::string& origin) const;

  // What was learnt here: servers that failed, and those that answer again.
  std::vector<HostReport> News() const;
  // All servers that failed.
  std::vector<HostReport> Failing() const;
  // Takes in what another process knows, later than we.
  void Merge(const std::vector<HostReport>& reports);

 private:
  struct Host {
    int failures = 0;
    Clock::time_point open_until{};
    bool on_trial = false;  // asked again after it was given up
    std::string reason;
    bool learnt = false;  // here, not merged
    int tries = 0;
    Clock::time_point waits_since{};  // when the present wait was decided
    Clock::time_point not_before{};
  };
  std::vector<HostReport> ReportIf(const std::function<bool(const Host&)>& wanted) const;
  mutable std::mutex mutex_;
  std::map<std::string, Host> hosts_;
};

}  // namespace gantry::images
