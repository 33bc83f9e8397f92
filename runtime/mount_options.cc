#include "runtime/mount_options.h"

#include <sys/mount.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gantry::runtime {
namespace {

// Newer than glibc 2.36's headers on some hosts.
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

struct AttributeOption {
  absl::string_view name;
  uint64_t set;
  uint64_t clear;
};

// The modes of access time are one field of several bits: it has to be cleared whole before a value
// is set.
constexpr AttributeOption kAttributes[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

constexpr std::pair<absl::string_view, unsigned long> kPropagations[] = {
    {"private", MS_PRIVATE},
    {"slave", MS_SLAVE},
    {"shared", MS_SHARED},
    {"unbindable", MS_UNBINDABLE},
};

// Options that only say what is so anyway.
constexpr absl::string_view kNoOps[] = {"defaults", "loud", "silent"};

constexpr absl::string_view kRefused[] = {"remount", "tmpcopyup"};

template <size_t N>
bool IsOneOf(absl::string_view option, const absl::string_view (&list)[N]) {
  for (const absl::string_view known : list) {
    if (known == option) return true;
  }
  return false;
}

const AttributeOption* FindAttribute(absl::string_view name) {
  for (const AttributeOption& option : kAttributes) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::optional<unsigned long> FindPropagation(absl::string_view name) {
  for (const auto& [known, flag] : kPropagations) {
    if (known == name) return flag;
  }
  return std::nullopt;
}

void Merge(const AttributeOption& option, MountAttributes& attributes) {
  attributes.set &= ~option.clear;
  attributes.clear &= ~option.set;
  attributes.set |= option.set;
  attributes.clear |= option.clear;
}

// Options without a value that change the mount itself. False: it is none of them.
bool ApplyFlag(absl::string_view option, MountPlan& plan) {
  if (const AttributeOption* attribute = FindAttribute(option)) {
    Merge(*attribute, plan.top);
    return true;
  }
  if (auto propagation = FindPropagation(option)) {
    plan.propagation = *propagation;
    plan.propagation_recursive = false;
    return true;
  }
  if (option.empty() || option.front() != 'r') return false;
  const absl::string_view rest = option.substr(1);
  if (const AttributeOption* attribute = FindAttribute(rest)) {
    Merge(*attribute, plan.all);
    return true;
  }
  if (auto propagation = FindPropagation(rest)) {
    plan.propagation = *propagation;
    plan.propagation_recursive = true;
    return true;
  }
  return false;
}

MountOption SplitData(const std::string& option) {
  const size_t equals = option.find('=');
  if (equals == std::string::npos) return {option, ""};
  return {option.substr(0, equals), option.substr(equals + 1)};
}

}  // namespace

StatusOr<MountPlan> PlanMount(const spec::Mount& mount) {
  MountPlan plan;
  plan.bind = mount.type == "bind";
  for (const std::string& option : mount.options) {
    if (option == "bind" || option == "rbind") {
      plan.bind = true;
      plan.recursive = option == "rbind";
    } else if (option == spec::kMakeSource) {
      plan.make_source = true;
    } else if (option == "idmap" || option == "ridmap") {
      plan.id_mapped = true;
      plan.id_mapped_all = option == "ridmap";
    } else if (IsOneOf(option, kRefused)) {
      return absl::InvalidArgumentError(
          absl::StrCat("mount option \"", option, "\" is not supported"));
    } else if (!ApplyFlag(option, plan) && !IsOneOf(option, kNoOps)) {
      plan.data.push_back(SplitData(option));
    }
  }
  plan.id_mapped |= !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
  if (!plan.id_mapped) return plan;
  if (!plan.bind) return absl::InvalidArgumentError("only a bind mount can be idmapped");
  if (mount.uid_mappings.empty() || mount.gid_mappings.empty()) {
    return absl::InvalidArgumentError("an idmapped mount needs mappings of uids and of gids");
  }
  return plan;
}

StatusOr<unsigned long> PropagationFlags(const std::string& name) {
  if (auto flag = FindPropagation(name)) return *flag;
  if (name.starts_with('r')) {
    if (auto flag = FindPropagation(absl::string_view(name).substr(1))) return *flag | MS_REC;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown mount propagation \"", name, "\""));
}

}  // namespace gantry::runtime
