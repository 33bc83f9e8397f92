// Names of images: docker references, normalised as docker and containerd do, and digests.
//
// Everything here is a check of foreign input: what passed is safe in URLs and as a single path
// component. Grammar: https://github.com/distribution/reference (reference.go); digests: OCI
// image-spec descriptor.md.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

// True for "sha256:" with 64 and "sha512:" with 128 lower-case hexadecimal digits, and for nothing
// else.
bool IsDigest(absl::string_view text);

// kInvalidArgument, naming `text` (cut to a sane length), when it is no digest.
Status CheckDigest(absl::string_view text);

// "sha256:ab…" as a file name: "sha256-ab…". The digest must be valid: it is checked, and a wrong
// one aborts.
std::string DigestFileName(absl::string_view digest);

// Where an OCI image layout keeps the blob: "blobs/sha256/ab…" (image-layout.md, Blobs). As above.
std::string LayoutBlobPath(absl::string_view digest);

// A normalised reference: registry and repository are never empty, and of tag and digest at least
// one is set.
struct Reference {
  std::string registry;    // docker.io, localhost:5000, [::1]:5000
  std::string repository;  // library/busybox
  std::string tag;         // 1.36; empty only when there is a digest
  std::string digest;      // sha256:…; may be empty

  // docker.io/library/busybox
  std::string Name() const;
  // docker.io/library/busybox:1.36, or empty without a tag.
  std::string Tagged() const;
  // docker.io/library/busybox@sha256:…, or empty without a digest.
  std::string Digested() const;
  // All parts: name:tag@digest.
  std::string ToString() const;
};

// Reads name, name:tag, name@digest and name:tag@digest. Without a registry it is docker.io, a name
// of one component there is in library/, and without tag and digest the tag is latest.
// kInvalidArgument says what is wrong.
StatusOr<Reference> ParseReference(absl::string_view text);

}  // namespace gantry::images
