// The files that a pod's containers share (/etc/hosts, hostname, resolv.conf), and what CNI is told
// of a pod.
#pragma once

#include <string>

#include "cri/api.h"
#include "cri/network/cni.h"
#include "cri/store/record.pb.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// Writes hosts, hostname and resolv.conf into `directory`. Without a DNS configuration, and for
// host-network pods' hosts, the node's own files are copied.
Status WritePodFiles(const std::string& directory, const v1::PodSandboxConfig& config,
                     const std::string& hostname, const std::string& ip);

// The text of resolv.conf for a DNS configuration: pure. kInvalidArgument: a value with a line
// break.
StatusOr<std::string> ResolvConf(const v1::DNSConfig& dns);

// The node's own name, without going through the resolver.
std::string HostHostname();

PodNetworkRequest NetworkRequestOf(const v1::PodSandboxConfig& config,
                                   const store::SandboxRecord& record);

}  // namespace gantry::cri
