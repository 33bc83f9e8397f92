// The one message that a gantry-unpacker sends before it exits (unpacker_main.cc), as gantryd takes
// it: from a process that nobody trusts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/base/status.h"

namespace gantry::images {

struct UnpackerReply {
  Status
      failure;  // what it could not do: kDataLoss, kResourceExhausted, kInvalidArgument, kInternal
  std::string diff_id;  // a digest; empty from one that packed
  uint64_t tar_bytes = 0;
};

// Never waits: nothing when there is no message yet. kAborted: it has gone without a word;
// kInternal: what it sent is no reply.
StatusOr<std::optional<UnpackerReply>> ReceiveUnpackerReply(int control);

}  // namespace gantry::images
