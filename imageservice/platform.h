// Platforms of images (OCI image-spec image-index.md, GOOS and GOARCH names) and which of them this
// machine runs. Pure but for NodePlatform, which looks at the processor.
#pragma once

#include <string>
#include <vector>

namespace gantry::images {

struct Platform {
  std::string os{}, architecture{}, variant{};
  std::vector<std::string> features{};  // os.features: the system must have them all
  bool operator==(const Platform&) const = default;
};

// This machine: linux, and amd64 with its level (v1 to v4) or arm64 with v8.
Platform NodePlatform();

// In the names that are compared: lower case; x86_64 is amd64, aarch64 is arm64, i386 and x86 are
// 386, armhf is arm v7 and armel arm v6; arm without a variant is v7; a variant of digits alone
// gets its v.
Platform Normalised(Platform platform);

// How well `node` runs `offered`: higher is better, negative is not at all. amd64 levels downwards,
// then 386; arm64, then arm v8 to v5. What wants system features is not for us: linux has none by
// that name.
int PlatformRank(const Platform& offered, const Platform& node);

// "linux/arm/v7", or "unnamed".
std::string Describe(const Platform& platform);

}  // namespace gantry::images
