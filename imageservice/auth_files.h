// Credentials that this node keeps for registries: docker's config.json and containers' auth.json
// (docker/cli config/configfile; containers-auth.json(5)), and the helpers that they name.
#pragma once

#include <string>
#include <vector>

#include "imageservice/credentials.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct AuthFiles {
  std::string paths;  // one or more, separated by colons; those that are not there count as empty
  std::vector<std::string> helper_environment;  // of credential helpers
};

struct StoredCredentials {
  Credentials credentials{};
  std::string source{};  // for people: the file and the entry; empty: nobody knows a login
};

// The login for `repository` at `host` ("docker.io", "reg.example:5000"). The first file that has
// one decides. In a file, in this order: the most specific `auths` entry with a path
// (host/team/app, host/team), the host's credHelpers, credsStore, the `auths` entry of the host.
// Reads files and runs helpers: not for a confined process. kFailedPrecondition, naming the file:
// it cannot be read or is malformed, or a helper fails; kUnavailable: a helper does not answer.
// Texts hold nothing of what a file or helper said.
StatusOr<StoredCredentials> FindCredentials(const AuthFiles& files, const std::string& host,
                                            const std::string& repository);

}  // namespace gantry::images
