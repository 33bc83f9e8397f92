// Boost.Asio and Beast, fenced in this file. Sockets are made and accepted by our own calls: Asio's
// are not close-on-exec.
#include "cri/cadvisor_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "runtime/linux/unix_socket.h"

namespace gantry::cri {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Stream = beast::basic_stream<asio::local::stream_protocol, asio::any_io_executor>;

constexpr size_t kMaxConnections = 64;
constexpr size_t kMaxHeader = 8192;
constexpr auto kPatience = std::chrono::seconds(60);

// One client, for as many requests as it has. It holds itself by what it waits for.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(const Node& node, Stream stream, std::shared_ptr<int> place)
      : node_(node), stream_(std::move(stream)), place_(std::move(place)) {}

  void Read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(0);
    stream_.expires_after(kPatience);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, size_t) {
                       if (!error) self->Answer();
                     });
  }

 private:
  void Answer() {
    const auto& request = parser_->get();
    CadvisorAnswer answer = {405, "only GET is answered\n"};
    if (request.method() == http::verb::get)
      answer = AnswerCadvisor(node_, {request.target().data(), request.target().size()});
    response_ = {};
    response_.version(request.version());
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type,
                  answer.status == 200 ? "application/json" : "text/plain");
    response_.keep_alive(request.keep_alive());
    response_.body() = std::move(answer.body);
    response_.prepare_payload();
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, size_t) {
                        if (!error && self->response_.keep_alive()) self->Read();
                      });
  }

  const Node& node_;
  Stream stream_;
  const std::shared_ptr<int> place_;  // among kMaxConnections
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
};

// A socket file that nobody answers at is what a killed daemon has left.
Status RemoveLeftover(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0) return absl::OkStatus();
  if (ConnectUnix(path).ok())
    return absl::AlreadyExistsError(absl::StrCat("somebody listens on \"", path, "\" already"));
  return unlink(path.c_str()) == 0 ? absl::OkStatus() : SyscallError("unlink", path);
}

}  // namespace

struct CadvisorSocket::State {
  State(const Node* given_node, std::string given_path)
      : node(*given_node), path(std::move(given_path)), acceptor(context) {}

  void AwaitClient() {
    acceptor.async_wait(asio::socket_base::wait_read, [this](beast::error_code error) {
      if (error) return;
      Accept();
      AwaitClient();
    });
  }

  void Accept() {
    UniqueFd client(
        accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    // One too many is closed at once: cAdvisor uses a few.
    if (!client.valid() || places.use_count() > static_cast<long>(kMaxConnections)) return;
    asio::local::stream_protocol::socket socket(context);
    beast::error_code error;
    socket.assign({}, client.get(), error);
    if (error) return;
    (void)client.Release();
    std::make_shared<Connection>(node, Stream(std::move(socket)), places)->Read();
  }

  const Node& node;
  const std::string path;
  asio::io_context context{1};
  asio::local::stream_protocol::acceptor acceptor;
  std::shared_ptr<int> places = std::make_shared<int>(0);  // each connection holds one
  std::thread thread;
};

CadvisorSocket::CadvisorSocket(std::unique_ptr<State> state) : state_(std::move(state)) {}

CadvisorSocket::~CadvisorSocket() {
  state_->context.stop();
  state_->thread.join();
  unlink(state_->path.c_str());
}

StatusOr<std::unique_ptr<CadvisorSocket>> CadvisorSocket::Listen(const Node* node,
                                                                 const std::string& path) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  RETURN_IF_ERROR_CONTEXT(RemoveLeftover(path), "metrics.cadvisor_socket");
  ASSIGN_OR_RETURN_CONTEXT(UniqueFd listener, ListenUnix(path, 0600), "metrics.cadvisor_socket");
  auto state = std::make_unique<State>(node, path);
  beast::error_code error;
  state->acceptor.assign({}, listener.get(), error);
  if (error)
    return absl::InternalError(absl::StrCat("listen on \"", path, "\": ", error.message()));
  (void)listener.Release();
  state->AwaitClient();
  State* const running = state.get();
  state->thread = std::thread([running] { running->context.run(); });
  return std::make_unique<CadvisorSocket>(std::move(state));
}

}  // namespace gantry::cri
