// One-use keys of streaming URLs: whoever can connect to the loopback and knows one may use what it
// stands for, once. They are never logged.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

inline constexpr size_t kMaxTokens = 1000;  // outstanding, of one kind
inline constexpr std::chrono::minutes kTokenLife{1};

using SteadyTime = Deadline::Clock::time_point;

// 128 bits of getrandom(2), base64url without padding: 22 characters.
std::string NewToken();

// Tokens of one kind (exec, attach, port-forward) and what each stands for. Any thread.
template <typename T>
class TokenTable {
 public:
  // kResourceExhausted when too many are outstanding; the kubelet then tells its client to retry.
  StatusOr<std::string> Add(T value, SteadyTime now) {
    absl::MutexLock lock(&mutex_);
    if (entries_.size() >= kMaxTokens) Drop(now);
    if (entries_.size() >= kMaxTokens)
      return absl::ResourceExhaustedError("too many streaming requests are waiting");
    std::string token = NewToken();
    entries_.emplace(token, Entry{std::move(value), now + kTokenLife});
    return token;
  }

  // Nothing when it is unknown, was used, or is too old.
  std::optional<T> Take(absl::string_view token, SteadyTime now) {
    absl::MutexLock lock(&mutex_);
    auto node = entries_.extract(std::string(token));
    if (node.empty() || node.mapped().expires <= now) return std::nullopt;
    return std::move(node.mapped().value);
  }

  // Lets go of all whose value is so.
  void DropIf(const std::function<bool(const T&)>& is) {
    absl::MutexLock lock(&mutex_);
    std::erase_if(entries_, [&is](const auto& entry) { return is(entry.second.value); });
  }

  // Lets go of what nobody came for. How many are left.
  size_t DropExpired(SteadyTime now) {
    absl::MutexLock lock(&mutex_);
    Drop(now);
    return entries_.size();
  }

 private:
  struct Entry {
    T value;
    SteadyTime expires;
  };

  void Drop(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::erase_if(entries_, [now](const auto& entry) { return entry.second.expires <= now; });
  }

  absl::Mutex mutex_;
  std::unordered_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::cri::streaming
