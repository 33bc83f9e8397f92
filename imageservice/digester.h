// sha256 and sha512 of bytes that come in pieces (OpenSSL, which uses the processor's own
// instructions), and their state half way, so that a hash can go on in another process.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

// The state of a hash after a whole number of its blocks (FIPS 180-4 section 6): its chaining
// words.
struct DigestMidstate {
  uint64_t bytes = 0;
  std::array<uint64_t, 8> words{};
};
inline constexpr uint64_t kDigestBlock = 128;  // bytes; sha512's, and a multiple of sha256's

class Digester {
 public:
  // `algorithm`: "sha256" or "sha512", or a whole digest of the kind wanted. kInvalidArgument for
  // others.
  static StatusOr<Digester> Make(absl::string_view algorithm);
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;
  ~Digester();

  // Goes on where Midstate was taken. kInvalidArgument: `algorithm`, or a state in mid-block.
  static StatusOr<Digester> Resume(absl::string_view algorithm, const DigestMidstate& midstate);

  // Nothing unless the bytes so far are a multiple of kDigestBlock.
  std::optional<DigestMidstate> Midstate() const;
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
