// A database file that SQLite finds corrupt: moved away, with what can still be read of it kept.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/status.h"

namespace gantry::cri {

struct Salvaged {
  std::string corrupt_path;  // where the old file is now, "PATH.corrupt-YYYYMMDDTHHMMSSZ"
  uint64_t rows = 0;         // copied into the new file
};

// Renames the file (and its -wal and -shm) and makes a new one at `path` with all tables and rows
// that the old one still gives, of whoever they are. Rows may be wrong in their contents: records
// carry a checksum. Nobody may have the file open. An error only when the new file cannot be made.
StatusOr<Salvaged> SalvageDatabase(const std::string& path);

}  // namespace gantry::cri
