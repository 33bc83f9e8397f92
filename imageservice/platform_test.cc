#include "imageservice/platform.h"

#include <string>

#include "gtest/gtest.h"

namespace gantry::images {
namespace {

TEST(PlatformRank, TheMostSpecificThatRunsIsBest) {
  const Platform v3{"linux", "amd64", "v3"}, arm{"linux", "arm64", "v8"};
  const struct {
    Platform node, better, worse;
  } rows[] = {
      {v3, {"linux", "amd64", "v3"}, {"linux", "amd64", "v2"}},
      {v3, {"linux", "amd64", "v2"}, {"linux", "amd64", ""}},
      {v3, {"linux", "amd64", ""}, {"linux", "386", ""}},
      {v3, {"linux", "386", ""}, {"linux", "amd64", "v4"}},
      {arm, {"linux", "arm64", "v8"}, {"linux", "arm", "v8"}},
      {arm, {"linux", "arm64", ""}, {"linux", "arm", "v8"}},
      {arm, {"linux", "arm", "v8"}, {"linux", "arm", "v7"}},
      {arm, {"linux", "arm", "v7"}, {"linux", "arm", "v6"}},
      {arm, {"linux", "arm", "v6"}, {"linux", "arm", "v5"}},
      {arm, {"linux", "arm", "v5"}, {"linux", "amd64", ""}},
  };
  for (const auto& row : rows) {
    EXPECT_GT(PlatformRank(row.better, row.node), PlatformRank(row.worse, row.node))
        << Describe(row.better) << " and " << Describe(row.worse);
  }
}

TEST(PlatformRank, WhatDoesNotRunIsNegative) {
  const Platform v2{"linux", "amd64", "v2"};
  for (const Platform& offered :
       {Platform{"linux", "amd64", "v3"}, Platform{"linux", "arm64", ""},
        Platform{"linux", "arm", "v7"}, Platform{"windows", "amd64", ""},
        Platform{"unknown", "unknown", ""}, Platform{"linux", "amd64", "vx"},
        Platform{"linux", "amd64", "", {"win32k"}}}) {
    EXPECT_LT(PlatformRank(offered, v2), 0) << Describe(offered);
  }
  EXPECT_LT(PlatformRank({"linux", "386", ""}, {"linux", "arm64", "v8"}), 0);
  EXPECT_LT(PlatformRank({"linux", "amd64", ""}, {"linux", "riscv64", ""}), 0);
}

TEST(Platform, OtherSpellingsAreTheSame) {
  const struct {
    Platform written, meant;
  } rows[] = {
      {{"Linux", "x86_64", ""}, {"linux", "amd64", ""}},
      {{"linux", "aarch64", "8"}, {"linux", "arm64", "v8"}},
      {{"linux", "i386", ""}, {"linux", "386", ""}},
      {{"linux", "armhf", ""}, {"linux", "arm", "v7"}},
      {{"linux", "armel", ""}, {"linux", "arm", "v6"}},
      {{"linux", "arm", ""}, {"linux", "arm", "v7"}},
      {{"linux", "arm", "6"}, {"linux", "arm", "v6"}},
      {{"", "", ""}, {"", "", ""}},
  };
  for (const auto& row : rows) EXPECT_EQ(Normalised(row.written), row.meant) << Describe(row.meant);
}

TEST(Platform, ThisMachineHasOne) {
  const Platform node = NodePlatform();
  EXPECT_EQ(node.os, "linux");
  EXPECT_EQ(node, Normalised(node));
  EXPECT_GE(PlatformRank(node, node), 100);
  EXPECT_EQ(Describe({}), "unnamed");
  EXPECT_EQ(Describe({"linux", "arm", "v7"}), "linux/arm/v7");
}

}  // namespace
}  // namespace gantry::images
