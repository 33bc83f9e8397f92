#include "runtime/oci_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "runtime/spec/json.h"

namespace gantry::runtime {
namespace {

using nlohmann::json;

constexpr const char* kFiles[] = {"/state.json", "/state.json.new", "/config.json", "/seccomp.bpf",
                                  "/start.sock"};
constexpr size_t kMaxConfig = 4 << 20;

bool IsName(const std::string& id) {
  const auto plain = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '+' || c == '-' ||
           c == '.';
  };
  return !id.empty() && id.size() <= 200 && id != "." && id != ".." &&
         std::all_of(id.begin(), id.end(), plain);
}

bool IsPaused(const std::string& cgroup_path) {
  const auto host = DetectCgroupHost();
  if (!host.ok()) return false;
  const auto paths = CgroupPathsFor(*host, cgroup_path);
  if (!paths.ok()) return false;
  const bool v1 = paths->IsV1("freezer");
  const auto state = ReadFileAt(
      AT_FDCWD, paths->DirOf("freezer") + (v1 ? "/freezer.self_freezing" : "/cgroup.freeze"));
  return state.ok() && absl::StripAsciiWhitespace(*state) == "1";
}

}  // namespace

absl::string_view StatusName(OciStatus status) {
  switch (status) {
    case OciStatus::kCreated:
      return "created";
    case OciStatus::kRunning:
      return "running";
    case OciStatus::kPaused:
      return "paused";
    case OciStatus::kStopped:
      return "stopped";
  }
  return "stopped";
}

StatusOr<OciStateDir> OciStateDir::At(const std::string& root, const std::string& id) {
  if (!IsName(id))
    return absl::InvalidArgumentError(absl::StrCat("\"", id, "\" is not a container name"));
  return OciStateDir(absl::StrCat(root, "/", id));
}

Status OciStateDir::Make() const {
  const std::string root = path_.substr(0, path_.rfind('/'));
  RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, root, 0711).status());
  if (mkdir(path_.c_str(), 0700) == 0) return absl::OkStatus();
  if (errno == EEXIST) return absl::AlreadyExistsError("a container of this name exists");
  return SyscallError("mkdir", path_);
}

Status OciStateDir::Save(const OciRecord& record) const {
  const json out = {{"id", record.id},
                    {"bundle", record.bundle},
                    {"rootfs", record.rootfs},
                    {"cgroupPath", record.cgroup_path},
                    {"created", record.created},
                    {"pid", record.pid},
                    {"pidStartTime", record.pid_start_time}};
  const std::string name = path_ + "/state.json";
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, name + ".new", DumpJson(out), 0600));
  if (rename((name + ".new").c_str(), name.c_str()) != 0) return SyscallError("rename", name);
  return absl::OkStatus();
}

StatusOr<OciRecord> OciStateDir::Load() const {
  const auto text = ReadFileAt(AT_FDCWD, path_ + "/state.json");
  if (ErrnoOf(text.status()) == ENOENT) return absl::NotFoundError("container does not exist");
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN_CONTEXT(const json document, ParseJson(*text), path_ + "/state.json");
  Status status;
  const JsonReader in(document, status);
  OciRecord record;
  in.Read("id", record.id);
  in.Read("bundle", record.bundle);
  in.Read("rootfs", record.rootfs);
  in.Read("cgroupPath", record.cgroup_path);
  in.Read("created", record.created);
  in.Read("pid", record.pid);
  in.Read("pidStartTime", record.pid_start_time);
  if (!status.ok()) return Annotate(status, path_ + "/state.json");
  return record;
}

Status OciStateDir::SaveConfiguration(const spec::Spec& spec, absl::string_view seccomp_bpf) const {
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, path_ + "/config.json", spec::ToJson(spec), 0600));
  return CreateFileAt(AT_FDCWD, path_ + "/seccomp.bpf", seccomp_bpf, 0600);
}

StatusOr<spec::Spec> OciStateDir::LoadSpec() const {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFileAt(AT_FDCWD, path_ + "/config.json", kMaxConfig));
  return spec::ParseSpec(text);
}

StatusOr<std::string> OciStateDir::LoadSeccomp() const {
  return ReadFileAt(AT_FDCWD, path_ + "/seccomp.bpf");
}

Status OciStateDir::Remove() const {
  for (const char* file : kFiles) {
    if (unlink((path_ + file).c_str()) != 0 && errno != ENOENT)
      return SyscallError("unlink", path_ + file);
  }
  if (rmdir(path_.c_str()) != 0 && errno != ENOENT) return SyscallError("rmdir", path_);
  return absl::OkStatus();
}

StatusOr<std::vector<std::string>> ListContainers(const std::string& root) {
  std::vector<std::string> ids;
  const DirectoryStream stream(opendir(root.c_str()));
  if (stream == nullptr && errno == ENOENT) return ids;
  if (stream == nullptr) return SyscallError("opendir", root);
  while (const dirent* entry = readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (IsName(name) && access(absl::StrCat(root, "/", name, "/state.json").c_str(), F_OK) == 0)
      ids.push_back(name);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

StatusOr<UniqueFd> OpenInit(const OciRecord& record) {
  auto pidfd = OpenPidFd(record.pid);
  if (!pidfd.ok()) return UniqueFd();
  const auto start = ProcessStartTime(record.pid);
  if (!start.ok() || *start != record.pid_start_time) return UniqueFd();
  // Readable: a zombie that nobody has waited for.
  pollfd ended = {.fd = pidfd->get(), .events = POLLIN, .revents = 0};
  if (poll(&ended, 1, 0) != 0) return UniqueFd();
  return std::move(*pidfd);
}

StatusOr<OciStatus> StatusOf(const OciStateDir& dir, const OciRecord& record) {
  ASSIGN_OR_RETURN(const UniqueFd init, OpenInit(record));
  if (!init.valid()) return OciStatus::kStopped;
  if (access(dir.SocketPath().c_str(), F_OK) == 0) return OciStatus::kCreated;
  return IsPaused(record.cgroup_path) ? OciStatus::kPaused : OciStatus::kRunning;
}

std::string StateJson(const OciRecord& record, const spec::Spec& spec, OciStatus status) {
  json out = {{"ociVersion", spec.version},
              {"id", record.id},
              {"status", StatusName(status)},
              {"bundle", record.bundle},
              {"pid", status == OciStatus::kStopped ? 0 : record.pid},
              {"rootfs", record.rootfs},
              {"created", record.created},
              {"annotations", spec.annotations},
              {"owner", ""}};
  return DumpJson(out, /*indented=*/true);
}

}  // namespace gantry::runtime
