#include "cri/store/records.h"

#include <zlib.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace gantry::cri {
namespace {

constexpr int kSchemaVersion = 1;
constexpr int kMaxQuarantined = 1000;

constexpr char kSchema[] = R"(
CREATE TABLE IF NOT EXISTS schema(component TEXT PRIMARY KEY, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sandboxes(id TEXT PRIMARY KEY, created_at INTEGER NOT NULL,
  detail BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS containers(id TEXT PRIMARY KEY, created_at INTEGER NOT NULL,
  detail BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS quarantine(found_at INTEGER NOT NULL, kind TEXT NOT NULL, id, detail,
  reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clock(only INTEGER PRIMARY KEY CHECK (only = 1),
  created_at INTEGER NOT NULL);
INSERT OR IGNORE INTO schema VALUES('records', 1);
INSERT OR IGNORE INTO clock VALUES(1, 0);
)";

// Over table and id too: a row that turns up under another name is as wrong as one with a flipped
// bit.
int64_t Sum(absl::string_view table, absl::string_view id, absl::string_view detail) {
  uLong sum = crc32(0, nullptr, 0);
  for (absl::string_view part :
       {table, absl::string_view("\0", 1), id, absl::string_view("\0", 1), detail}) {
    sum = crc32_z(sum, reinterpret_cast<const Bytef*>(part.data()), part.size());
  }
  return static_cast<int64_t>(sum);
}

Status QuickCheck(sqlite3* database) {
  Statement check(database, "PRAGMA quick_check(1)");
  ASSIGN_OR_RETURN(const bool row, check.Step());
  if (row && check.Bytes(0) == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("database: ", row ? check.Bytes(0) : "no answer"));
}

Status CheckVersion(sqlite3* database) {
  Statement version(database, "SELECT version FROM schema WHERE component = 'records'");
  ASSIGN_OR_RETURN(const bool row, version.Step());
  if (!row || version.Number(0) <= kSchemaVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the records have version ", version.Number(0), " of a newer gantryd, this one knows up to ",
      kSchemaVersion, "; install the newer gantryd again, or start with an empty --root"));
}

bool HasTable(sqlite3* database, const char* name) {
  Statement find(database, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1");
  const StatusOr<bool> row = find.Text(1, name).Step();
  return row.ok() && *row;
}

}  // namespace

Status PrepareTables(sqlite3* database) {
  RETURN_IF_ERROR(QuickCheck(database));
  // Before anything is written: a newer file must stay as it is.
  if (HasTable(database, "schema")) RETURN_IF_ERROR(CheckVersion(database));
  return Execute(database, kSchema);
}

StatusOr<std::vector<Row>> ReadRows(sqlite3* database, const char* table,
                                    std::vector<BadRow>& bad) {
  std::vector<Row> rows;
  Statement read(
      database,
      absl::StrCat("SELECT id, detail, sum FROM ", table, " ORDER BY created_at").c_str());
  ASSIGN_OR_RETURN(bool row, read.Step());
  while (row) {
    Row found = {std::string(read.Bytes(0)), std::string(read.Bytes(1))};
    if (read.Number(2) == Sum(table, found.id, found.detail)) {
      rows.push_back(std::move(found));
    } else {
      bad.push_back({std::move(found.id), "the checksum does not match"});
    }
    ASSIGN_OR_RETURN(row, read.Step());
  }
  return rows;
}

Status WriteRow(sqlite3* database, const char* table, const Row& row, int64_t created_at) {
  Statement clock(database, "UPDATE clock SET created_at = max(created_at, ?1)");
  RETURN_IF_ERROR(clock.Integer(1, created_at).Run());
  Statement write(
      database, absl::StrCat("INSERT OR REPLACE INTO ", table, " VALUES(?1, ?2, ?3, ?4)").c_str());
  return write.Text(1, row.id)
      .Integer(2, created_at)
      .Blob(3, row.detail)
      .Integer(4, Sum(table, row.id, row.detail))
      .Run();
}

Status DeleteRow(sqlite3* database, const char* table, const std::string& id) {
  Statement remove(database, absl::StrCat("DELETE FROM ", table, " WHERE id = ?1").c_str());
  return remove.Text(1, id).Run();
}

Status MoveToQuarantine(sqlite3* database, const char* table, const BadRow& row) {
  Statement copy(database,
                 absl::StrCat("INSERT INTO quarantine SELECT ?1, ?2, id, detail, ?3 FROM ", table,
                              " WHERE id = ?4")
                     .c_str());
  RETURN_IF_ERROR(copy.Integer(1, absl::GetCurrentTimeNanos())
                      .Text(2, table)
                      .Text(3, row.reason)
                      .Text(4, row.id)
                      .Run());
  RETURN_IF_ERROR(DeleteRow(database, table, row.id));
  Statement trim(database,
                 "DELETE FROM quarantine WHERE rowid <= (SELECT max(rowid) FROM quarantine) - ?1");
  return trim.Integer(1, kMaxQuarantined).Run();
}

StatusOr<int64_t> LastCreatedAt(sqlite3* database) {
  Statement read(database,
                 "SELECT max((SELECT max(created_at) FROM clock), "
                 "coalesce((SELECT max(created_at) FROM sandboxes), 0), "
                 "coalesce((SELECT max(created_at) FROM containers), 0))");
  ASSIGN_OR_RETURN(const bool row, read.Step());
  return row ? read.Number(0) : 0;
}

}  // namespace gantry::cri
