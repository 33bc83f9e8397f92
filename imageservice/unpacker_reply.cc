#include "imageservice/unpacker_reply.h"

#include <sys/socket.h>

#include <array>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "imageservice/reference.h"
#include "runtime/base/json.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxReply = 16 << 10;

Status Failure(const std::string& code, std::string text) {
  for (char& c : text) {
    if (c < 0x20 || c == 0x7f) c = ' ';
  }
  if (code == "data_loss") return absl::DataLossError(text);
  if (code == "resource_exhausted") return absl::ResourceExhaustedError(text);
  if (code == "invalid_argument") return absl::InvalidArgumentError(text);
  return absl::InternalError(text);
}

StatusOr<UnpackerReply> Parse(absl::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document,
                   ParseJson(text, {.max_bytes = kMaxReply, .max_depth = 4, .max_values = 100}));
  Status status;
  const JsonReader root(document, status);
  bool ok = false;
  std::string code, error;
  UnpackerReply reply;
  root.Read("ok", ok);
  root.Read("diff_id", reply.diff_id);
  root.Read("tar_bytes", reply.tar_bytes);
  root.Read("code", code);
  root.Read("error", error);
  if (!reply.diff_id.empty() && !IsDigest(reply.diff_id)) root.Fail("diff_id", "must be a digest");
  RETURN_IF_ERROR(status);
  if (!ok) reply.failure = Failure(code, std::move(error));
  return reply;
}

}  // namespace

StatusOr<std::optional<UnpackerReply>> ReceiveUnpackerReply(int control) {
  std::array<char, kMaxReply> buffer;
  const auto message = ReceiveWithFds(control, buffer, MSG_DONTWAIT);
  if (message.ok() && !message->has_value()) return std::optional<UnpackerReply>();
  if (!message.ok() || (*message)->size == 0) return absl::AbortedError("gone without a word");
  auto reply = Parse(absl::string_view(buffer.data(), (*message)->size));
  if (reply.ok()) return std::optional<UnpackerReply>(*std::move(reply));
  return absl::InternalError(absl::StrCat("gantry-unpacker's reply: ", reply.status().message()));
}

}  // namespace gantry::images
