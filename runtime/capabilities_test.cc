#include "runtime/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

namespace gantry::runtime {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};

uint64_t Bit(int capability) { return uint64_t{1} << capability; }

spec::Capabilities Everywhere(const std::vector<std::string>& names) {
  return {.bounding = names,
          .effective = names,
          .inheritable = names,
          .permitted = names,
          .ambient = names};
}

TEST(Capabilities, WithoutAListThereAreNone) {
  const CapabilitySets sets = PlanCapabilities(std::nullopt, kAll);
  EXPECT_EQ(sets.bounding | sets.permitted | sets.effective | sets.inheritable | sets.ambient, 0U);
}

TEST(Capabilities, NamesBecomeBitsOfEachSet) {
  spec::Capabilities wanted;
  wanted.bounding = {"CAP_CHOWN", "CAP_BPF"};
  wanted.permitted = {"CAP_CHOWN"};
  wanted.effective = {"CAP_CHOWN"};
  const CapabilitySets sets = PlanCapabilities(wanted, kAll);
  EXPECT_EQ(sets.bounding, Bit(CAP_CHOWN) | Bit(CAP_BPF));
  EXPECT_EQ(sets.permitted, Bit(CAP_CHOWN));
  EXPECT_EQ(sets.effective, Bit(CAP_CHOWN));
  EXPECT_EQ(sets.inheritable, 0U);
}

TEST(Capabilities, WhatTheRuntimeDoesNotHoldIsLeftOut) {
  const CapabilitySets sets = PlanCapabilities(Everywhere({"CAP_CHOWN", "CAP_SYS_RESOURCE"}),
                                               kAll & ~Bit(CAP_SYS_RESOURCE));
  for (const uint64_t set :
       {sets.bounding, sets.permitted, sets.effective, sets.inheritable, sets.ambient}) {
    EXPECT_EQ(set, Bit(CAP_CHOWN));
  }
}

TEST(Capabilities, AmbientNeedsPermittedAndInheritable) {
  spec::Capabilities wanted = Everywhere({"CAP_CHOWN", "CAP_KILL"});
  wanted.permitted = {"CAP_CHOWN"};
  EXPECT_EQ(PlanCapabilities(wanted, kAll).ambient, Bit(CAP_CHOWN));
  wanted.inheritable = {"CAP_KILL"};
  EXPECT_EQ(PlanCapabilities(wanted, kAll).ambient, 0U);
}

TEST(Capabilities, EffectiveIsCutToPermitted) {
  spec::Capabilities wanted = Everywhere({"CAP_CHOWN", "CAP_KILL"});
  wanted.permitted = {"CAP_KILL"};
  EXPECT_EQ(PlanCapabilities(wanted, kAll).effective, Bit(CAP_KILL));
}

TEST(Capabilities, UnknownNamesAreLeftOut) {
  EXPECT_EQ(PlanCapabilities(Everywhere({"CAP_TELEPORT", "CAP_KILL", ""}), kAll).bounding,
            Bit(CAP_KILL));
}

}  // namespace
}  // namespace gantry::runtime
