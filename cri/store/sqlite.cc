#include "cri/store/sqlite.h"

#include <fcntl.h>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr int kBusyTimeoutMs = 5000;  // the image service writes to the same file

}  // namespace

Status SqliteError(sqlite3* database, absl::string_view what) {
  const int code = sqlite3_errcode(database) & 0xff;
  const std::string message = absl::StrCat("database: ", what, ": ", sqlite3_errmsg(database));
  switch (code) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    default:
      return absl::InternalError(message);
  }
}

StatusOr<SqliteConnection> OpenSqlite(const std::string& path) {
  // SQLite makes files 0644 less the umask; the records are for root alone. -wal and -shm get the
  // mode of the main file.
  RETURN_IF_ERROR(OpenAt(AT_FDCWD, path, O_RDWR | O_CREAT, 0600).status());
  sqlite3* raw = nullptr;
  const int result = sqlite3_open_v2(
      path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE,
      nullptr);
  SqliteConnection database(raw);
  if (raw == nullptr) return absl::InternalError("database: no memory");
  if (result != SQLITE_OK) return SqliteError(raw, absl::StrCat("open ", path));
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  RETURN_IF_ERROR(Execute(raw, "PRAGMA journal_mode=WAL"));
  RETURN_IF_ERROR(Execute(raw, "PRAGMA synchronous=NORMAL"));
  return database;
}

Status Execute(sqlite3* database, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return SqliteError(database, sql);
}

Statement::Statement(sqlite3* database, const char* sql) : database_(database) {
  error_ = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr);
}

Statement& Statement::Text(int position, absl::string_view value) {
  if (error_ == SQLITE_OK) {
    error_ = sqlite3_bind_text64(statement_, position, value.data(), value.size(), SQLITE_STATIC,
                                 SQLITE_UTF8);
  }
  return *this;
}

Statement& Statement::Blob(int position, absl::string_view value) {
  // A null pointer would be NULL, where an empty value is meant.
  const char* data = value.empty() ? "" : value.data();
  if (error_ == SQLITE_OK) {
    error_ = sqlite3_bind_blob64(statement_, position, data, value.size(), SQLITE_STATIC);
  }
  return *this;
}

Statement& Statement::Integer(int position, int64_t value) {
  if (error_ == SQLITE_OK) error_ = sqlite3_bind_int64(statement_, position, value);
  return *this;
}

StatusOr<bool> Statement::Step() {
  if (error_ != SQLITE_OK) return SqliteError(database_, "prepare");
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  const char* sql = sqlite3_sql(statement_);
  return SqliteError(database_, sql == nullptr ? "step" : sql);
}

Status Statement::Run() {
  StatusOr<bool> row = Step();
  while (row.ok() && *row) row = Step();
  return row.status();
}

absl::string_view Statement::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return {static_cast<const char*>(data), data == nullptr ? 0 : static_cast<size_t>(size)};
}

}  // namespace gantry::cri
