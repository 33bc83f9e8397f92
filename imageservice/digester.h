// sha256 and sha512 of bytes that come in pieces (OpenSSL EVP, which uses the processor's own
// instructions).
#pragma once

#include <memory>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

class Digester {
 public:
  // `algorithm`: "sha256" or "sha512", or a whole digest of the kind wanted. kInvalidArgument for
  // others.
  static StatusOr<Digester> Make(absl::string_view algorithm);
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;
  ~Digester();

  void Update(std::span<const char> bytes);
  // "sha256:<hex>". Call once, at the end.
  std::string Finish();

 private:
  struct State;
  explicit Digester(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

StatusOr<std::string> DigestOf(absl::string_view bytes, absl::string_view algorithm = "sha256");

}  // namespace gantry::images
