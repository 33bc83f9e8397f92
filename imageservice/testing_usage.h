// For tests: what this process has used.
#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <fstream>
#include <string>

namespace gantry::images {

// Of all processors, user and system.
inline double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The most memory that was resident at once; 0 when the kernel does not say.
inline size_t PeakKilobytes() {
  std::ifstream in("/proc/self/status");
  std::string word;
  while (in >> word) {
    size_t value = 0;
    if (word == "VmHWM:" && in >> value) return value;
  }
  return 0;
}

}  // namespace gantry::images
