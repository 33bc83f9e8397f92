#include "imageservice/image_records.h"

#include <openssl/sha.h>
#include <sqlite3.h>

#include <algorithm>
#include <utility>

#define JSON_NO_IO
#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "imageservice/reference.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"

namespace gantry::images {
namespace {

constexpr int kBusyMilliseconds = 5000;
constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS images(id TEXT PRIMARY KEY, record TEXT NOT NULL, sum TEXT NOT "
    "NULL);"
    "CREATE TABLE IF NOT EXISTS images_quarantine(id TEXT, record TEXT, reason TEXT, at INTEGER);"
    "CREATE TABLE IF NOT EXISTS image_documents(id TEXT PRIMARY KEY, config TEXT NOT NULL, "
    "manifest "
    "TEXT NOT NULL);";

std::string Sum(absl::string_view text) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash);
  return absl::BytesToHexString({reinterpret_cast<const char*>(hash), sizeof(hash)});
}

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

std::string Column(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  const int size = sqlite3_column_bytes(statement, column);
  return text == nullptr ? "" : std::string(text, static_cast<size_t>(size));
}

Status CheckImage(const Image& image) {
  RETURN_IF_ERROR(CheckDigest(image.id));
  if (image.layers.size() != image.diff_ids.size()) {
    return absl::InvalidArgumentError("layers and diff_ids differ in number");
  }
  for (const std::string& digest : image.layers) RETURN_IF_ERROR(CheckDigest(digest));
  for (const std::string& digest : image.diff_ids) RETURN_IF_ERROR(CheckDigest(digest));
  for (const auto* names : {&image.repo_tags, &image.repo_digests}) {
    for (const std::string& name : *names) RETURN_IF_ERROR(ParseReference(name).status());
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeImage(const Image& image) {
  const ImageConfig& c = image.config;
  const nlohmann::json config = {{"user", c.user},
                                 {"entrypoint", c.entrypoint},
                                 {"cmd", c.cmd},
                                 {"env", c.env},
                                 {"working_dir", c.working_dir},
                                 {"volumes", c.volumes},
                                 {"labels", c.labels},
                                 {"exposed_ports", c.exposed_ports},
                                 {"stop_signal", c.stop_signal},
                                 {"os", c.os},
                                 {"architecture", c.architecture},
                                 {"healthcheck", c.healthcheck_json}};
  return DumpJson({{"id", image.id},
                   {"repo_tags", image.repo_tags},
                   {"repo_digests", image.repo_digests},
                   {"size", image.size},
                   {"config", config},
                   {"layers", image.layers},
                   {"diff_ids", image.diff_ids},
                   {"pulled_at_ns", image.pulled_at_ns}});
}

StatusOr<Image> DecodeImage(absl::string_view json) {
  JsonLimits limits;
  limits.max_bytes = 64 << 20;
  ASSIGN_OR_RETURN(nlohmann::json document, ParseJson(json, limits));
  Image image;
  Status status;
  JsonReader root(document, status);
  root.Read("id", image.id);
  root.Read("repo_tags", image.repo_tags);
  root.Read("repo_digests", image.repo_digests);
  root.Read("size", image.size);
  root.Read("layers", image.layers);
  root.Read("diff_ids", image.diff_ids);
  root.Read("pulled_at_ns", image.pulled_at_ns);
  root.Object("config", [&](const JsonReader& reader) {
    ImageConfig& c = image.config;
    reader.Read("user", c.user);
    reader.Read("entrypoint", c.entrypoint);
    reader.Read("cmd", c.cmd);
    reader.Read("env", c.env);
    reader.Read("working_dir", c.working_dir);
    reader.Read("volumes", c.volumes);
    reader.Read("labels", c.labels);
    reader.Read("exposed_ports", c.exposed_ports);
    reader.Read("stop_signal", c.stop_signal);
    reader.Read("os", c.os);
    reader.Read("architecture", c.architecture);
    reader.Read("healthcheck", c.healthcheck_json);
  });
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(CheckImage(image));
  return image;
}

struct ImageRecords::State {
  std::unique_ptr<sqlite3, CloseDatabase> db;
  std::string path;

  Status Error(absl::string_view what) const {
    return absl::InternalError(absl::StrCat(path, ": ", what, ": ", sqlite3_errmsg(db.get())));
  }
  Status Run(const char* sql) const {
    return sqlite3_exec(db.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? absl::OkStatus()
                                                                               : Error(sql);
  }
  StatusOr<Statement> Prepare(const char* sql) const {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db.get(), sql, -1, &statement, nullptr) != SQLITE_OK) return Error(sql);
    return Statement(statement);
  }
  // Runs a statement that returns no rows.
  Status Execute(const char* sql, const std::vector<std::string>& values) const {
    ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
    for (size_t i = 0; i < values.size(); ++i) {
      if (sqlite3_bind_text64(statement.get(), static_cast<int>(i + 1), values[i].data(),
                              values[i].size(), SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK) {
        return Error(sql);
      }
    }
    return sqlite3_step(statement.get()) == SQLITE_DONE ? absl::OkStatus() : Error(sql);
  }
  // All of `body` or nothing.
  template <typename Body>
  Status Transaction(Body body) const {
    RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
    absl::Cleanup rollback = [this] { (void)Run("ROLLBACK"); };
    RETURN_IF_ERROR(body());
    RETURN_IF_ERROR(Run("COMMIT"));
    std::move(rollback).Cancel();
    return absl::OkStatus();
  }
  Status Quarantine(const std::string& id, const std::string& record, const Status& why) const;
};

ImageRecords::ImageRecords(std::unique_ptr<State> state) : state_(std::move(state)) {}
ImageRecords::~ImageRecords() = default;

StatusOr<std::unique_ptr<ImageRecords>> ImageRecords::Open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int result = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);  // opens close-on-exec
  state->db.reset(db);
  if (result != SQLITE_OK) return state->Error("open");
  sqlite3_busy_timeout(db, kBusyMilliseconds);
  RETURN_IF_ERROR(state->Run("PRAGMA journal_mode=WAL"));
  // An image is answered to the kubelet only once it is durable: FULL syncs the log at every
  // commit.
  RETURN_IF_ERROR(state->Run("PRAGMA synchronous=FULL"));
  RETURN_IF_ERROR(state->Run(kSchema));
  return std::unique_ptr<ImageRecords>(new ImageRecords(std::move(state)));
}

Status ImageRecords::State::Quarantine(const std::string& id, const std::string& record,
                                       const Status& why) const {
  Log(LogLevel::kError, "image record set aside",
      {{"image", id}, {"reason", std::string(why.message())}, {"database", path}});
  return Transaction([&]() -> Status {
    RETURN_IF_ERROR(Execute("INSERT INTO images_quarantine VALUES(?, ?, ?, strftime('%s','now'))",
                            {id, record, std::string(why.message())}));
    return Execute("DELETE FROM images WHERE id = ?", {id});
  });
}

StatusOr<std::vector<Image>> ImageRecords::Load() {
  std::vector<Image> images;
  std::vector<std::pair<std::pair<std::string, std::string>, Status>> torn;
  ASSIGN_OR_RETURN(Statement rows,
                   state_->Prepare("SELECT id, record, sum FROM images ORDER BY id"));
  int step;
  while ((step = sqlite3_step(rows.get())) == SQLITE_ROW) {
    const std::string id = Column(rows.get(), 0), record = Column(rows.get(), 1);
    StatusOr<Image> image = absl::DataLossError("the checksum is wrong");
    if (Sum(record) == Column(rows.get(), 2)) image = DecodeImage(record);
    if (image.ok() && image->id != id) image = absl::DataLossError("the id is another one");
    if (image.ok()) {
      images.push_back(*std::move(image));
    } else {
      torn.push_back({{id, record}, image.status()});
    }
  }
  if (step != SQLITE_DONE) return state_->Error("read images");
  rows.reset();
  for (const auto& [row, why] : torn) {
    RETURN_IF_ERROR(state_->Quarantine(row.first, row.second, why));
  }
  return images;
}

Status ImageRecords::Apply(const std::vector<std::shared_ptr<const Image>>& put,
                           const std::vector<std::string>& erase, const DocumentMap& documents) {
  for (const auto& [id, kept] : documents) {
    const bool known = absl::StartsWith(id, "sha256:") && !kept.config.empty();
    if (known && id != absl::StrCat("sha256:", Sum(kept.config)))
      return absl::DataLossError(absl::StrCat("image ", id, ": the configuration is another one"));
  }
  return state_->Transaction([&]() -> Status {
    for (const auto& image : put) {
      const std::string record = EncodeImage(*image);
      RETURN_IF_ERROR(state_->Execute("INSERT OR REPLACE INTO images VALUES(?, ?, ?)",
                                      {image->id, record, Sum(record)}));
    }
    for (const std::string& id : erase) {
      RETURN_IF_ERROR(state_->Execute("DELETE FROM images WHERE id = ?", {id}));
      RETURN_IF_ERROR(state_->Execute("DELETE FROM image_documents WHERE id = ?", {id}));
    }
    for (const auto& [id, kept] : documents) {
      if (kept.config.empty() && kept.manifest.empty()) continue;
      RETURN_IF_ERROR(state_->Execute("INSERT OR REPLACE INTO image_documents VALUES(?, ?, ?)",
                                      {id, kept.config, kept.manifest}));
    }
    return absl::OkStatus();
  });
}

StatusOr<ImageDocuments> ImageRecords::Documents(const std::string& id) {
  ASSIGN_OR_RETURN(Statement row,
                   state_->Prepare("SELECT config, manifest FROM image_documents WHERE id = ?"));
  if (sqlite3_bind_text64(row.get(), 1, id.data(), id.size(), SQLITE_TRANSIENT, SQLITE_UTF8) !=
      SQLITE_OK) {
    return state_->Error("find documents");
  }
  const int step = sqlite3_step(row.get());
  if (step == SQLITE_ROW) return ImageDocuments{Column(row.get(), 0), Column(row.get(), 1)};
  if (step != SQLITE_DONE) return state_->Error("read documents");
  return absl::NotFoundError(
      absl::StrCat("image ", id, " was pulled before documents were kept: pull it again"));
}

}  // namespace gantry::images
