// gantry-probe: what a process sees and may do inside a container. One static program, for images
// that hold nothing else; integration tests run it and read its JSON (one line on standard output).
//
//   gantry-probe [report]       everything about itself: pid ppid sid pgid, uid euid suid gid egid
//   sgid
//                               groups, hostname domainname cwd exe, umask oom_score_adj nice
//                               scheduler tty, status (of /proc/self/status: CapEff, NoNewPrivs,
//                               Seccomp, SigIgn …), fds {number: target}, env, rlimits {NAME:
//                               [soft, hard]} as text, namespaces {name: "name:[inode]"}, cgroup,
//                               mounts (mountinfo), uid_map and gid_map as arrays of lines
//   gantry-probe stat PATH…     [{path, error, type, mode, uid, gid, size, dev, rdev, target,
//   readonly}] gantry-probe read PATH…     [{path, error, text}]: sysctls, resolv.conf, any file up
//   to 1 MiB gantry-probe list PATH…     [{path, names}] gantry-probe write PATH…    [{path,
//   error}]: may it be opened for writing, or made? gantry-probe call NAME…     [{call, error}] of
//   add_key bpf chroot clock_settime mknod mount
//                               open_by_handle_at perf_event_open ptrace reboot sethostname setns
//                               setuid socket_alg socket_packet socket_raw socket_vsock
//                               unshare_mount unshare_user
//   gantry-probe exit N | wait | ignore-term | signals N | spawn N | orphan | memory MIB | lines N
//   | echo
//                               acts of probe_acts.h
//
// Errors are errno names, "" where there was none. Exit status 0, 1 when the act failed, 2 for a
// wrong call.
#include <dirent.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "tests/incontainer/probe_acts.h"
#include "tests/incontainer/probe_attempts.h"
#include "tests/incontainer/probe_json.h"
#include "tests/incontainer/probe_report.h"

namespace gantry::probe {
namespace {

constexpr int kWrongCall = 2;

void WriteRead(JsonWriter& json, const std::string& path) {
  std::string error;
  const std::string text = ReadFile(path, &error);
  json.BeginObject().Key("path").String(path).Key("error").String(error);
  json.Key("text").String(text).EndObject();
}

void WriteList(JsonWriter& json, const std::string& path) {
  json.BeginObject().Key("path").String(path).Key("names").BeginArray();
  DIR* dir = opendir(path.c_str());
  for (const dirent* entry = nullptr; dir != nullptr && (entry = readdir(dir)) != nullptr;) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") json.String(name);
  }
  if (dir != nullptr) closedir(dir);
  json.EndArray().EndObject();
}

struct Question {
  const char* name;
  void (*write)(JsonWriter& json, const std::string& argument);
};

constexpr Question kQuestions[] = {
    {"stat", WriteStat},          {"read", WriteRead},        {"list", WriteList},
    {"write", WriteWriteAttempt}, {"call", WriteCallAttempt},
};

struct Act {
  const char* name;
  int (*perform)(long value);
};

constexpr Act kActs[] = {
    {"exit", [](long value) { return static_cast<int>(value); }},
    {"wait", [](long) { return WaitForever(); }},
    {"ignore-term", [](long) { return IgnoreTerm(); }},
    {"signals", ReportSignals},
    {"spawn", SpawnSleepers},
    {"orphan", [](long) { return LeaveOrphan(); }},
    {"memory", EatMemory},
    {"lines", WriteManyLines},
    {"echo", [](long) { return Echo(); }},
};

int Print(const JsonWriter& json) {
  return std::printf("%s\n", json.text().c_str()) < 0 || std::fflush(stdout) != 0 ? 1 : 0;
}

int Run(const std::vector<std::string>& arguments) {
  const std::string command = arguments.empty() ? "report" : arguments[0];
  JsonWriter json;
  if (command == "report") {
    WriteReport(json);
    return Print(json);
  }
  for (const Question& question : kQuestions) {
    if (command != question.name) continue;
    json.BeginArray();
    for (size_t i = 1; i < arguments.size(); ++i) question.write(json, arguments[i]);
    json.EndArray();
    return Print(json);
  }
  for (const Act& act : kActs) {
    if (command != act.name) continue;
    return act.perform(arguments.size() > 1 ? std::atol(arguments[1].c_str()) : 0);
  }
  std::fprintf(stderr, "gantry-probe: unknown sub-command %s\n", command.c_str());
  return kWrongCall;
}

}  // namespace
}  // namespace gantry::probe

int main(int argc, char** argv) {
  return gantry::probe::Run(std::vector<std::string>(argv + 1, argv + argc));
}
