// Profiles to BPF programs, by libseccomp. Linked by who compiles (gantryd, gantry-oci), not by the
// shim, which loads the bytes it is given: seccomp(2), SECCOMP_SET_MODE_FILTER.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "runtime/base/status.h"
#include "runtime/seccomp/profile.h"

namespace gantry::seccomp {

// An array of struct sock_filter as bytes, with the machine's own architecture first and each
// system call found by a binary search. Names that no listed architecture has are left out. Unless
// the profile lets by default, numbers that are unknown to us, or above all that the profile names,
// get ENOSYS instead of its default, as under runc: programs can then tell "this kernel is too old"
// from "forbidden". Takes 1 to 12 ms. kInvalidArgument: an unknown architecture, or over the
// kernel's 4,096 instructions. Any thread.
StatusOr<std::string> Compile(const Profile& profile);

// Compiled filters by what they were made from. Thread-safe; the bytes are shared and stay valid
// after eviction.
class FilterCache {
 public:
  using Filter = std::shared_ptr<const std::string>;

  // `capacity` filters are kept (a filter has about 10 kB); the longest unused goes first.
  explicit FilterCache(size_t capacity = 64) : capacity_(capacity) {}

  // DefaultProfile for a container with these capabilities in its bounding set.
  StatusOr<Filter> Default(const std::set<std::string>& capabilities);
  // ParseProfile of `json`; errors as there.
  StatusOr<Filter> FromJson(absl::string_view json, const std::set<std::string>& capabilities);

 private:
  struct Entry {
    Filter filter;
    uint64_t last_use = 0;
  };
  Filter Find(const std::string& key);
  StatusOr<Filter> Add(const std::string& key, const Profile& profile);

  const size_t capacity_;
  absl::Mutex mutex_;
  // The key is everything that decides the result, not a hash of it: a collision would give a
  // container another's filter.
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  uint64_t clock_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace gantry::seccomp
