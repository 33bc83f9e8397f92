#include "runtime/seccomp/syscall_numbers.h"

#include <seccomp.h>

#include <cstdlib>

namespace gantry::seccomp {
namespace {

struct NewSyscall {
  absl::string_view name;
  uint32_t number;
  bool x86_64_only = false;
};

// Linux 6.5 to 7.0.
constexpr NewSyscall kNewSyscalls[] = {
    {"uretprobe", 335, true},   {"uprobe", 336, true},
    {"cachestat", 451},         {"fchmodat2", 452},
    {"map_shadow_stack", 453},  {"futex_wake", 454},
    {"futex_wait", 455},        {"futex_requeue", 456},
    {"statmount", 457},         {"listmount", 458},
    {"lsm_get_self_attr", 459}, {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},  {"mseal", 462},
    {"setxattrat", 463},        {"getxattrat", 464},
    {"listxattrat", 465},       {"removexattrat", 466},
    {"open_tree_attr", 467},    {"file_getattr", 468},
    {"file_setattr", 469},      {"listns", 470},
    {"rseq_slice_yield", 471},
};

bool IsOn(const NewSyscall& call, uint32_t architecture) {
  return !call.x86_64_only || architecture == SCMP_ARCH_X86_64;
}

}  // namespace

std::optional<uint32_t> NewSyscallNumber(absl::string_view name, uint32_t architecture) {
  for (const NewSyscall& call : kNewSyscalls) {
    if (call.name == name && IsOn(call, architecture)) return call.number;
  }
  return std::nullopt;
}

std::optional<uint32_t> SyscallNumber(const std::string& name, uint32_t architecture) {
  // Negative: a placeholder for a call that other architectures have.
  const int number = seccomp_syscall_resolve_name_arch(architecture, name.c_str());
  if (number >= 0) return static_cast<uint32_t>(number);
  return NewSyscallNumber(name, architecture);
}

bool IsKnownNumber(uint32_t number, uint32_t architecture) {
  char* name = seccomp_syscall_resolve_num_arch(architecture, static_cast<int>(number));
  if (name != nullptr) {
    free(name);
    return true;
  }
  for (const NewSyscall& call : kNewSyscalls) {
    if (call.number == number && IsOn(call, architecture)) return true;
  }
  return false;
}

bool LibseccompKnows(const std::string& name) {
  return seccomp_syscall_resolve_name(name.c_str()) != __NR_SCMP_ERROR;
}

}  // namespace gantry::seccomp
