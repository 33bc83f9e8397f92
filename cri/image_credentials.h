// Credentials of a pull request. Never to be printed or logged.
#pragma once

#include "imageservice/credentials.h"

namespace gantry::cri {

// From CRI's AuthConfig or our own Credentials: their fields are the same.
template <typename Message>
images::Credentials CredentialsOf(const Message& message) {
  images::Credentials credentials;
  credentials.username = message.username();
  credentials.password = message.password();
  credentials.auth = message.auth();
  credentials.server_address = message.server_address();
  credentials.identity_token = message.identity_token();
  credentials.registry_token = message.registry_token();
  return credentials;
}

}  // namespace gantry::cri
