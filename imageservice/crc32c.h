// crc32c (Castagnoli): RFC 3720 appendix B.4, by ISA-L.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace gantry::images {

// The checksum as everybody prints it: of "123456789" it is e3069283. `before` is that of the bytes
// before these.
uint32_t Crc32c(absl::string_view bytes, uint32_t before = 0);

// Without inversions: what is left in the register after `bytes`. Linear: the register of a xor b,
// of one length, is RawCrc32c(a, r) xor RawCrc32c(b, 0).
uint32_t RawCrc32c(absl::string_view bytes, uint32_t reg);

// Crc32c with `count` zero bytes after the rest.
uint32_t Crc32cZeros(uint64_t count, uint32_t before);

}  // namespace gantry::images
