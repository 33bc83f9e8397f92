// Ids inside and outside of a user namespace: arithmetic and text.
#include "runtime/id_maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/identity.h"

namespace gantry::runtime {
namespace {

const IdMaps kMaps = {.uids = {{0, 100000, 65536}}, .gids = {{0, 200000, 10}, {20, 300000, 5}}};

TEST(IdMaps, AnIdIsTheHostsByItsExtent) {
  EXPECT_EQ(HostId(kMaps.uids, 0), 100000U);
  EXPECT_EQ(HostId(kMaps.uids, 65535), 165535U);
  EXPECT_EQ(HostId(kMaps.uids, 65536), std::nullopt);
  EXPECT_EQ(HostId(kMaps.gids, 9), 200009U);
  EXPECT_EQ(HostId(kMaps.gids, 10), std::nullopt);
  EXPECT_EQ(HostId(kMaps.gids, 24), 300004U);
  EXPECT_EQ(HostId({}, 0), std::nullopt);
}

TEST(IdMaps, RootNeedsBothItsIds) {
  const auto root = HostRoot(kMaps);
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->uid, 100000U);
  EXPECT_EQ(root->gid, 200000U);
  EXPECT_EQ(HostRoot({kMaps.uids, {{1, 5, 5}}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(HostRoot({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(IdMaps, TheTextIsTheKernels) {
  EXPECT_EQ(IdMapText(kMaps.gids), "0 200000 10\n20 300000 5\n");
  const auto parsed = ParseIdMap("         0     100000      65536\n         7          1  3\n");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(IdMapText(*parsed), "0 100000 65536\n7 1 3\n");
  for (const char* wrong : {"0 1", "a 1 2", "0 1 2 3", "0 -1 2", "0 1 4294967296"}) {
    EXPECT_FALSE(ParseIdMap(wrong).ok()) << wrong;
  }
}

TEST(IdMaps, MountsWithOneMappingShareAKey) {
  EXPECT_EQ(IdMapKey(kMaps.uids, kMaps.gids), IdMapKey(kMaps.uids, kMaps.gids));
  EXPECT_NE(IdMapKey(kMaps.uids, kMaps.gids), IdMapKey(kMaps.gids, kMaps.uids));
}

TEST(IdMaps, AUserIsMappedWholeOrNotAtAll) {
  EXPECT_EQ(HostUser({.uid = 7, .gid = 7}, {}).value_or(0), 7U);
  EXPECT_EQ(HostUser({.uid = 7, .gid = 7, .additional_gids = {0, 20}}, kMaps).value_or(0), 100007U);
  EXPECT_EQ(HostUser({.uid = 70000, .gid = 0}, kMaps).status().message(),
            "user 70000 is not mapped in the container's user namespace");
  EXPECT_EQ(HostUser({.uid = 0, .gid = 11}, kMaps).status().message(),
            "group 11 is not mapped in the container's user namespace");
  EXPECT_EQ(HostUser({.uid = 0, .gid = 0, .additional_gids = {0, 15}}, kMaps).status().message(),
            "supplementary group 15 is not mapped in the container's user namespace");
}

}  // namespace
}  // namespace gantry::runtime
