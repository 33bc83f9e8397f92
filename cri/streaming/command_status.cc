#include "cri/streaming/command_status.h"

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

namespace gantry::cri::streaming {
namespace {

// Messages may hold what a program has said: any bytes.
std::string Dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string CommandStatus(int version, const StatusOr<int>& exit) {
  const std::string message =
      exit.ok() ? absl::StrCat("command terminated with non-zero exit code: exit status ", *exit)
                : std::string(exit.status().message());
  if (exit.ok() && *exit == 0)
    return version >= 4 ? R"({"metadata":{},"status":"Success"})" : std::string();
  if (version < 4) return message;
  nlohmann::json status = {
      {"metadata", nlohmann::json::object()}, {"status", "Failure"}, {"message", message}};
  if (exit.ok()) {
    status["reason"] = "NonZeroExitCode";
    status["details"]["causes"] = {{{"reason", "ExitCode"}, {"message", absl::StrCat(*exit)}}};
  } else {
    status["reason"] = "InternalError";
    status["code"] = 500;
  }
  return Dump(status);
}

}  // namespace gantry::cri::streaming
