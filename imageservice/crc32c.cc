#include "imageservice/crc32c.h"

#include <algorithm>
#include <array>

#include <isa-l/crc.h>

namespace gantry::images {

uint32_t RawCrc32c(absl::string_view bytes, uint32_t reg) {
  constexpr size_t kPiece = 1u << 30;  // ISA-L takes an int
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), kPiece);
    // It reads only; its prototype lacks the const.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));
    reg = crc32_iscsi(data, static_cast<int>(n), reg);
    bytes.remove_prefix(n);
  }
  return reg;
}

uint32_t Crc32c(absl::string_view bytes, uint32_t before) { return ~RawCrc32c(bytes, ~before); }

uint32_t Crc32cZeros(uint64_t count, uint32_t before) {
  static constexpr std::array<char, 65536> kZeros = {};
  while (count > 0) {
    const auto n = static_cast<size_t>(std::min<uint64_t>(count, kZeros.size()));
    before = Crc32c({kZeros.data(), n}, before);
    count -= n;
  }
  return before;
}

}  // namespace gantry::images
