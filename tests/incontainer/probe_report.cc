#include "tests/incontainer/probe_report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

extern char** environ;

namespace gantry::probe {
namespace {

constexpr size_t kMaxFile = 1 << 20;

struct NamedLimit {
  const char* name;
  __rlimit_resource resource;
};

constexpr NamedLimit kLimits[] = {
    {"AS", RLIMIT_AS},           {"CORE", RLIMIT_CORE},         {"CPU", RLIMIT_CPU},
    {"DATA", RLIMIT_DATA},       {"FSIZE", RLIMIT_FSIZE},       {"LOCKS", RLIMIT_LOCKS},
    {"MEMLOCK", RLIMIT_MEMLOCK}, {"MSGQUEUE", RLIMIT_MSGQUEUE}, {"NICE", RLIMIT_NICE},
    {"NOFILE", RLIMIT_NOFILE},   {"NPROC", RLIMIT_NPROC},       {"RSS", RLIMIT_RSS},
    {"RTPRIO", RLIMIT_RTPRIO},   {"RTTIME", RLIMIT_RTTIME},     {"SIGPENDING", RLIMIT_SIGPENDING},
    {"STACK", RLIMIT_STACK},
};

std::string ReadLink(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = readlink(path.c_str(), target, sizeof(target));
  return n < 0 ? "" : std::string(target, static_cast<size_t>(n));
}

std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(dir);
  return names;
}

void WriteLines(JsonWriter& json, std::string_view key, const std::string& path) {
  std::string error;
  std::istringstream lines(ReadFile(path, &error));
  json.Key(key).BeginArray();
  for (std::string line; std::getline(lines, line);) json.String(line);
  json.EndArray();
}

// Capability sets, seccomp mode, signal masks and more: the kernel's own names and texts.
void WriteStatus(JsonWriter& json) {
  std::string error;
  std::istringstream lines(ReadFile("/proc/self/status", &error));
  json.Key("status").BeginObject();
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t value = line.find_first_not_of("\t ", colon + 1);
    json.Key(line.substr(0, colon)).String(value == std::string::npos ? "" : line.substr(value));
  }
  json.EndObject();
}

void WriteIds(JsonWriter& json) {
  uid_t uids[3];
  gid_t gids[3];
  getresuid(&uids[0], &uids[1], &uids[2]);
  getresgid(&gids[0], &gids[1], &gids[2]);
  json.Key("pid").Number(getpid()).Key("ppid").Number(getppid());
  json.Key("sid").Number(getsid(0)).Key("pgid").Number(getpgid(0));
  json.Key("uid").Number(uids[0]).Key("euid").Number(uids[1]).Key("suid").Number(uids[2]);
  json.Key("gid").Number(gids[0]).Key("egid").Number(gids[1]).Key("sgid").Number(gids[2]);
  gid_t groups[1024];
  const int count = getgroups(1024, groups);
  json.Key("groups").BeginArray();
  for (int i = 0; i < count; ++i) json.Number(groups[i]);
  json.EndArray();
}

// The directory stream's own descriptor shows up in the listing and is left out.
void WriteDescriptors(JsonWriter& json) {
  json.Key("fds").BeginObject();
  for (const std::string& name : Entries("/proc/self/fd")) {
    const int fd = std::atoi(name.c_str());
    if (fcntl(fd, F_GETFD) < 0) continue;
    json.Key(name).String(ReadLink("/proc/self/fd/" + name));
  }
  json.EndObject();
}

void WriteEnvironment(JsonWriter& json) {
  json.Key("env").BeginObject();
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    json.Key(text.substr(0, equals)).String(text.substr(equals + 1));
  }
  json.EndObject();
}

