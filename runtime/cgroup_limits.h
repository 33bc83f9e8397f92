// linux.resources of the OCI specification as writes to cgroup files, on v1 and v2, and carrying
// them out.
//
// The plan is a pure function: conversions between the versions (shares → weight, memory + swap →
// swap) are decided there. Controllers may be on v1 and v2 at once (hybrid hosts): each is planned
// by where it is.
//
// Documentation/admin-guide/cgroup-v1, cgroup-v2.rst; OCI runtime specification 1.2,
// config-linux.md. Any thread, one caller per group at a time.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/cgroup.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct CgroupWrite {
  enum class IfMissing { kFail, kSkip };
  std::string controller;  // whose directory: CgroupPaths::DirOf
  std::string file;        // "memory.max"
  std::string value;
  IfMissing if_missing = IfMissing::kFail;
};

// The writes, in the order in which a new group takes them, without devices (cgroup_devices.h).
// Unset members make none. `v1_controllers`: those that are on v1; all others are on v2.
// kInvalidArgument: a value that ValidateResources refuses, that the version cannot express, or a
// v2 file of a controller that is on v1.
StatusOr<std::vector<CgroupWrite>> PlanCgroupLimits(const spec::Resources& resources,
                                                    const std::set<std::string>& v1_controllers);

// Limits a new group, before anybody is in it: the plan, then the device rules (nothing but the
// default devices is allowed where there are none). On failure, which names the file and the value,
// the caller removes the group.
Status ApplyCgroupLimits(const CgroupPaths& paths, const spec::Resources& resources);

// Changes the limits of a group in use: all or none. On failure the values that were there are
// written back. Device rules are replaced when `resources` has any, last.
Status UpdateCgroupLimits(const CgroupPaths& paths, const spec::Resources& resources);

// cpu.weight (1 to 10000) for cpu.shares (2 to 262144): the quadratic of 2025, which keeps 1024 →
// 100.
uint64_t CpuWeightFromShares(uint64_t shares);

}  // namespace gantry::runtime
