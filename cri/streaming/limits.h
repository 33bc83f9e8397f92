// What all protocols of a session keep to.
#pragma once

#include <chrono>
#include <cstddef>

namespace gantry::cri::streaming {

// Bytes that are read at once from a process or a pod's port.
inline constexpr size_t kChunk = 32768;
// Unsent bytes of a connection from which on nothing more is read for it.
inline constexpr size_t kHighWater = 256 << 10;
// For a client to take what was sent last, before the connection is closed under it.
inline constexpr std::chrono::seconds kLinger{10};

}  // namespace gantry::cri::streaming
