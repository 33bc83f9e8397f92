// What a puller reads of this node before it gives up its privileges: hosts and mirrors,
// certificates, logins.
#pragma once

#include <memory>

#include "imageservice/http_client.h"
#include "imageservice/puller_protocol.h"
#include "imageservice/reference.h"
#include "imageservice/registry_auth.h"
#include "imageservice/registry_client.h"
#include "imageservice/registry_hosts.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct RegistrySetup {
  Reference reference;
  RegistryHosts hosts;
  std::unique_ptr<RegistryAuth> auth;
  HttpTimeouts timeouts;
  std::vector<HostReport> reports;  // what earlier pulls learnt of hosts
  ProxySettings proxies;
};

// Fills `setup` in the order of its members, so that after an error one can tell how far it came.
// Stored logins are looked for, for each endpoint by its own name, when the task brings none; the
// proxies are in use from now on (UseProxies). May run credential helpers. Errors as
// ParseReference, FindHosts and FindCredentials.
Status PrepareRegistry(const PullTask& task, RegistrySetup& setup);

// Takes what PrepareRegistry filled.
RegistryClient MakeRegistryClient(RegistrySetup setup);

}  // namespace gantry::images
