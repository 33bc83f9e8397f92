// SQLite as this store uses it: a connection, statements that finalise themselves, errors as
// Status.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cri {

struct SqliteCloser {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
using SqliteConnection = std::unique_ptr<sqlite3, SqliteCloser>;

// kResourceExhausted: disk full; kUnavailable: locked for too long by another connection;
// kDataLoss: corrupt or no database; kInternal: all else.
Status SqliteError(sqlite3* database, absl::string_view what);

// Opens or makes the file (mode 0600) in WAL mode with synchronous=NORMAL: a commit survives the
// death of the process at any point; after a power cut the file is consistent, the last commits may
// be missing.
StatusOr<SqliteConnection> OpenSqlite(const std::string& path);

// Runs statements without results.
Status Execute(sqlite3* database, const char* sql);

// A prepared statement. Parameters are bound by position from 1, without a copy: they must outlive
// the step. Errors of binding show in the step.
class Statement {
 public:
  Statement(sqlite3* database, const char* sql);
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Text(int position, absl::string_view value);
  Statement& Blob(int position, absl::string_view value);
  Statement& Integer(int position, int64_t value);

  // True: there is a row.
  StatusOr<bool> Step();
  // Steps to the end.
  Status Run();

  // Of the current row, from 0; valid until the next step.
  [[nodiscard]] absl::string_view Bytes(int column) const;
  [[nodiscard]] int64_t Number(int column) const {
    return sqlite3_column_int64(statement_, column);
  }
  [[nodiscard]] sqlite3_stmt* get() const { return statement_; }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
  int error_ = SQLITE_OK;
};

}  // namespace gantry::cri
