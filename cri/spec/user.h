// Who a container runs as: the CRI request, the image's USER and the image's own /etc/passwd and
// /etc/group, made into numbers. Pure: the files come as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::cri {

struct UserRequest {
  std::optional<int64_t> run_as_user;
  std::string run_as_username;
  std::optional<int64_t> run_as_group;
  std::string image_user;  // USER of the image: name, uid, name:group, uid:gid
  std::vector<int64_t> supplemental_groups;
  bool strict_groups =
      false;  // SupplementalGroupsPolicy Strict: no groups from the image's /etc/group
};

struct ResolvedUser {
  spec::User user;   // additional_gids hold the primary group too (CVE-2022-2989)
  std::string home;  // from passwd; "/" when the user has no entry
};

// passwd and group may be empty (no such file). Numbers above 2^32-2 and unknown names are refused
// with kInvalidArgument; a string of digits is never looked up as a name (CVE-2024-40635).
StatusOr<ResolvedUser> ResolveUser(const UserRequest& request, absl::string_view passwd,
                                   absl::string_view group);

// What Image.uid and Image.username report for a USER value: exactly one of them, uid 0 when it is
// empty.
struct ImageUser {
  std::optional<int64_t> uid;
  std::string username;
};
ImageUser ImageUserOf(absl::string_view user);

}  // namespace gantry::cri
