#include "cri/spec/user.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\nbroken line\nwww-data:x:33:33::/var/www:/bin/false\n"
    "app:x:1000:1000::/home/app:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n";
constexpr char kGroup[] = "root:x:0:\nwww-data:x:33:\nbuilders:x:50000:app,www-data\n";

StatusOr<ResolvedUser> Resolve(const UserRequest& request) {
  return ResolveUser(request, kPasswd, kGroup);
}

TEST(ResolveUser, EmptyRequestIsRoot) {
  auto user = Resolve({});
  ASSERT_TRUE(user.ok()) << user.status();
  EXPECT_EQ(user->user.uid, 0u);
  EXPECT_EQ(user->home, "/root");
  EXPECT_THAT(user->user.additional_gids, ElementsAre(0));
}

TEST(ResolveUser, ImageUserFormsAreUnderstood) {
  struct Case {
    const char* text;
    uint32_t uid, gid;
  };
  for (const Case& c :
       {Case{"1002", 1002, 0}, Case{"www-data", 33, 33}, Case{"1003:1004", 1003, 1004},
        Case{"www-data:1004", 33, 1004}, Case{"app:builders", 1000, 50000}, Case{"root", 0, 0},
        Case{":33", 0, 33}}) {
    UserRequest request;
    request.image_user = c.text;
    auto user = Resolve(request);
    ASSERT_TRUE(user.ok()) << c.text << ": " << user.status();
    EXPECT_EQ(user->user.uid, c.uid) << c.text;
    EXPECT_EQ(user->user.gid, c.gid) << c.text;
  }
}

TEST(ResolveUser, CVE_2024_40635_CVE_2026_46680_NumbersOutOfRangeAreNeverTakenForNames) {
  for (const char* text : {"4294967295", "4294967296", "99999999999999999999", "1000:4294967296"}) {
    UserRequest request;
    request.image_user = text;
    EXPECT_EQ(Resolve(request).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  UserRequest request;
  request.run_as_user = int64_t{1} << 32;
  EXPECT_EQ(Resolve(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.run_as_user = -1;
  EXPECT_EQ(Resolve(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ResolveUser, UnknownNamesAreNamed) {
  UserRequest request;
  request.run_as_username = "nobody-here";
  EXPECT_THAT(std::string(Resolve(request).status().message()), HasSubstr("\"nobody-here\""));
}

TEST(ResolveUser, GroupWithoutUserIsRefused) {
  UserRequest request;
  request.run_as_group = 5;
  EXPECT_EQ(Resolve(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.run_as_user = 1000;
  auto user = Resolve(request);
  ASSERT_TRUE(user.ok());
  EXPECT_EQ(user->user.gid, 5u);
}

TEST(ResolveUser, MergeAddsTheGroupsOfTheImageAndStrictDoesNot) {
  UserRequest request;
  request.run_as_user = 1000;
  request.supplemental_groups = {7, 50000};
  auto merged = Resolve(request);
  ASSERT_TRUE(merged.ok());
  EXPECT_THAT(merged->user.additional_gids, ElementsAre(1000, 50000, 7));
  request.strict_groups = true;
  auto strict = Resolve(request);
  ASSERT_TRUE(strict.ok());
  EXPECT_THAT(strict->user.additional_gids, ElementsAre(1000, 7, 50000));
}

TEST(ImageUserOf, ExactlyOneOfUidAndNameIsSet) {
  EXPECT_EQ(ImageUserOf("1002").uid, 1002);
  EXPECT_EQ(ImageUserOf("1003:1004").uid, 1003);
  EXPECT_EQ(ImageUserOf("www-data:1004").username, "www-data");
  EXPECT_FALSE(ImageUserOf("www-data").uid.has_value());
  EXPECT_EQ(ImageUserOf("").uid, 0);
}

}  // namespace
}  // namespace gantry::cri
