// Who a pull is made for.
#pragma once

#include <string>

namespace gantry::images {

// As CRI AuthConfig; at most one way is used, in the order registry_token, identity_token,
// username/password, auth.
struct Credentials {
  std::string username{}, password{};
  std::string auth{};            // base64 of username:password
  std::string server_address{};  // when set: used only for this host
  std::string identity_token{}, registry_token{};
};

}  // namespace gantry::images
