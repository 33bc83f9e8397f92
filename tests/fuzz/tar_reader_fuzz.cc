// Hostile archives: bounded, and the same whether they arrive whole or in pieces.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "imageservice/layer_reader.h"

namespace {

using gantry::Status;
using gantry::images::TarEntry;

class Counter : public gantry::images::TarConsumer {
 public:
  Status OnEntry(const TarEntry& entry) override {
    size_ = entry.size;
    ++entries;
    return absl::OkStatus();
  }
  Status OnData(uint64_t offset, absl::string_view bytes) override {
    if (offset > size_ || bytes.size() > size_ - offset) __builtin_trap();
    data += bytes.size();
    return absl::OkStatus();
  }
  Status OnEntryEnd() override { return absl::OkStatus(); }

  uint64_t entries = 0;
  uint64_t data = 0;

 private:
  uint64_t size_ = 0;
};

Counter Read(absl::string_view bytes, size_t piece) {
  Counter counter;
  gantry::images::TarReader reader(&counter, {});
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (!reader.Feed(bytes.substr(at, piece)).ok()) return counter;
  }
  (void)reader.Finish();
  return counter;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Counter whole = Read(bytes, size == 0 ? 1 : size);
  const Counter pieces = Read(bytes, 509);
  if (whole.entries != pieces.entries || whole.data != pieces.data) __builtin_trap();
  return 0;
}
