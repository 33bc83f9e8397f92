// Profiles that a pod names (Localhost): read, then compiled where they are small.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "runtime/seccomp/compile.h"
#include "runtime/seccomp/profile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gantry::seccomp::Environment environment;
  environment.kernel_major = 6;
  environment.kernel_minor = 1;
  const auto profile = gantry::seccomp::ParseProfile(
      absl::string_view(reinterpret_cast<const char*>(data), size), environment);
  if (profile.ok() && profile->rules.size() < 16) (void)gantry::seccomp::Compile(*profile);
  return 0;
}
