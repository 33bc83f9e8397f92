#include "runtime/seccomp/compile.h"

#include <linux/filter.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

#include "runtime/linux/file.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/seccomp/prelude.h"
#include "runtime/seccomp/syscall_numbers.h"

namespace gantry::seccomp {
namespace {

constexpr uint32_t kBinaryTree = 2;  // SCMP_FLTATR_CTL_OPTIMIZE

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

// libseccomp returns negative errno values.
Status LibraryError(absl::string_view call, absl::string_view object, int result) {
  return SyscallError(call, object, -result);
}

uint32_t LibraryAction(Action action, uint32_t error) {
  switch (action) {
    case Action::kAllow:
      return SCMP_ACT_ALLOW;
    case Action::kErrno:
      return SCMP_ACT_ERRNO(error);
    case Action::kKillProcess:
      return SCMP_ACT_KILL_PROCESS;
    case Action::kKillThread:
      return SCMP_ACT_KILL_THREAD;
    case Action::kTrap:
      return SCMP_ACT_TRAP;
    case Action::kTrace:
      return SCMP_ACT_TRACE(error);
    case Action::kLog:
      return SCMP_ACT_LOG;
  }
  return SCMP_ACT_KILL_PROCESS;
}

scmp_compare LibraryComparison(Comparison comparison) {
  switch (comparison) {
    case Comparison::kNotEqual:
      return SCMP_CMP_NE;
    case Comparison::kLess:
      return SCMP_CMP_LT;
    case Comparison::kLessOrEqual:
      return SCMP_CMP_LE;
    case Comparison::kEqual:
      return SCMP_CMP_EQ;
    case Comparison::kGreaterOrEqual:
      return SCMP_CMP_GE;
    case Comparison::kGreater:
      return SCMP_CMP_GT;
    case Comparison::kMaskedEqual:
      return SCMP_CMP_MASKED_EQ;
  }
  return SCMP_CMP_EQ;
}

// The machine's own first: the program then asks for it first.
StatusOr<std::vector<uint32_t>> Architectures(const Profile& profile) {
  std::vector<uint32_t> architectures = {seccomp_arch_native()};
  for (const std::string& name : profile.architectures) {
    const std::string short_name = absl::AsciiStrToLower(absl::StripPrefix(name, "SCMP_ARCH_"));
    const uint32_t value = seccomp_arch_resolve_name(short_name.c_str());
    if (value == 0)
      return absl::InvalidArgumentError(
          absl::StrCat("seccomp architecture \"", name, "\" is not known"));
    if (std::find(architectures.begin(), architectures.end(), value) == architectures.end())
      architectures.push_back(value);
  }
  return architectures;
}

std::vector<scmp_arg_cmp> LibraryConditions(const std::vector<Condition>& conditions) {
  std::vector<scmp_arg_cmp> result;
  for (const Condition& condition : conditions) {
    result.push_back({.arg = condition.argument,
                      .op = LibraryComparison(condition.comparison),
                      .datum_a = condition.value,
                      .datum_b = condition.value_two});
  }
  return result;
}

bool SameArgumentTwice(const std::vector<Condition>& conditions) {
  std::array<int, 6> seen = {};
  return std::any_of(conditions.begin(), conditions.end(), [&seen](const Condition& condition) {
    return ++seen.at(condition.argument) > 1;
  });
}

Status AddRule(const Context& context, int number, const Rule& rule, const std::string& name) {
  const uint32_t action = LibraryAction(rule.action, rule.error);
  const auto add = [&](const std::vector<Condition>& conditions) -> Status {
    const std::vector<scmp_arg_cmp> compare = LibraryConditions(conditions);
    const int result = seccomp_rule_add_array(
        context.get(), action, number, static_cast<unsigned>(compare.size()), compare.data());
    // EEXIST: said before. EDOM: the architecture lacks the call.
    if (result == 0 || result == -EEXIST || result == -EDOM) return absl::OkStatus();
    return LibraryError("add seccomp rule for", name, result);
  };
  if (!SameArgumentTwice(rule.conditions)) return add(rule.conditions);
  for (const Condition& condition : rule.conditions) RETURN_IF_ERROR(add({condition}));
  return absl::OkStatus();
}

Status AddRules(const Context& context, const Profile& profile) {
  const uint32_t fallback = LibraryAction(profile.default_action, profile.default_error);
  for (const Rule& rule : profile.rules) {
    // libseccomp refuses rules that say what the default says.
    if (LibraryAction(rule.action, rule.error) == fallback) continue;
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      if (number != __NR_SCMP_ERROR) RETURN_IF_ERROR(AddRule(context, number, rule, name));
    }
  }
  return absl::OkStatus();
}

StatusOr<std::string> Export(const Context& context) {
  const UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return SyscallError("memfd_create", "seccomp");
  const int result = seccomp_export_bpf(context.get(), file.get());
  if (result != 0) return LibraryError("export seccomp filter", "", result);
  if (lseek(file.get(), 0, SEEK_SET) != 0) return SyscallError("lseek", "seccomp filter");
  return ReadAll(file.get(), "seccomp filter");
}

StatusOr<std::string> CompileRules(const Profile& profile,
                                   const std::vector<uint32_t>& architectures) {
  const Context context(seccomp_init(LibraryAction(profile.default_action, profile.default_error)),
                        seccomp_release);
  if (context == nullptr)
    return absl::InvalidArgumentError("seccomp: the default action is not acceptable");
  for (const uint32_t architecture : architectures) {
    const int result = seccomp_arch_add(context.get(), architecture);
    if (result != 0 && result != -EEXIST)
      return LibraryError("add seccomp architecture", absl::StrCat(architecture), result);
  }
  const int result = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, kBinaryTree);
  if (result != 0) return LibraryError("optimise seccomp filter", "", result);
  RETURN_IF_ERROR(AddRules(context, profile));
  return Export(context);
}

