#include "imageservice/pull_policy.h"

#include "absl/strings/str_cat.h"

#include "imageservice/digester.h"

namespace gantry::images {

Status CheckPullPolicy(const PullCandidate& candidate) {
  ASSIGN_OR_RETURN(const std::string digest, DigestOf(candidate.manifest, candidate.digest));
  const std::string& named = candidate.reference.digest;
  if (digest == candidate.digest && (named.empty() || named == digest)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("it has digest ", digest, ", not ", named.empty() ? candidate.digest : named));
}

}  // namespace gantry::images
