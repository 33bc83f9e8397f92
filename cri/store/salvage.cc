#include "cri/store/salvage.h"

#include <cerrno>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "cri/store/sqlite.h"

namespace gantry::cri {
namespace {

struct Table {
  std::string name;
  std::string sql;
};

Status Move(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return SyscallError("rename", from);
}

std::vector<Table> TablesOf(sqlite3* database) {
  std::vector<Table> tables;
  Statement list(database,
                 "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL "
                 "AND name NOT LIKE 'sqlite%'");
  StatusOr<bool> row = list.Step();
  while (row.ok() && *row) {
    tables.push_back({std::string(list.Bytes(0)), std::string(list.Bytes(1))});
    row = list.Step();
  }
  return tables;
}

// Copies rows in one direction. False: the file gave no more before the end.
bool CopyRows(sqlite3* from, sqlite3* to, const std::string& table, const char* order,
              uint64_t& copied) {
  const std::string name = absl::StrCat("\"", absl::StrReplaceAll(table, {{"\"", "\"\""}}), "\"");
  Statement read(from, absl::StrCat("SELECT * FROM ", name, " ORDER BY rowid ", order).c_str());
  const int columns = read.get() == nullptr ? 0 : sqlite3_column_count(read.get());
  if (columns == 0) return false;
  std::string marks = "?";
  for (int i = 1; i < columns; ++i) marks += ",?";
  const std::string insert = absl::StrCat("INSERT OR IGNORE INTO ", name, " VALUES(", marks, ")");
  StatusOr<bool> row = read.Step();
  for (; row.ok() && *row; row = read.Step()) {
    Statement write(to, insert.c_str());
    for (int i = 0; i < columns && write.get() != nullptr; ++i) {
      sqlite3_bind_value(write.get(), i + 1, sqlite3_column_value(read.get(), i));
    }
    if (write.Run().ok()) copied += static_cast<uint64_t>(sqlite3_changes64(to));
  }
  return row.ok();
}

uint64_t CopyAll(sqlite3* from, sqlite3* to) {
  uint64_t rows = 0;
  for (const Table& table : TablesOf(from)) {
    if (!Execute(to, table.sql.c_str()).ok()) continue;
    // From both ends: a bad page in the middle costs only the rows on it.
    if (!CopyRows(from, to, table.name, "ASC", rows)) {
      (void)CopyRows(from, to, table.name, "DESC", rows);
    }
  }
  return rows;
}

}  // namespace

StatusOr<Salvaged> SalvageDatabase(const std::string& path) {
  Salvaged salvaged;
  salvaged.corrupt_path = absl::StrCat(
      path, ".corrupt-", absl::FormatTime("%Y%m%d%ET%H%M%SZ", absl::Now(), absl::UTCTimeZone()));
  for (const char* suffix : {"-wal", "-shm", ""}) {
    RETURN_IF_ERROR(Move(absl::StrCat(path, suffix), absl::StrCat(salvaged.corrupt_path, suffix)));
  }
  ASSIGN_OR_RETURN(const SqliteConnection fresh, OpenSqlite(path));
  const StatusOr<SqliteConnection> old = OpenSqlite(salvaged.corrupt_path);
  if (!old.ok()) return salvaged;
  RETURN_IF_ERROR(Execute(fresh.get(), "BEGIN IMMEDIATE"));
  salvaged.rows = CopyAll(old->get(), fresh.get());
  RETURN_IF_ERROR(Execute(fresh.get(), "COMMIT"));
  return salvaged;
}

}  // namespace gantry::cri
