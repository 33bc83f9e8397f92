#include "cri/store/store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/store/records.h"

namespace gantry::cri {
namespace {

// A clock that was once far ahead must not push all later times ahead with it for ever: what lies
// more than this in the future is taken for a damaged value.
constexpr int64_t kMaxAheadNs = int64_t{7} * 24 * 3600 * 1'000'000'000;

template <typename Record>
Status LoadTable(sqlite3* database, const char* table, std::vector<Record>& out,
                 std::vector<Store::Quarantined>& quarantined) {
  std::vector<BadRow> bad;
  ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows(database, table, bad));
  for (const Row& row : rows) {
    Record record;
    if (record.ParseFromString(row.detail) && record.id() == row.id) {
      out.push_back(std::move(record));
    } else {
      bad.push_back({row.id, "not a record of this id"});
    }
  }
  for (const BadRow& row : bad) {
    RETURN_IF_ERROR(MoveToQuarantine(database, table, row));
    quarantined.push_back({table, row.id, row.reason});
  }
  return absl::OkStatus();
}

struct Loaded {
  SqliteConnection database;
  Store::Contents contents;
  int64_t last_created_at = 0;
};

StatusOr<Loaded> Load(const std::string& path) {
  Loaded loaded;
  ASSIGN_OR_RETURN(loaded.database, OpenSqlite(path));
  sqlite3* database = loaded.database.get();
  RETURN_IF_ERROR(PrepareTables(database));
  Store::Contents& contents = loaded.contents;
  RETURN_IF_ERROR(Execute(database, "BEGIN IMMEDIATE"));
  RETURN_IF_ERROR(LoadTable(database, "sandboxes", contents.sandboxes, contents.quarantined));
  RETURN_IF_ERROR(LoadTable(database, "containers", contents.containers, contents.quarantined));
  RETURN_IF_ERROR(Execute(database, "COMMIT"));
  ASSIGN_OR_RETURN(loaded.last_created_at, LastCreatedAt(database));
  return loaded;
}

}  // namespace

StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& root) {
  const std::string path = absl::StrCat(root, "/gantry.db");
  StatusOr<Loaded> loaded = Load(path);
  if (loaded.status().code() == absl::StatusCode::kDataLoss) {
    ASSIGN_OR_RETURN_CONTEXT(Salvaged salvaged, SalvageDatabase(path),
                             "replace the corrupt database");
    loaded = Load(path);
    if (loaded.ok()) loaded->contents.salvaged = std::move(salvaged);
  }
  if (!loaded.ok()) return Annotate(loaded.status(), absl::StrCat("open ", path));
  const int64_t latest = absl::GetCurrentTimeNanos() + kMaxAheadNs;
  const int64_t last = loaded->last_created_at < latest ? loaded->last_created_at : 0;
  return std::unique_ptr<Store>(
      new Store(std::move(loaded->database), std::move(loaded->contents), last));
}

Store::Store(SqliteConnection database, Contents contents, int64_t last_created_at)
    : contents_(std::move(contents)),
      last_created_at_(last_created_at),
      queue_(std::move(database)) {}

Store::~Store() = default;

Store::Contents Store::LoadAll() { return std::exchange(contents_, {}); }

std::future<Status> Store::PutLater(const store::SandboxRecord& record) {
  return PutRow(kSandboxes, record.id(), record.created_at_ns(), record.SerializeAsString());
}

std::future<Status> Store::PutLater(const store::ContainerRecord& record) {
  return PutRow(kContainers, record.id(), record.created_at_ns(), record.SerializeAsString());
}

std::future<Status> Store::PutRow(const char* table, std::string id, int64_t created_at,
                                  std::string detail) {
  return queue_.Submit(
      [table, created_at, row = Row{std::move(id), std::move(detail)}](sqlite3* database) {
        return WriteRow(database, table, row, created_at);
      });
}

std::future<Status> Store::DeleteLater(const char* table, std::string id) {
  return queue_.Submit(
      [table, id = std::move(id)](sqlite3* database) { return DeleteRow(database, table, id); });
}

int64_t Store::NextCreatedAt() {
  int64_t last = last_created_at_.load();
  int64_t next = 0;
  do {
    next = std::max(absl::GetCurrentTimeNanos(), last + 1);
  } while (!last_created_at_.compare_exchange_weak(last, next));
  return next;
}

}  // namespace gantry::cri
