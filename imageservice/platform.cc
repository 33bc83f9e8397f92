#include "imageservice/platform.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

struct Alias {
  const char* written;
  const char* architecture;
  const char* variant;
};
constexpr Alias kAliases[] = {
    {"x86_64", "amd64", ""}, {"x86-64", "amd64", ""}, {"aarch64", "arm64", ""}, {"i386", "386", ""},
    {"x86", "386", ""},      {"armhf", "arm", "v7"},  {"armel", "arm", "v6"}};

int VariantLevel(const std::string& variant) {
  if (variant.empty()) return 1;
  if (variant.size() != 2 || variant[0] != 'v' || variant[1] < '1' || variant[1] > '9') return -1;
  return variant[1] - '0';
}

}  // namespace

Platform NodePlatform() {
#if defined(__x86_64__)
  // By what sets each level apart: clang 14 does not know the levels' own names.
  const char* variant = "v1";
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) variant = "v2";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) variant = "v3";
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) variant = "v4";
  return {"linux", "amd64", variant};
#elif defined(__aarch64__)
  return {"linux", "arm64", "v8"};
#else
#error "an architecture without a name in images"
#endif
}

Platform Normalised(Platform platform) {
  for (std::string* text : {&platform.os, &platform.architecture, &platform.variant})
    absl::AsciiStrToLower(text);
  for (const Alias& alias : kAliases) {
    if (platform.architecture != alias.written) continue;
    platform.architecture = alias.architecture;
    if (*alias.variant != '\0') platform.variant = alias.variant;
    break;
  }
  if (platform.architecture == "arm" && platform.variant.empty()) platform.variant = "v7";
  if (platform.variant.size() == 1 && absl::ascii_isdigit(platform.variant[0]))
    platform.variant.insert(0, "v");
  return platform;
}

int PlatformRank(const Platform& offered, const Platform& node) {
  if (offered.os != node.os || !offered.features.empty()) return -1;
  const int level = VariantLevel(offered.variant);
  if (level < 0) return -1;
  if (offered.architecture == node.architecture) {
    if (node.architecture == "arm64")
      return offered.variant.empty() || level <= 8 ? 100 + level : -1;
    return level <= std::max(VariantLevel(node.variant), 1) ? 100 + level : -1;
  }
  if (node.architecture == "amd64" && offered.architecture == "386") return 1;
  if (node.architecture == "arm64" && offered.architecture == "arm" && level >= 5 && level <= 8)
    return 10 + level;
  return -1;
}

std::string Describe(const Platform& platform) {
  if (platform == Platform{}) return "unnamed";
  return absl::StrCat(platform.os, "/", platform.architecture, platform.variant.empty() ? "" : "/",
                      platform.variant);
}

}  // namespace gantry::images
