// Kernel settings of a container's or pod's own namespaces.
#pragma once

#include <map>
#include <set>
#include <string>

#include "runtime/base/status.h"
#include "runtime/id_maps.h"

namespace gantry::runtime {

// Checks one setting. `namespaces`: spec types that are not the host's ("ipc", "network", "uts").
// kInvalidArgument when no such namespace isolates it, or when name or value holds what could be
// read as a second one (CVE-2022-0811). Pure.
Status CheckSysctl(const std::string& name, const std::string& value,
                   const std::set<std::string>& namespaces);

// "net/ipv4/ip_forward" for "net.ipv4.ip_forward". As sysctl(8): the first separator tells which of
// "." and "/" separates, and the other stands for itself in a component. Pure.
std::string SysctlPath(const std::string& name);

// Checks all, then sets them for the namespaces of the caller, through a procfs of its own that
// nobody else can reach or cover (CVE-2025-52881). `owner`: root of the user namespace that they
// belong to; the caller is the host's root all the same.
Status ApplySysctls(const std::map<std::string, std::string>& sysctls,
                    const std::set<std::string>& namespaces, const HostOwner& owner = {});

}  // namespace gantry::runtime
