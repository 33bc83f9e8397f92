#include "cri/cli/client.h"

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "cri/config/config.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::cli {
namespace {

constexpr char kExitCodePayload[] = "gantry/exit_code";
constexpr int kMaxMessage = 64 << 20;  // what a list of many containers may take

// gRPC says "connection refused" in many words and late: the socket is tried first.
Status TrySocket(const std::string& path) {
  const StatusOr<UniqueFd> socket = ConnectUnix(path);
  if (socket.ok()) return absl::OkStatus();
  switch (ErrnoOf(socket.status())) {
    case ENOENT:
    case ECONNREFUSED:
      return absl::UnavailableError(
          absl::StrCat("gantryd is not running: nobody listens on ", path,
                       "; start it (systemctl start gantry), or name its socket by --socket"));
    case EACCES:
    case EPERM:
      return absl::UnavailableError(absl::StrCat("no permission for ", path,
                                                 "; run as root, or join the group of the socket"));
    default:
      return absl::UnavailableError(
          absl::StrCat("connect to gantryd: ", socket.status().message()));
  }
}

}  // namespace

StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& socket) {
  ASSIGN_OR_RETURN(const std::string path, cri::SocketPath(socket));
  RETURN_IF_ERROR(TrySocket(path));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  // A proxy for the registry is none for a local socket.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel =
      grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
  return std::unique_ptr<Client>(new Client(channel));
}

Client::Client(const std::shared_ptr<grpc::Channel>& channel)
    : runtime_(api::RuntimeService::NewStub(channel)),
      images_(api::ImageService::NewStub(channel)),
      gantry_(own::Gantry::NewStub(channel)) {}

Status FromRpc(const grpc::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  // The numbers of the codes are the same.
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const std::string& message = status.error_message();
  if (code == absl::StatusCode::kDeadlineExceeded && message == "Deadline Exceeded") {
    return {code, absl::StrCat(what, ": gantryd did not answer in time; see its log")};
  }
  if (code == absl::StatusCode::kUnimplemented && message.empty()) {
    return {code,
            absl::StrCat(what, ": this gantryd does not know the call; is it older than gantry?")};
  }
  return {code, absl::StrCat(what, ": ", message)};
}

Status WithExitCode(Status status, int code) {
  status.SetPayload(kExitCodePayload, absl::Cord(absl::StrCat(code)));
  return status;
}

int ExitCodeOf(const Status& status) {
  const auto payload = status.GetPayload(kExitCodePayload);
  int code = kOwnFailure;
  if (payload.has_value()) (void)absl::SimpleAtoi(std::string(*payload), &code);
  return code;
}

}  // namespace gantry::cli
