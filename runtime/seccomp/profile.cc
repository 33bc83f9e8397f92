#include "runtime/seccomp/profile.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"

namespace gantry::seccomp {
namespace {

constexpr JsonLimits kProfileLimits = {
    .max_bytes = 1 << 20, .max_depth = 16, .max_values = 100'000};
constexpr uint32_t kMaxErrno = 4095;

#if defined(__x86_64__)
constexpr absl::string_view kNativeArchitecture = "SCMP_ARCH_X86_64";
constexpr absl::string_view kNativeGoArch = "amd64";
#elif defined(__aarch64__)
constexpr absl::string_view kNativeArchitecture = "SCMP_ARCH_AARCH64";
constexpr absl::string_view kNativeGoArch = "arm64";
#else
#error "no seccomp tables for this architecture"
#endif

template <typename T>
struct Named {
  absl::string_view name;
  T value;
};

constexpr Named<Action> kActions[] = {
    {"SCMP_ACT_ALLOW", Action::kAllow},
    {"SCMP_ACT_ERRNO", Action::kErrno},
    {"SCMP_ACT_KILL", Action::kKillThread},
    {"SCMP_ACT_KILL_THREAD", Action::kKillThread},
    {"SCMP_ACT_KILL_PROCESS", Action::kKillProcess},
    {"SCMP_ACT_TRAP", Action::kTrap},
    {"SCMP_ACT_TRACE", Action::kTrace},
    {"SCMP_ACT_LOG", Action::kLog},
};

constexpr Named<Comparison> kComparisons[] = {
    {"SCMP_CMP_NE", Comparison::kNotEqual},           {"SCMP_CMP_LT", Comparison::kLess},
    {"SCMP_CMP_LE", Comparison::kLessOrEqual},        {"SCMP_CMP_EQ", Comparison::kEqual},
    {"SCMP_CMP_GE", Comparison::kGreaterOrEqual},     {"SCMP_CMP_GT", Comparison::kGreater},
    {"SCMP_CMP_MASKED_EQ", Comparison::kMaskedEqual},
};

constexpr absl::string_view kFlags[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};

template <typename T, size_t N>
void ReadNamed(const JsonReader& in, absl::string_view key, const Named<T> (&table)[N], T& out) {
  std::string text;
  in.Read(key, text);
  const auto* found = std::find_if(std::begin(table), std::end(table),
                                   [&text](const Named<T>& entry) { return entry.name == text; });
  if (found != std::end(table)) {
    out = found->value;
  } else if (text == "SCMP_ACT_NOTIFY") {
    in.Fail(key, "SCMP_ACT_NOTIFY is not supported");
  } else {
    in.Fail(key, text.empty() ? "is missing" : absl::StrCat("\"", text, "\" is not known"));
  }
}

// `number_key` ("errnoRet") wins over `name_key` ("errno": "ENOSYS").
void ReadErrno(const JsonReader& in, absl::string_view number_key, absl::string_view name_key,
               uint32_t& out) {
  if (in.Has(number_key)) {
    in.Read(number_key, out);
    if (out > kMaxErrno) in.Fail(number_key, absl::StrCat(out, " is not an errno"));
    return;
  }
  std::string name;
  in.Read(name_key, name);
  if (name.empty()) return;
  for (int error = 1; error < 134; ++error) {
    const char* known = strerrorname_np(error);
    if (known != nullptr && name == known) {
      out = static_cast<uint32_t>(error);
      return;
    }
  }
  in.Fail(name_key, absl::StrCat("\"", name, "\" is not an errno"));
}

// "4.8" → at least that kernel.
bool KernelAtLeast(const JsonReader& in, const std::string& wanted,
                   const Environment& environment) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(wanted, absl::MaxSplits('.', 1));
  int major = 0;
  int minor = 0;
  if (!absl::SimpleAtoi(parts.first, &major) || !absl::SimpleAtoi(parts.second, &minor)) {
    in.Fail("minKernel", absl::StrCat("\"", wanted, "\" is not a version such as 4.8"));
    return false;
  }
  return std::pair(environment.kernel_major, environment.kernel_minor) >= std::pair(major, minor);
}

struct Filter {
  std::vector<std::string> capabilities, architectures;
  std::string min_kernel;
};

Filter ReadFilter(const JsonReader& in) {
  Filter filter;
  in.Read("caps", filter.capabilities);
  in.Read("arches", filter.architectures);
  in.Read("minKernel", filter.min_kernel);
  return filter;
}

bool Has(const std::vector<std::string>& list, absl::string_view value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// Whether Docker's conditions of a rule hold here: everything of "includes", nothing of "excludes".
bool Applies(const JsonReader& in, const Environment& environment) {
  const auto held = [&environment](const std::string& name) {
    return environment.capabilities.contains(name);
  };
  bool applies = true;
  in.Object("includes", [&](const JsonReader& includes) {
    const Filter filter = ReadFilter(includes);
    const auto& caps = filter.capabilities;
    applies &= std::all_of(caps.begin(), caps.end(), held);
    applies &= filter.architectures.empty() || Has(filter.architectures, kNativeGoArch);
    if (!filter.min_kernel.empty())
      applies &= KernelAtLeast(includes, filter.min_kernel, environment);
  });
  in.Object("excludes", [&](const JsonReader& excludes) {
    const Filter filter = ReadFilter(excludes);
    const auto& caps = filter.capabilities;
    applies &= std::none_of(caps.begin(), caps.end(), held);
    applies &= !Has(filter.architectures, kNativeGoArch);
    if (!filter.min_kernel.empty())
      applies &= !KernelAtLeast(excludes, filter.min_kernel, environment);
  });
  return applies;
}

void ReadRule(const JsonReader& in, uint32_t default_error, Rule& rule) {
  in.Read("names", rule.names);
  std::string name;
  in.Read("name", name);  // Docker's oldest form
  if (!name.empty()) rule.names.push_back(name);
  if (rule.names.empty()) in.Fail("names", "is empty");
  ReadNamed(in, "action", kActions, rule.action);
  rule.error = default_error;
  ReadErrno(in, "errnoRet", "errno", rule.error);
  in.ForEach("args", [&](const JsonReader& arg) {
    Condition& condition = rule.conditions.emplace_back();
    arg.Read("index", condition.argument);
    if (condition.argument > 5) arg.Fail("index", "is over 5");
    arg.Read("value", condition.value);
    arg.Read("valueTwo", condition.value_two);
    ReadNamed(arg, "op", kComparisons, condition.comparison);
  });
}

// OCI: "architectures". Docker: the entry of "archMap" for this machine, with what it includes.
void ReadArchitectures(const JsonReader& in, std::vector<std::string>& out) {
  in.Read("architectures", out);
  if (!out.empty() && in.Has("archMap")) in.Fail("archMap", "goes not together with architectures");
  in.ForEach("archMap", [&](const JsonReader& entry) {
    std::string architecture;
    std::vector<std::string> included;
    entry.Read("architecture", architecture);
    entry.Read("subArchitectures", included);
    if (architecture != kNativeArchitecture) return;
    out = std::move(included);
    out.push_back(architecture);
  });
  for (const std::string& architecture : out) {
    if (!absl::StartsWith(architecture, "SCMP_ARCH_"))
      in.Fail("architectures", absl::StrCat("\"", architecture, "\" is not known"));
  }
}

void CheckFlags(const JsonReader& in) {
  std::vector<std::string> flags;
  in.Read("flags", flags);
  for (const std::string& flag : flags) {
    if (std::find(std::begin(kFlags), std::end(kFlags), flag) == std::end(kFlags))
      in.Fail("flags", absl::StrCat("\"", flag, "\" is not known"));
  }
  if (in.Has("listenerPath")) in.Fail("listenerPath", "is not supported");
}

}  // namespace

Environment Environment::Current(std::set<std::string> capabilities) {
  Environment environment{.capabilities = std::move(capabilities)};
  struct utsname name = {};
  uname(&name);
  const std::vector<std::string> parts = absl::StrSplit(name.release, absl::ByAnyChar(".-+"));
  if (parts.size() > 1) {
    // A kernel that calls itself otherwise counts as 0.0.
    if (!absl::SimpleAtoi(parts[0], &environment.kernel_major)) environment.kernel_major = 0;
    if (!absl::SimpleAtoi(parts[1], &environment.kernel_minor)) environment.kernel_minor = 0;
  }
  return environment;
}

StatusOr<Profile> ParseProfile(absl::string_view json, const Environment& environment) {
  ASSIGN_OR_RETURN_CONTEXT(const nlohmann::json document, ParseJson(json, kProfileLimits),
                           "seccomp profile");
  Status status;
  const JsonReader in(document, status);
  Profile profile;
  ReadNamed(in, "defaultAction", kActions, profile.default_action);
  ReadErrno(in, "defaultErrnoRet", "defaultErrno", profile.default_error);
  ReadArchitectures(in, profile.architectures);
  CheckFlags(in);
  in.ForEach("syscalls", [&](const JsonReader& member) {
    Rule rule;
    // A rule of kErrno without a number is EPERM, whatever the default's.
    ReadRule(member, EPERM, rule);
    if (Applies(member, environment)) profile.rules.push_back(std::move(rule));
  });
  RETURN_IF_ERROR_CONTEXT(status, "seccomp profile");
  return profile;
}

}  // namespace gantry::seccomp
