#include "cri/apparmor.h"

#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

using Kind = AppArmorRequest::Kind;

v1::LinuxContainerSecurityContext Field(v1::SecurityProfile::ProfileType type,
                                        const std::string& reference = "") {
  v1::LinuxContainerSecurityContext security;
  security.mutable_apparmor()->set_profile_type(type);
  security.mutable_apparmor()->set_localhost_ref(reference);
  return security;
}

v1::LinuxContainerSecurityContext Old(const std::string& profile) {
  v1::LinuxContainerSecurityContext security;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  security.set_apparmor_profile(profile);
#pragma GCC diagnostic pop
  return security;
}

TEST(AppArmorRequest, TheFieldAndItsPredecessorAreUnderstood) {
  const struct {
    const char* description;
    v1::LinuxContainerSecurityContext security;
    Kind kind;
    const char* name;
  } rows[] = {
      {"nothing", {}, Kind::kDefault, ""},
      {"default", Field(v1::SecurityProfile::RuntimeDefault), Kind::kDefault, ""},
      {"unconfined", Field(v1::SecurityProfile::Unconfined), Kind::kUnconfined, ""},
      {"named", Field(v1::SecurityProfile::Localhost, "mine"), Kind::kNamed, "mine"},
      {"named as of old", Field(v1::SecurityProfile::Localhost, "localhost/mine"), Kind::kNamed,
       "mine"},
      {"old default", Old("runtime/default"), Kind::kDefault, ""},
      {"old unconfined", Old("unconfined"), Kind::kUnconfined, ""},
      {"old named", Old("localhost/mine"), Kind::kNamed, "mine"},
  };
  for (const auto& row : rows) {
    const auto request = AppArmorRequestOf(row.security);
    ASSERT_TRUE(request.ok()) << row.description;
    EXPECT_EQ(request->kind, row.kind) << row.description;
    EXPECT_EQ(request->name, row.name) << row.description;
  }
  v1::LinuxContainerSecurityContext both = Old("localhost/old");
  both.mutable_apparmor()->set_profile_type(v1::SecurityProfile::Unconfined);
  EXPECT_EQ(AppArmorRequestOf(both)->kind, Kind::kUnconfined) << "the field has the last word";
}

TEST(AppArmorRequest, WhatNamesNothingIsRefused) {
  for (const auto& security : {Field(v1::SecurityProfile::Localhost), Old("localhost/"), Old("x")})
    EXPECT_TRUE(absl::IsInvalidArgument(AppArmorRequestOf(security).status()));
}

TEST(AppArmor, AProfileThatIsNotThereIsNamed) {
  AppArmor apparmor;
  const auto profile =
      apparmor.ProfileFor(Field(v1::SecurityProfile::Localhost, "no-such-profile-anywhere"));
  EXPECT_TRUE(absl::IsInvalidArgument(profile.status()));
  EXPECT_NE(profile.status().message().find("no-such-profile-anywhere"), absl::string_view::npos);
}

}  // namespace
}  // namespace gantry::cri
