// TLS for the streaming server: a certificate that is loaded again when its files change.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cri/streaming/byte_stream.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

struct TlsFiles {
  std::string certificate, key;  // PEM; the certificate's chain behind it
  std::string client_ca;         // empty: clients need no certificate
};

// On the io thread, but for Load.
class Tls {
 public:
  virtual ~Tls() = default;
  // kInvalidArgument when the files are not usable.
  static StatusOr<std::unique_ptr<Tls>> Load(const TlsFiles& files);
  // Makes a stream of a connection, TLS 1.2 or newer; `done` is not called when the handshake
  // fails, or takes longer than 10 s: then it is closed. Files that have changed are loaded first;
  // when they are not usable the old ones stay, and the error is in `reload_error`.
  virtual void Handshake(asio::ip::tcp::socket socket, std::shared_ptr<void> lease,
                         std::function<void(std::shared_ptr<ByteStream>)> done) = 0;
  // Why the newest files are not in use; OK when they are. Once for each change.
  virtual Status TakeReloadError() = 0;
};

}  // namespace gantry::cri::streaming
