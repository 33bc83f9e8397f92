// The texts of cgroup files as numbers. Pure functions; any thread.
//
// What a text does not hold stays unset: kernels differ in what they tell, and a value that is not
// known must not look like zero. Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/*,
// accounting/psi.rst.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gantry::cri {

// What "max" on v2, and on v1 the largest number of whole pages, stand for.
inline constexpr uint64_t kNoLimit = UINT64_MAX;

// A file of one number, or "max".
std::optional<uint64_t> ParseCount(absl::string_view text);

// A file of lines "key number".
struct KeyedCount {
  absl::string_view key;
  std::optional<uint64_t>* count;
};
// Sets the counts whose keys are there, in one pass.
void ParseKeyedCounts(absl::string_view text, std::initializer_list<KeyedCount> counts);

// One line of a pressure file; averages in percent.
struct PressureLine {
  double avg10 = 0, avg60 = 0, avg300 = 0;
  uint64_t total_us = 0;
};
struct Pressure {
  PressureLine some, full;  // "full" of CPUs came with Linux 5.13: zero before
};
std::optional<Pressure> ParsePressure(absl::string_view text);

// Block I/O of one device.
struct DeviceIo {
  uint32_t major = 0, minor = 0;
  uint64_t read_bytes = 0, write_bytes = 0, reads = 0, writes = 0;
};
// io.stat of v2: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …".
std::vector<DeviceIo> ParseIoStat(absl::string_view text);
// blkio.throttle.io_service_bytes_recursive and io_serviced_recursive of v1: "8:0 Read 1".
std::vector<DeviceIo> ParseBlkio(absl::string_view bytes, absl::string_view operations);

// /proc/net/dev: interfaces but for the loopback, in the kernel's order.
struct InterfaceCounters {
  std::string name;
  uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
  uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;
};
std::vector<InterfaceCounters> ParseNetDev(absl::string_view text);

}  // namespace gantry::cri
