#include "runtime/seccomp/prelude.h"

#include <linux/seccomp.h>
#include <seccomp.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <map>
#include <optional>

#include "runtime/seccomp/syscall_numbers.h"

namespace gantry::seccomp {
namespace {

// x32 calls come under x86-64's architecture, with this bit in the number.
constexpr uint32_t kX32Bit = 0x40000000;
// No architecture of ours has calls between 471 and this.
constexpr uint32_t kTableEnd = 512;

struct Range {
  uint32_t first, last;
};

bool LetsByDefault(const Profile& profile) {
  return profile.default_action == Action::kAllow || profile.default_action == Action::kLog ||
         profile.default_action == Action::kTrace;
}

// The highest number that the profile names.
uint32_t HighestNamed(const Profile& profile, uint32_t architecture) {
  uint32_t highest = 0;
  for (const Rule& rule : profile.rules) {
    for (const std::string& name : rule.names)
      highest = std::max(highest, SyscallNumber(name, architecture).value_or(0));
  }
  return highest;
}

// What gets ENOSYS: gaps in the kernel's table, and all above what the profile names.
std::vector<Range> UnknownRanges(const Profile& profile, uint32_t architecture) {
  std::vector<Range> ranges;
  if (LetsByDefault(profile)) return ranges;
  const uint32_t highest = std::min(HighestNamed(profile, architecture), kTableEnd);
  for (uint32_t number = 0; number < highest; ++number) {
    if (IsKnownNumber(number, architecture)) continue;
    if (!ranges.empty() && ranges.back().last + 1 == number) {
      ranges.back().last = number;
    } else {
      ranges.push_back({number, number});
    }
  }
  ranges.push_back({highest + 1, UINT32_MAX});
  return ranges;
}

// Verdicts for the calls that libseccomp cannot be given. A rule with conditions is left out: the
// default is stricter than an allow-list's rule, and what refuses by argument belongs to calls that
// libseccomp knows.
std::map<uint32_t, uint32_t> NewVerdicts(const Profile& profile, uint32_t architecture) {
  std::map<uint32_t, uint32_t> verdicts;
  for (const Rule& rule : profile.rules) {
    if (!rule.conditions.empty()) continue;
    for (const std::string& name : rule.names) {
      const auto number = NewSyscallNumber(name, architecture);
      if (number.has_value() && !LibseccompKnows(name))
        verdicts.emplace(*number, KernelVerdict(rule.action, rule.error));
    }
  }
  return verdicts;
}

// Collects the instructions of one architecture. The jumps of BPF's conditions reach 255 far; those
// to the end are unconditional ones, whose reach is not limited, and are set by Finish().
class Section {
 public:
  explicit Section(uint32_t architecture) {
    Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
    const uint32_t audit_arch =
        architecture == SCMP_ARCH_X32 ? uint32_t{SCMP_ARCH_X86_64} : architecture;
    ToEndUnless(BPF_JEQ, audit_arch);
    Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  }
  void Add(sock_filter instruction) { code_.push_back(instruction); }
  // Goes to the end when the accumulator compares so with `value`.
  void ToEndIf(uint16_t comparison, uint32_t value) {
    Add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 0, 1));
    JumpToEnd();
  }
  void ToEndUnless(uint16_t comparison, uint32_t value) {
    Add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 1, 0));
    JumpToEnd();
  }
  void ReturnIfEqual(uint32_t number, uint32_t verdict) {
    Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    Add(BPF_STMT(BPF_RET | BPF_K, verdict));
  }
  void ReturnIfIn(const Range& range, uint32_t verdict) {
    Add(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, range.first, 0, 2));
    Add(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, range.last, 1, 0));
    Add(BPF_STMT(BPF_RET | BPF_K, verdict));
  }
  std::vector<sock_filter> Finish() {
    for (const size_t at : to_end_) code_[at].k = static_cast<uint32_t>(code_.size() - at - 1);
    return std::move(code_);
  }

 private:
  void JumpToEnd() {
    to_end_.push_back(code_.size());
    Add(BPF_STMT(BPF_JMP | BPF_JA, 0));
  }
  std::vector<sock_filter> code_;
  std::vector<size_t> to_end_;
};

std::vector<sock_filter> ArchitectureSection(const Profile& profile, uint32_t architecture) {
  const std::map<uint32_t, uint32_t> verdicts = NewVerdicts(profile, architecture);
  const std::vector<Range> unknown = UnknownRanges(profile, architecture);
  if (verdicts.empty() && unknown.empty()) return {};
  Section section(architecture);
  if (architecture == SCMP_ARCH_X86_64) section.ToEndIf(BPF_JGE, kX32Bit);
  // Nearly every call is below all of this: two instructions for it.
  uint32_t lowest = UINT32_MAX;
  if (!verdicts.empty()) lowest = verdicts.begin()->first;
  if (!unknown.empty()) lowest = std::min(lowest, unknown.front().first);
  section.ToEndUnless(BPF_JGE, lowest);
  for (const auto& [number, verdict] : verdicts) section.ReturnIfEqual(number, verdict);
  for (const Range& range : unknown) section.ReturnIfIn(range, SECCOMP_RET_ERRNO | ENOSYS);
  return section.Finish();
}

}  // namespace

uint32_t KernelVerdict(Action action, uint32_t error) {
  switch (action) {
    case Action::kAllow:
      return SECCOMP_RET_ALLOW;
    case Action::kErrno:
      return SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA);
    case Action::kKillProcess:
      return SECCOMP_RET_KILL_PROCESS;
    case Action::kKillThread:
      return SECCOMP_RET_KILL_THREAD;
    case Action::kTrap:
      return SECCOMP_RET_TRAP;
    case Action::kTrace:
      return SECCOMP_RET_TRACE | (error & SECCOMP_RET_DATA);
    case Action::kLog:
      return SECCOMP_RET_LOG;
  }
  return SECCOMP_RET_KILL_PROCESS;
}

std::vector<sock_filter> Prelude(const Profile& profile,
                                 const std::vector<uint32_t>& architectures) {
  std::vector<sock_filter> code;
  for (const uint32_t architecture : architectures) {
    // Under x86-64's section its numbers are left to libseccomp.
    if (architecture == SCMP_ARCH_X32) continue;
    const std::vector<sock_filter> section = ArchitectureSection(profile, architecture);
    code.insert(code.end(), section.begin(), section.end());
  }
  return code;
}

}  // namespace gantry::seccomp
