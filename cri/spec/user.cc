#include "cri/spec/user.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::cri {
namespace {

constexpr int64_t kLargestId = 0xfffffffe;  // 2^32-1 is "no change" to the kernel

bool AllDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

StatusOr<uint32_t> CheckId(int64_t id, absl::string_view what) {
  if (id < 0 || id > kLargestId)
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ", id, " is out of range (0 to ", kLargestId, ")"));
  return static_cast<uint32_t>(id);
}

StatusOr<uint32_t> ParseId(absl::string_view text, absl::string_view what) {
  int64_t id = 0;
  if (!absl::SimpleAtoi(text, &id))
    return absl::InvalidArgumentError(
        absl::StrCat(what, " \"", text, "\" is out of range (0 to ", kLargestId, ")"));
  return CheckId(id, what);
}

struct PasswdEntry {
  std::string name;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string home;
};

// The first entry that `matches`; malformed lines are skipped, as every libc does.
template <typename Matches>
std::optional<PasswdEntry> FindPasswd(absl::string_view passwd, Matches matches) {
  for (absl::string_view line : absl::StrSplit(passwd, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    PasswdEntry entry;
    if (fields.size() < 6 || !absl::SimpleAtoi(fields[2], &entry.uid) ||
        !absl::SimpleAtoi(fields[3], &entry.gid))
      continue;
    entry.name = std::string(fields[0]);
    entry.home = std::string(fields[5]);
    if (matches(entry)) return entry;
  }
  return std::nullopt;
}

struct GroupEntry {
  absl::string_view name;
  uint32_t gid = 0;
  std::vector<absl::string_view> members;
};

template <typename Visit>
void ForEachGroup(absl::string_view group, Visit visit) {
  for (absl::string_view line : absl::StrSplit(group, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    GroupEntry entry;
    if (fields.size() < 4 || !absl::SimpleAtoi(fields[2], &entry.gid)) continue;
    entry.name = fields[0];
    entry.members = absl::StrSplit(fields[3], ',', absl::SkipEmpty());
    visit(entry);
  }
}

StatusOr<uint32_t> GroupId(absl::string_view text, absl::string_view group) {
  if (AllDigits(text)) return ParseId(text, "group");
  std::optional<uint32_t> found;
  ForEachGroup(group, [&](const GroupEntry& entry) {
    if (!found && entry.name == text) found = entry.gid;
  });
  if (!found)
    return absl::InvalidArgumentError(
        absl::StrCat("group \"", text, "\" is not in the image's /etc/group"));
  return *found;
}

struct Identity {
  uint32_t uid = 0;
  std::optional<uint32_t> gid;
  std::optional<PasswdEntry> entry;
};

StatusOr<Identity> ByUid(uint32_t uid, absl::string_view passwd) {
  Identity identity;
  identity.uid = uid;
  identity.entry = FindPasswd(passwd, [uid](const PasswdEntry& entry) { return entry.uid == uid; });
  return identity;
}

// `text`: a user part, digits or a name.
StatusOr<Identity> ByText(absl::string_view text, absl::string_view passwd) {
  if (AllDigits(text)) {
    ASSIGN_OR_RETURN(const uint32_t uid, ParseId(text, "user"));
    return ByUid(uid, passwd);
  }
  auto entry = FindPasswd(passwd, [text](const PasswdEntry& e) { return e.name == text; });
  if (!entry && text == "root") return ByUid(0, passwd);
  if (!entry)
    return absl::InvalidArgumentError(
        absl::StrCat("user \"", text, "\" is not in the image's /etc/passwd"));
  Identity identity;
  identity.uid = entry->uid;
  identity.entry = std::move(entry);
  return identity;
}

StatusOr<Identity> FindIdentity(const UserRequest& request, absl::string_view passwd,
                                absl::string_view group) {
  if (request.run_as_user) {
    ASSIGN_OR_RETURN(const uint32_t uid, CheckId(*request.run_as_user, "run_as_user"));
    return ByUid(uid, passwd);
  }
  if (!request.run_as_username.empty()) return ByText(request.run_as_username, passwd);
  if (request.image_user.empty()) return ByUid(0, passwd);
  const std::vector<absl::string_view> parts =
      absl::StrSplit(request.image_user, absl::MaxSplits(':', 1));
  ASSIGN_OR_RETURN(Identity identity, ByText(parts[0].empty() ? "0" : parts[0], passwd));
  if (parts.size() == 2 && !parts[1].empty()) {
    ASSIGN_OR_RETURN(identity.gid, GroupId(parts[1], group));
  }
  return identity;
}

void AddOnce(std::vector<uint32_t>* gids, uint32_t gid) {
  if (std::find(gids->begin(), gids->end(), gid) == gids->end()) gids->push_back(gid);
}

}  // namespace

StatusOr<ResolvedUser> ResolveUser(const UserRequest& request, absl::string_view passwd,
                                   absl::string_view group) {
  if (request.run_as_group && !request.run_as_user && request.run_as_username.empty())
    return absl::InvalidArgumentError("run_as_group needs run_as_user or run_as_username");
  ASSIGN_OR_RETURN(const Identity identity, FindIdentity(request, passwd, group));
  ResolvedUser resolved;
  resolved.user.uid = identity.uid;
  resolved.user.gid = identity.gid.value_or(identity.entry ? identity.entry->gid : 0);
  if (request.run_as_group) {
    ASSIGN_OR_RETURN(resolved.user.gid, CheckId(*request.run_as_group, "run_as_group"));
  }
  resolved.home = identity.entry && !identity.entry->home.empty() ? identity.entry->home : "/";
  std::vector<uint32_t>& gids = resolved.user.additional_gids;
  gids.push_back(resolved.user.gid);
  if (!request.strict_groups && identity.entry) {
    ForEachGroup(group, [&](const GroupEntry& entry) {
      if (std::find(entry.members.begin(), entry.members.end(),
                    absl::string_view(identity.entry->name)) != entry.members.end())
        AddOnce(&gids, entry.gid);
    });
  }
  for (const int64_t gid : request.supplemental_groups) {
    ASSIGN_OR_RETURN(const uint32_t checked, CheckId(gid, "supplemental group"));
    AddOnce(&gids, checked);
  }
  return resolved;
}

ImageUser ImageUserOf(absl::string_view user) {
  const absl::string_view name = user.substr(0, user.find(':'));
  ImageUser result;
  int64_t uid = 0;
  if (name.empty()) {
    result.uid = 0;
  } else if (AllDigits(name) && absl::SimpleAtoi(name, &uid)) {
    result.uid = uid;
  } else {
    result.username = std::string(name);
  }
  return result;
}

}  // namespace gantry::cri
