#include "cri/apparmor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::cri {
namespace {

constexpr char kEnabledFile[] = "/sys/module/apparmor/parameters/enabled";
constexpr char kProfilesFile[] = "/sys/kernel/security/apparmor/profiles";
constexpr size_t kProfilesLimit = 16 << 20;

// What containers of all runtimes are used to: files, network and capabilities are left to the
// other fences; the kernel's switches, mounts and other containers' processes are closed.
constexpr char kDefaultText[] = R"(#include <tunables/global>
profile gantry-default flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>
  file,
  network,
  capability,
  umount,
  deny mount,
  signal (receive) peer=unconfined,
  signal (send,receive) peer=gantry-default,
  ptrace (trace,read,tracedby,readby) peer=gantry-default,
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/{sysrq-trigger,kcore,mem,kmem} rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/{firmware,kernel/security,devices/virtual/powercap}/** rwklx,
}
)";

std::string FindParser() {
  for (const char* path : {"/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"})
    if (access(path, X_OK) == 0) return path;
  return "";
}

// Each line is "NAME (MODE)"; a name may have spaces.
StatusOr<bool> IsLoaded(const std::string& name) {
  ASSIGN_OR_RETURN(const UniqueFd file, OpenAt(AT_FDCWD, kProfilesFile, O_RDONLY));
  ASSIGN_OR_RETURN(const std::string text, ReadAll(file.get(), kProfilesFile, kProfilesLimit));
  const std::string start = absl::StrCat(name, " (");
  for (const absl::string_view line : absl::StrSplit(text, '\n'))
    if (absl::StartsWith(line, start)) return true;
  return false;
}

// The text goes by a pipe: it is smaller than a pipe is deep.
Status LoadDefault(const std::string& parser) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SyscallError("pipe2");
  const UniqueFd read_end(fds[0]);
  UniqueFd write_end(fds[1]);
  if (write(write_end.get(), kDefaultText, sizeof kDefaultText - 1) < 0)
    return SyscallError("write", "pipe");
  write_end.Reset();
  ASSIGN_OR_RETURN(const UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_WRONLY));
  SpawnRequest request;
  request.path = parser;
  request.args = {parser, "--replace", "--skip-cache"};
  request.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  request.fds = {{read_end.get(), 0}, {null.get(), 1}, {null.get(), 2}};
  ASSIGN_OR_RETURN(const ClonedProcess process, Spawn(request));
  ASSIGN_OR_RETURN(const auto ended, WaitPidFd(process.pidfd.get(), /*block=*/true));
  if (ended.has_value() && ended->Code() == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("load AppArmor profile \"", kDefaultAppArmorProfile,
                                          "\": ", parser, " has failed"));
}

}  // namespace

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // older clients still send it
StatusOr<AppArmorRequest> AppArmorRequestOf(const v1::LinuxContainerSecurityContext& security) {
  using Kind = AppArmorRequest::Kind;
  if (security.has_apparmor()) {
    const v1::SecurityProfile& profile = security.apparmor();
    if (profile.profile_type() == v1::SecurityProfile::Unconfined)
      return AppArmorRequest{Kind::kUnconfined, ""};
    if (profile.profile_type() == v1::SecurityProfile::RuntimeDefault) return AppArmorRequest();
    absl::string_view name = profile.localhost_ref();
    absl::ConsumePrefix(&name, "localhost/");
    if (name.empty()) return absl::InvalidArgumentError("apparmor.localhost_ref is empty");
    return AppArmorRequest{Kind::kNamed, std::string(name)};
  }
  absl::string_view old = security.apparmor_profile();
  if (old.empty() || old == "runtime/default") return AppArmorRequest();
  if (old == "unconfined") return AppArmorRequest{Kind::kUnconfined, ""};
  if (absl::ConsumePrefix(&old, "localhost/") && !old.empty())
    return AppArmorRequest{Kind::kNamed, std::string(old)};
  return absl::InvalidArgumentError(
      absl::StrCat("apparmor_profile \"", security.apparmor_profile(),
                   "\" is none of runtime/default, unconfined, localhost/NAME"));
}
#pragma GCC diagnostic pop

AppArmor::AppArmor() : parser_(FindParser()) {
  const auto on = ReadFileAt(AT_FDCWD, kEnabledFile);
  enabled_ = on.ok() && absl::StartsWith(*on, "Y") && access(kProfilesFile, R_OK) == 0;
}

StatusOr<std::string> AppArmor::ProfileFor(const v1::LinuxContainerSecurityContext& security) {
  ASSIGN_OR_RETURN(const AppArmorRequest wanted, AppArmorRequestOf(security));
  switch (wanted.kind) {
    case AppArmorRequest::Kind::kUnconfined:
      return "";
    case AppArmorRequest::Kind::kDefault:
      return security.privileged() ? "" : Default();
    case AppArmorRequest::Kind::kNamed:
      break;
  }
  const std::string context = absl::StrCat("AppArmor profile \"", wanted.name, "\"");
  if (!enabled_)
    return absl::InvalidArgumentError(absl::StrCat(context, ": this node has no AppArmor"));
  ASSIGN_OR_RETURN(const bool loaded, IsLoaded(wanted.name));
  if (!loaded) return absl::InvalidArgumentError(absl::StrCat(context, " is not loaded"));
  return wanted.name;
}

StatusOr<std::string> AppArmor::Default() {
  if (!enabled_ || parser_.empty()) return "";
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const bool loaded, IsLoaded(kDefaultAppArmorProfile));
  if (!loaded) RETURN_IF_ERROR(LoadDefault(parser_));
  return kDefaultAppArmorProfile;
}

}  // namespace gantry::cri
