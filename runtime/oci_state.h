// What gantry-oci keeps of a container between its commands: a folder <root>/<id>, only for its
// owner, with
//   state.json    the record below          config.json   the configuration as it was at create
//   seccomp.bpf   the filter, for execs     start.sock    the keeper (oci_keeper.h), while the
//   container waits for start
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct OciRecord {
  std::string id = {};
  std::string bundle = {};  // absolute
  std::string rootfs = {};  // absolute
  std::string cgroup_path = {};
  std::string created = {};  // RFC 3339
  pid_t pid = -1;
  uint64_t pid_start_time = 0;  // with the pid: whose number it is
};

enum class OciStatus { kCreated, kRunning, kPaused, kStopped };
absl::string_view StatusName(OciStatus status);

// The state folder of one container. kInvalidArgument: `id` is not a name.
class OciStateDir {
 public:
  static StatusOr<OciStateDir> At(const std::string& root, const std::string& id);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string SocketPath() const { return path_ + "/start.sock"; }

  // kAlreadyExists: a container of this name is there.
  Status Make() const;
  Status Save(const OciRecord& record) const;
  // kNotFound: there is no container of this name.
  [[nodiscard]] StatusOr<OciRecord> Load() const;
  // config.json and seccomp.bpf.
  Status SaveConfiguration(const spec::Spec& spec, absl::string_view seccomp_bpf) const;
  [[nodiscard]] StatusOr<spec::Spec> LoadSpec() const;
  [[nodiscard]] StatusOr<std::string> LoadSeccomp() const;
  // Removes the folder and what we put into it.
  Status Remove() const;

 private:
  explicit OciStateDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The ids of all containers below `root`, sorted.
StatusOr<std::vector<std::string>> ListContainers(const std::string& root);

// A pidfd of the container's init; invalid when it has exited (or its number belongs to another by
// now).
StatusOr<UniqueFd> OpenInit(const OciRecord& record);

StatusOr<OciStatus> StatusOf(const OciStateDir& dir, const OciRecord& record);

// The state of the OCI specification (runtime.md, "State"), what hooks get.
std::string StateJson(const OciRecord& record, const spec::Spec& spec, OciStatus status);

}  // namespace gantry::runtime
