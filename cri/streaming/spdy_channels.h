// Exec and Attach over SPDY: a stream a channel, told by its header "streamtype".
#pragma once

#include <memory>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/channels.h"

namespace gantry::cri::streaming {

// `version` is 1 to 4. The session is ready once the client has opened every stream that it needs:
// error, those that were asked for, resize with a terminal (version 3 on). They are matched by
// type, not counted; one that is not needed is reset. Without them after 30 s the client is gone.
void StartSpdyChannels(const std::shared_ptr<ByteStream>& stream, int version,
                       const std::shared_ptr<ChannelSession>& session);

}  // namespace gantry::cri::streaming
