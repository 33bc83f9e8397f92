#include "imageservice/registry_setup.h"

#include <utility>

#include "imageservice/auth_files.h"

namespace gantry::images {
namespace {

// An endpoint is known by its own name; the registry itself by that of the reference too, also when
// hosts.toml puts another server in its place.
StatusOr<StoredCredentials> StoredFor(const AuthFiles& files, const Reference& reference,
                                      const RegistryEndpoint& endpoint) {
  const std::string host = endpoint.base.HostPort();
  ASSIGN_OR_RETURN(StoredCredentials stored, FindCredentials(files, host, reference.repository));
  const bool own_name = host == reference.registry || host == "registry-1.docker.io";
  if (!stored.source.empty() || !endpoint.upstream || own_name) return stored;
  return FindCredentials(files, reference.registry, reference.repository);
}

}  // namespace

Status PrepareRegistry(const PullTask& task, RegistrySetup& setup) {
  ASSIGN_OR_RETURN(setup.reference, ParseReference(task.reference));
  const Reference& reference = setup.reference;
  ASSIGN_OR_RETURN(setup.hosts, FindHosts(reference.registry, task.registry_config_path));
  ASSIGN_OR_RETURN(setup.auth,
                   RegistryAuth::Make(task.credentials, reference.registry, reference.repository));
  ASSIGN_OR_RETURN(const Login given, ReadCredentials(task.credentials));
  const AuthFiles files{task.auth_files, task.environment};
  for (const RegistryEndpoint& endpoint : setup.hosts.endpoints) {
    if (!given.empty()) break;
    ASSIGN_OR_RETURN(StoredCredentials stored, StoredFor(files, reference, endpoint));
    if (!stored.source.empty())
      RETURN_IF_ERROR(setup.auth->UseStored(endpoint, stored.credentials, stored.source));
  }
  if (task.stall_timeout_ms > 0)
    setup.timeouts.stall = std::chrono::milliseconds(task.stall_timeout_ms);
  setup.reports = task.hosts;
  setup.proxies = ReadProxySettings(task.environment);
  UseProxies(setup.proxies);
  return absl::OkStatus();
}

RegistryClient MakeRegistryClient(RegistrySetup setup) {
  return {std::move(setup.hosts.endpoints), std::move(setup.reference), std::move(setup.auth),
          setup.timeouts, setup.reports};
}

}  // namespace gantry::images
