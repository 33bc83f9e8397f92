// Ids inside of a user namespace and outside of it (user_namespaces(7)), and user namespaces that
// are made to carry a mapping.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct IdMaps {
  std::vector<spec::IdMapping> uids, gids;
  [[nodiscard]] bool empty() const { return uids.empty() && gids.empty(); }
};

// The host's id for one of the namespace; nothing when it is not mapped. Pure.
std::optional<uint32_t> HostId(const std::vector<spec::IdMapping>& mappings, uint32_t id);

// As HostId, of the user id 0 and of group id 0. kInvalidArgument when one is not mapped.
struct HostOwner {
  uint32_t uid = 0;
  uint32_t gid = 0;
};
StatusOr<HostOwner> HostRoot(const IdMaps& maps);

// Lines of /proc/PID/uid_map. Pure; kInvalidArgument for text that is none.
std::string IdMapText(const std::vector<spec::IdMapping>& mappings);
StatusOr<std::vector<spec::IdMapping>> ParseIdMap(absl::string_view text);

// A new user namespace with these mappings and nobody in it, child of the caller's. It lives as
// long as the descriptor, and what refers to it: an idmapped mount, another namespace. Needs
// CAP_SETUID and CAP_SETGID. Callers may have threads: the child that makes it only makes system
// calls. kInternal, with the kernel's reason, where namespaces are forbidden or the maps are not
// to its liking.
StatusOr<UniqueFd> MakeUserNamespace(const IdMaps& maps);

// User namespaces that idmapped mounts go by, one for each mapping.
using IdMapNamespaces = std::map<std::string, UniqueFd>;
std::string IdMapKey(const std::vector<spec::IdMapping>& uids,
                     const std::vector<spec::IdMapping>& gids);
// Those that the mounts of a spec ask for.
StatusOr<IdMapNamespaces> MakeIdMapNamespaces(const std::vector<spec::Mount>& mounts);

// Writes the mappings of a process of ours that was born in a new user namespace.
Status WriteIdMaps(pid_t pid, const IdMaps& maps);

// Makes the caller root of the user namespace that it is in, undumpable. Its capabilities stay.
Status BecomeNamespaceRoot();

// From here on what the caller makes in file systems belongs to `owner`; it stays who it is
// otherwise, with all its capabilities, and undumpable.
Status MakeFilesAs(const HostOwner& owner);

}  // namespace gantry::runtime
