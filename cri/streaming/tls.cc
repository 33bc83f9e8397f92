#include "cri/streaming/tls.h"

#include <sys/stat.h>

#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>

#include "runtime/linux/file_stamp.h"

namespace gantry::cri::streaming {
namespace {

namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;

constexpr std::chrono::seconds kHandshake(10);

class TlsStream final : public ByteStream, public std::enable_shared_from_this<TlsStream> {
 public:
  TlsStream(tcp::socket socket, std::shared_ptr<ssl::context> context, std::shared_ptr<void> lease)
      : lease_(std::move(lease)),
        context_(std::move(context)),
        ssl_(std::move(socket), *context_) {}

  void Handshake(std::function<void(std::shared_ptr<ByteStream>)> done) {
    const auto limit = std::make_shared<asio::steady_timer>(io());
    limit->expires_after(kHandshake);
    limit->async_wait([self = shared_from_this(), limit](const ErrorCode& error) {
      if (!error) self->Close();
    });
    ssl_.async_handshake(ssl::stream_base::server, [self = shared_from_this(), limit,
                                                    done = std::move(done)](const ErrorCode& e) {
      limit->cancel();
      e ? self->Close() : done(self);
    });
  }

  // close_notify says it; the answer to it comes to whoever reads.
  void ShutdownWrite(std::function<void()> done) override {
    ssl_.async_shutdown([self = shared_from_this()](const ErrorCode&) {});
    asio::post(ssl_.get_executor(), std::move(done));
  }
  void Close() override {
    ErrorCode ignored;
    ssl_.next_layer().close(ignored);
  }
  [[nodiscard]] bool PeerGone() const override {
    auto& socket = const_cast<TlsStream*>(this)->ssl_.next_layer();
    return !socket.is_open() || HungUp(socket.native_handle());
  }
  asio::io_context& io() override {
    return static_cast<asio::io_context&>(ssl_.get_executor().context());
  }

 protected:
  void DoReadSome(asio::mutable_buffer buffer, Done done) override {
    ssl_.async_read_some(buffer, std::move(done));
  }
  void DoWriteSome(asio::const_buffer buffer, Done done) override {
    ssl_.async_write_some(buffer, std::move(done));
  }

 private:
  std::shared_ptr<void> lease_;
  std::shared_ptr<ssl::context> context_;
  ssl::stream<tcp::socket> ssl_;
};

std::string StampOf(const std::string& path) {
  struct stat file = {};
  if (path.empty() || stat(path.c_str(), &file) != 0) return "";
  return FileStamp(file);
}

using Stamps = std::array<std::string, 3>;

Stamps StampsOf(const TlsFiles& files) {
  return {StampOf(files.certificate), StampOf(files.key), StampOf(files.client_ca)};
}

StatusOr<std::shared_ptr<ssl::context>> MakeContext(const TlsFiles& files) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  ErrorCode error;
  context->use_certificate_chain_file(files.certificate, error);
  if (error)
    return absl::InvalidArgumentError(
        absl::StrCat("streaming.tls_cert_file \"", files.certificate, "\": ", error.message()));
  context->use_private_key_file(files.key, ssl::context::pem, error);
  if (error)
    return absl::InvalidArgumentError(
        absl::StrCat("streaming.tls_key_file \"", files.key, "\": ", error.message()));
  if (files.client_ca.empty()) return context;
  context->load_verify_file(files.client_ca, error);
  if (error)
    return absl::InvalidArgumentError(
        absl::StrCat("streaming.tls_client_ca_file \"", files.client_ca, "\": ", error.message()));
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
  return context;
}

class FileTls final : public Tls {
 public:
  FileTls(TlsFiles files, std::shared_ptr<ssl::context> context, Stamps stamps)
      : files_(std::move(files)), context_(std::move(context)), stamps_(std::move(stamps)) {}

  void Handshake(tcp::socket socket, std::shared_ptr<void> lease,
                 std::function<void(std::shared_ptr<ByteStream>)> done) override {
    Refresh();
    std::make_shared<TlsStream>(std::move(socket), context_, std::move(lease))
        ->Handshake(std::move(done));
  }
  Status TakeReloadError() override { return std::exchange(error_, absl::OkStatus()); }

 private:
  void Refresh() {
    Stamps now = StampsOf(files_);
    if (now == stamps_) return;
    stamps_ = std::move(now);
    auto context = MakeContext(files_);
    if (context.ok())
      context_ = *std::move(context);
    else
      error_ = context.status();
  }

  const TlsFiles files_;
  std::shared_ptr<ssl::context> context_;
  Stamps stamps_;
  Status error_;
};

}  // namespace

StatusOr<std::unique_ptr<Tls>> Tls::Load(const TlsFiles& files) {
  Stamps stamps = StampsOf(files);
  ASSIGN_OR_RETURN(auto context, MakeContext(files));
  return std::make_unique<FileTls>(files, std::move(context), std::move(stamps));
}

}  // namespace gantry::cri::streaming
