// For tests: a private certificate authority, and what it signs. Elliptic keys: made in no time.
#pragma once

#include <memory>
#include <string>

namespace gantry::images {

// PEM texts.
struct TestCertificate {
  std::string certificate, key;
};

class TestAuthority {
 public:
  TestAuthority();
  ~TestAuthority();

  // The authority's own certificate, PEM.
  const std::string& certificate() const { return own_.certificate; }
  // For a server or client; `names` as openssl writes them: "IP:127.0.0.1,DNS:reg.example".
  TestCertificate Sign(const std::string& names) const;

 private:
  struct State;
  TestCertificate own_;
  std::unique_ptr<State> state_;
};

// `pair` with its key under a password.
std::string EncryptedKey(const TestCertificate& pair);

}  // namespace gantry::images