// Both values as text: RLIM_INFINITY does not fit into a JSON number.
void WriteLimits(JsonWriter& json) {
  json.Key("rlimits").BeginObject();
  for (const NamedLimit& limit : kLimits) {
    rlimit value{};
    if (getrlimit(limit.resource, &value) != 0) continue;
    json.Key(limit.name).BeginArray();
    for (const rlim_t bound : {value.rlim_cur, value.rlim_max}) {
      json.String(bound == RLIM_INFINITY ? "unlimited" : std::to_string(bound));
    }
    json.EndArray();
  }
  json.EndObject();
}

void WriteNamespaces(JsonWriter& json) {
  json.Key("namespaces").BeginObject();
  for (const std::string& name : Entries("/proc/self/ns")) {
    json.Key(name).String(ReadLink("/proc/self/ns/" + name));
  }
  json.EndObject();
}

void WriteNames(JsonWriter& json) {
  utsname names{};
  uname(&names);
  json.Key("hostname").String(names.nodename).Key("domainname").String(names.domainname);
  char folder[PATH_MAX];
  json.Key("cwd").String(getcwd(folder, sizeof(folder)) == nullptr ? "" : folder);
  json.Key("exe").String(ReadLink("/proc/self/exe"));
}

void WriteProcessSettings(JsonWriter& json) {
  const mode_t mask = umask(0);
  umask(mask);
  char octal[8];
  std::snprintf(octal, sizeof(octal), "%04o", mask);
  json.Key("umask").String(octal);
  std::string error;
  json.Key("oom_score_adj").String(ReadFile("/proc/self/oom_score_adj", &error));
  json.Key("nice").Number(getpriority(PRIO_PROCESS, 0));
  json.Key("scheduler").Number(sched_getscheduler(0));
  json.Key("tty").Bool(isatty(0) == 1);
}

const char* TypeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "link";
    case S_IFCHR:
      return "char";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    default:
      return "unknown";
  }
}

std::string Numbers(dev_t device) {
  return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

}  // namespace

std::string ErrnoName(int error) {
  if (error == 0) return "";
  const char* name = strerrorname_np(error);
  return name == nullptr ? std::to_string(error) : name;
}

std::string ReadFile(const std::string& path, std::string* error) {
  *error = "";
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    *error = ErrnoName(errno);
    return "";
  }
  std::string content;
  char buffer[16384];
  while (content.size() < kMaxFile) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0) *error = ErrnoName(errno);
    if (n <= 0) break;
    content.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return content;
}

void WriteStat(JsonWriter& json, const std::string& path) {
  struct stat st {};
  const int result = lstat(path.c_str(), &st);
  json.BeginObject().Key("path").String(path);
  json.Key("error").String(result == 0 ? "" : ErrnoName(errno));
  if (result == 0) {
    char mode[8];
    std::snprintf(mode, sizeof(mode), "%04o", st.st_mode & 07777);
    json.Key("type").String(TypeName(st.st_mode)).Key("mode").String(mode);
    json.Key("uid").Number(st.st_uid).Key("gid").Number(st.st_gid).Key("size").Number(st.st_size);
    json.Key("dev").String(Numbers(st.st_dev)).Key("rdev").String(Numbers(st.st_rdev));
    if (S_ISLNK(st.st_mode)) json.Key("target").String(ReadLink(path));
    struct statvfs fs {};
    if (statvfs(path.c_str(), &fs) == 0) json.Key("readonly").Bool((fs.f_flag & ST_RDONLY) != 0);
  }
  json.EndObject();
}

void WriteReport(JsonWriter& json) {
  json.BeginObject();
  WriteIds(json);
  WriteNames(json);
  WriteProcessSettings(json);
  WriteStatus(json);
  WriteDescriptors(json);
  WriteEnvironment(json);
  WriteLimits(json);
  WriteNamespaces(json);
  WriteLines(json, "cgroup", "/proc/self/cgroup");
  WriteLines(json, "mounts", "/proc/self/mountinfo");
  WriteLines(json, "uid_map", "/proc/self/uid_map");
  WriteLines(json, "gid_map", "/proc/self/gid_map");
  json.EndObject();
}

}  // namespace gantry::probe
