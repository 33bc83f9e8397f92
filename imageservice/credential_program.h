// Credential helpers: programs docker-credential-NAME that know logins
// (https://github.com/docker/docker-credential-helpers: the server's name on standard input, JSON
// on standard output).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/credentials.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct CredentialHelper {
  std::string name;                      // "ecr-login" for docker-credential-ecr-login
  std::vector<std::string> environment;  // "NAME=value"; its PATH is searched for the program
  std::chrono::milliseconds deadline{20'000};
};

// Runs the helper's "get" for `server` and waits for its end. Nothing when it has no login for that
// server. Its answer is at most 64 KiB; neither it nor anything that it prints is ever part of an
// error. kFailedPrecondition: no such program, or it fails or answers nonsense; kUnavailable: it is
// not done at the deadline (then it is killed). Blocks; any thread.
StatusOr<std::optional<Credentials>> AskCredentialHelper(const CredentialHelper& helper,
                                                         const std::string& server);

}  // namespace gantry::images
