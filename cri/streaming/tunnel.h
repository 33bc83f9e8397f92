// A byte stream inside of a WebSocket's binary messages: SPDY of Kubernetes' port-forward
// (SPDY/3.1+portforward.k8s.io).
#pragma once

#include <functional>
#include <memory>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/http_request.h"

namespace gantry::cri::streaming {

// `opened` is given the stream once the upgrade is done; never, when that fails.
void StartTunnel(const std::shared_ptr<ByteStream>& outer, const HttpRequest& request,
                 const std::string& protocol,
                 std::function<void(std::shared_ptr<ByteStream>)> opened);

}  // namespace gantry::cri::streaming
