// The one place where it is decided whether an image may be used at all: after its name has been
// resolved and before anything of its manifest is read.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/reference.h"
#include "runtime/base/status.h"

namespace gantry::images {

// What a policy may judge by. The bytes are those that `digest` names; they have not been parsed.
struct PullCandidate {
  const Reference& reference;  // as asked for, normalised
  const std::string& digest;   // of the manifest or index that it names
  absl::string_view manifest;  // its bytes
  const std::string& from;     // the URL that gave it
};

// OK: the image may be used. kDataLoss: it is not what the reference's own digest names (a second
// look: whoever fetched it has compared them too). Rules of an operator (signatures, allowed
// registries) belong here, with kPermissionDenied. Runs in the confined puller; any thread.
Status CheckPullPolicy(const PullCandidate& candidate);

}  // namespace gantry::images
