// Names in use, each by one object. Any thread.
#pragma once

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "runtime/base/status.h"

namespace gantry::cri {

class NameRegistry {
 public:
  // kAlreadyExists, with the id of the holder, when another object has the name.
  Status Reserve(const std::string& name, const std::string& id) {
    absl::MutexLock lock(&mutex_);
    const auto [entry, added] = holders_.emplace(name, id);
    if (added || entry->second == id) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat("name \"", name, "\" is in use by \"", entry->second, "\""));
  }
  // Nothing happens when `id` does not hold the name.
  void Release(const std::string& name, const std::string& id) {
    absl::MutexLock lock(&mutex_);
    const auto found = holders_.find(name);
    if (found != holders_.end() && found->second == id) holders_.erase(found);
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, std::string> holders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::cri