std::string CacheKey(absl::string_view kind, const std::set<std::string>& capabilities,
                     absl::string_view content) {
  return absl::StrCat(kind, "\n", absl::StrJoin(capabilities, ","), "\n", content);
}

}  // namespace

StatusOr<std::string> Compile(const Profile& profile) {
  ASSIGN_OR_RETURN(const std::vector<uint32_t> architectures, Architectures(profile));
  ASSIGN_OR_RETURN(const std::string rules, CompileRules(profile, architectures));
  const std::vector<sock_filter> prelude = Prelude(profile, architectures);
  std::string program(prelude.size() * sizeof(sock_filter), '\0');
  if (!prelude.empty()) memcpy(program.data(), prelude.data(), program.size());
  program += rules;
  const size_t instructions = program.size() / sizeof(sock_filter);
  if (instructions > BPF_MAXINSNS) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the seccomp filter has ", instructions, " instructions; the kernel takes ", BPF_MAXINSNS));
  }
  return program;
}

StatusOr<FilterCache::Filter> FilterCache::Default(const std::set<std::string>& capabilities) {
  const std::string key = CacheKey("default", capabilities, "");
  if (Filter known = Find(key)) return known;
  return Add(key, DefaultProfile(Environment::Current(capabilities)));
}

StatusOr<FilterCache::Filter> FilterCache::FromJson(absl::string_view json,
                                                    const std::set<std::string>& capabilities) {
  const std::string key = CacheKey("json", capabilities, json);
  if (Filter known = Find(key)) return known;
  ASSIGN_OR_RETURN(const Profile profile, ParseProfile(json, Environment::Current(capabilities)));
  return Add(key, profile);
}

FilterCache::Filter FilterCache::Find(const std::string& key) {
  const absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  found->second.last_use = ++clock_;
  return found->second.filter;
}

// Compiles without the lock: two callers may both do it, and the first result stays.
StatusOr<FilterCache::Filter> FilterCache::Add(const std::string& key, const Profile& profile) {
  ASSIGN_OR_RETURN(std::string program, Compile(profile));
  Filter filter = std::make_shared<const std::string>(std::move(program));
  const absl::MutexLock lock(&mutex_);
  const auto [entry, added] = entries_.try_emplace(key, Entry{.filter = filter});
  entry->second.last_use = ++clock_;
  filter = entry->second.filter;
  if (entries_.size() > capacity_) {
    entries_.erase(std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; }));
  }
  return filter;
}

}  // namespace gantry::seccomp
