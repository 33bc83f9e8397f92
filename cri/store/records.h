// The tables of records: their schema, and rows as they are read and checked.
//
//   sandboxes, containers   id | created_at | detail: the serialised record | sum: CRC-32 of table,
//   id, detail quarantine              rows that failed their check, with the reason schema version
//   of these tables; the image service keeps its own clock                   the latest created_at
//   ever given out
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/store/sqlite.h"

namespace gantry::cri {

struct Row {
  std::string id;
  std::string detail;
};
struct BadRow {
  std::string id;
  std::string reason;
};

// Makes what is missing. kFailedPrecondition when the tables are of a newer version. kDataLoss when
// the file is corrupt, as far as a quick check of all pages tells.
Status PrepareTables(sqlite3* database);

// All rows by created_at; those with a wrong sum are in `bad` instead.
StatusOr<std::vector<Row>> ReadRows(sqlite3* database, const char* table, std::vector<BadRow>& bad);

// Inside a transaction of the caller.
Status WriteRow(sqlite3* database, const char* table, const Row& row, int64_t created_at);
Status DeleteRow(sqlite3* database, const char* table, const std::string& id);
Status MoveToQuarantine(sqlite3* database, const char* table, const BadRow& row);

// The latest created_at that WriteRow has ever written.
StatusOr<int64_t> LastCreatedAt(sqlite3* database);

}  // namespace gantry::cri
