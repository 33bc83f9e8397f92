#include "cri/pod_files.h"

#include <sys/utsname.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "cri/spec/container_spec.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr char kLocalHosts[] =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

// A node without the file is no reason to fail a pod.
std::string HostFile(const std::string& path) { return ReadFileAt(AT_FDCWD, path).value_or(""); }

std::string Hosts(const v1::PodSandboxConfig& config, const std::string& hostname,
                  const std::string& ip) {
  if (NamespacesOf(config).network() == v1::NODE) return HostFile("/etc/hosts");
  if (ip.empty()) return kLocalHosts;
  return absl::StrCat(kLocalHosts, ip, "\t", hostname, "\n");
}

}  // namespace

StatusOr<std::string> ResolvConf(const v1::DNSConfig& dns) {
  std::string text;
  for (const auto* list : {&dns.servers(), &dns.searches(), &dns.options()})
    for (const std::string& value : *list)
      if (value.empty() || value.find_first_of("\n\r") != std::string::npos)
        return absl::InvalidArgumentError(
            absl::StrCat("dns_config: \"", value, "\" is no server, search domain or option"));
  if (dns.searches_size() > 0)
    absl::StrAppend(&text, "search ", absl::StrJoin(dns.searches(), " "), "\n");
  for (const std::string& server : dns.servers())
    absl::StrAppend(&text, "nameserver ", server, "\n");
  if (dns.options_size() > 0)
    absl::StrAppend(&text, "options ", absl::StrJoin(dns.options(), " "), "\n");
  return text;
}

Status WritePodFiles(const std::string& directory, const v1::PodSandboxConfig& config,
                     const std::string& hostname, const std::string& ip) {
  std::string resolv_conf = HostFile("/etc/resolv.conf");
  if (config.has_dns_config()) {
    ASSIGN_OR_RETURN(resolv_conf, ResolvConf(config.dns_config()));
  }
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, directory + "/hosts", Hosts(config, hostname, ip), 0644));
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, directory + "/hostname", hostname + "\n", 0644));
  return CreateFileAt(AT_FDCWD, directory + "/resolv.conf", resolv_conf, 0644);
}

std::string HostHostname() {
  utsname names;
  return uname(&names) == 0 ? names.nodename : "localhost";
}

PodNetworkRequest NetworkRequestOf(const v1::PodSandboxConfig& config,
                                   const store::SandboxRecord& record) {
  PodNetworkRequest request;
  request.id = record.id();
  request.name = config.metadata().name();
  request.namespace_name = config.metadata().namespace_();
  request.uid = config.metadata().uid();
  request.netns_path = record.netns_path();
  request.cgroup_path = record.cgroup_parent();
  for (const auto& mapping : config.port_mappings()) {
    if (mapping.host_port() == 0) continue;
    request.port_mappings.push_back({mapping.host_port(), mapping.container_port(),
                                     absl::AsciiStrToLower(v1::Protocol_Name(mapping.protocol())),
                                     mapping.host_ip()});
  }
  const auto& dns = config.dns_config();
  request.dns.servers.assign(dns.servers().begin(), dns.servers().end());
  request.dns.searches.assign(dns.searches().begin(), dns.searches().end());
  request.dns.options.assign(dns.options().begin(), dns.options().end());
  request.annotations.insert(config.annotations().begin(), config.annotations().end());
  return request;
}

}  // namespace gantry::cri
