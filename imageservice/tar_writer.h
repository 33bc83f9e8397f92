// Plain files into a tar archive (POSIX.1-2017 pax, "ustar Interchange Format"; names over 100
// bytes in extended headers, sizes over 8 GiB in base 256, as GNU tar has them).
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

// Writes to a sink; one thread. The archive says nothing of time, owner or machine: equal files
// make equal archives.
class TarFileWriter {
 public:
  using Sink = absl::FunctionRef<Status(absl::string_view)>;
  explicit TarFileWriter(Sink sink) : sink_(sink) {}

  // kInvalidArgument: the name is empty or has a NUL.
  Status AddFile(const std::string& name, absl::string_view content);
  // A file of `size` bytes, which come by Write; then End, which refuses (kDataLoss) when it was
  // another number.
  Status Begin(const std::string& name, uint64_t size);
  Status Write(absl::string_view bytes);
  Status End();
  // The closing blocks.
  Status Finish();

 private:
  const Sink sink_;
  std::string name_;
  uint64_t size_ = 0, written_ = 0;
};

}  // namespace gantry::images
