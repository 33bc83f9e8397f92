#include "imageservice/layer_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_NO_IO
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "imageservice/reference.h"
#include "runtime/base/json.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr char kRecord[] = "layer.json";

std::string Encode(const LayerInfo& info) {
  nlohmann::json record = {{"version", 1},
                           {"digest", info.digest},
                           {"diff_id", info.diff_id},
                           {"tar_bytes", info.tar_bytes},
                           {"bytes", info.usage.bytes},
                           {"inodes", info.usage.inodes},
                           {"made_at_ns", info.made_at_ns}};
  if (info.recipe_bytes > 0) record["recipe_bytes"] = info.recipe_bytes;
  if (info.form == LayerForm::kErofs) {
    record["version"] = 2;  // unknown to what knows directories only
    record["form"] = LayerFormName(info.form);
    record["data_bytes"] = info.data_bytes;
    record["meta_bytes"] = info.meta_bytes;
  }
  return DumpJson(record);
}

StatusOr<LayerInfo> Decode(absl::string_view text) {
  ASSIGN_OR_RETURN(nlohmann::json document, ParseJson(text));
  LayerInfo info;
  uint32_t version = 0;
  std::string form;
  Status status;
  JsonReader root(document, status);
  root.Read("version", version);
  root.Read("digest", info.digest);
  root.Read("diff_id", info.diff_id);
  root.Read("tar_bytes", info.tar_bytes);
  root.Read("bytes", info.usage.bytes);
  root.Read("inodes", info.usage.inodes);
  root.Read("made_at_ns", info.made_at_ns);
  root.Read("form", form);
  root.Read("data_bytes", info.data_bytes);
  root.Read("meta_bytes", info.meta_bytes);
  root.Read("recipe_bytes", info.recipe_bytes);
  RETURN_IF_ERROR(status);
  if (version != 1 && (version != 2 || form != LayerFormName(LayerForm::kErofs))) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown version ", version, ", form \"", form, "\""));
  }
  if (version == 2) info.form = LayerForm::kErofs;
  RETURN_IF_ERROR(CheckDigest(info.digest));
  RETURN_IF_ERROR(CheckDigest(info.diff_id));
  return info;
}

Status CheckSize(int folder, const char* name, uint64_t size) {
  struct stat st;
  if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return SyscallError("fstatat", name);
  if (S_ISREG(st.st_mode) && static_cast<uint64_t>(st.st_size) == size) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("its file ", name, " has ", st.st_size, " bytes, not ", size));
}

}  // namespace

absl::string_view LayerFormName(LayerForm form) {
  return form == LayerForm::kErofs ? "erofs" : "directory";
}

StatusOr<LayerInfo> ReadLayerRecord(int folder) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(folder, kRecord));
  ASSIGN_OR_RETURN(LayerInfo info, Decode(text));
  RETURN_IF_ERROR(OpenAt(folder, kLayerTree, O_PATH | O_DIRECTORY | O_NOFOLLOW).status());
  if (info.form == LayerForm::kErofs) {
    RETURN_IF_ERROR(CheckSize(folder, kLayerData, info.data_bytes));
    RETURN_IF_ERROR(CheckSize(folder, kLayerMeta, info.meta_bytes));
  }
  if (info.form == LayerForm::kErofs || info.recipe_bytes > 0)
    RETURN_IF_ERROR(CheckSize(folder, kLayerRecipe, info.recipe_bytes));
  return info;
}

Status WriteLayerRecord(int folder, const LayerInfo& info) {
  RETURN_IF_ERROR(RemoveTree(folder, kRecord));
  ASSIGN_OR_RETURN(const UniqueFd file,
                   OpenAt(folder, kRecord, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  RETURN_IF_ERROR(WriteAll(file.get(), Encode(info), kRecord));
  return fsync(file.get()) == 0 ? absl::OkStatus() : SyscallError("fsync", kRecord);
}

}  // namespace gantry::images
