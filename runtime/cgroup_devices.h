// Which device nodes a container may make and open: rules to v1 writes, or to a BPF program on v2.
//
// Nothing is allowed but what a rule allows; the last rule that fits decides.
// BPF_PROG_TYPE_CGROUP_DEVICE: Linux 4.15.
#pragma once

#include <linux/bpf.h>

#include <string>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/cgroup.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// What every container may use, whatever its rules say: making any node, and opening null, zero,
// full, tty, random, urandom, console, ptmx, pts and tun.
std::vector<spec::DeviceRule> DefaultDeviceRules();

// File ("devices.allow", "devices.deny") and value, starting from "nothing".
std::vector<std::pair<std::string, std::string>> DeviceWritesV1(
    const std::vector<spec::DeviceRule>& rules);

// The program that decides by the rules.
std::vector<bpf_insn> DeviceProgram(const std::vector<spec::DeviceRule>& rules);

// Puts `rules`, followed by the defaults, in force: on v1 by writes, on v2 by a program that takes
// the place of the one that is there. Works in the v2 tree of hybrid hosts as well.
Status SetDeviceRules(const CgroupPaths& paths, std::vector<spec::DeviceRule> rules);

}  // namespace gantry::runtime
