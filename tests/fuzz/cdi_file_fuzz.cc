// CDI files, as YAML and as JSON: taken or refused; what is taken keeps what the specification
// promises of it.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/cdi/names.h"
#include "runtime/cdi/parse.h"

namespace {

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"a.yaml", "a.json"}) {
    const auto file = gantry::cdi::ParseSpecFile(text, name);
    if (!file.ok()) {
      Require(!file.status().message().empty());
      continue;
    }
    Require(gantry::cdi::CheckKind(file->kind).ok() && !file->devices.empty());
    std::set<std::string> names;
    for (const auto& device : file->devices) {
      Require(gantry::cdi::CheckDeviceName(device.name).ok() && !device.edits.empty());
      Require(names.insert(device.name).second);
      for (const auto& mount : device.edits.mounts) Require(mount.destination[0] == '/');
    }
  }
  return 0;
}
