#include "runtime/mount_options.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace gantry::runtime {
namespace {

struct Row {
  const char* description;
  std::vector<std::string> options;
  MountAttributes top;
  MountAttributes all;
  uint64_t propagation;
  bool propagation_recursive;
};

const Row kRows[] = {
    {"nothing asked, nothing set", {}, {}, {}, 0, false},
    {"defaults say nothing", {"defaults", "silent"}, {}, {}, 0, false},
    {"ro is for the mount alone", {"rbind", "ro"}, {MOUNT_ATTR_RDONLY, 0}, {}, 0, false},
    {"rro is for all below", {"rbind", "rro"}, {}, {MOUNT_ATTR_RDONLY, 0}, 0, false},
    {"rw takes ro back", {"ro", "rw"}, {0, MOUNT_ATTR_RDONLY}, {}, 0, false},
    {"the last of two wins", {"rw", "ro"}, {MOUNT_ATTR_RDONLY, 0}, {}, 0, false},
    {"flags add up",
     {"nosuid", "noexec", "nodev"},
     {MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV, 0},
     {},
     0,
     false},
    {"suid and exec clear",
     {"suid", "exec", "dev"},
     {0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV},
     {},
     0,
     false},
    {"a mode of access time clears the field first",
     {"noatime"},
     {MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
     {},
     0,
     false},
    {"a later mode of access time replaces it",
     {"noatime", "strictatime"},
     {MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
     {},
     0,
     false},
    {"relatime is not a recursive anything", {"relatime"}, {0, MOUNT_ATTR__ATIME}, {}, 0, false},
    {"rnosuid is recursive", {"rnosuid"}, {}, {MOUNT_ATTR_NOSUID, 0}, 0, false},
    {"private", {"private"}, {}, {}, MS_PRIVATE, false},
    {"rslave", {"rbind", "rslave"}, {}, {}, MS_SLAVE, true},
    {"rshared", {"rshared"}, {}, {}, MS_SHARED, true},
};

TEST(MountOptions, BecomeAttributes) {
  for (const Row& row : kRows) {
    spec::Mount mount{"/x", "bind", "/y", row.options, {}, {}};
    const auto plan = PlanMount(mount);
    ASSERT_TRUE(plan.ok()) << row.description;
    EXPECT_EQ(plan->top.set, row.top.set) << row.description;
    EXPECT_EQ(plan->top.clear, row.top.clear) << row.description;
    EXPECT_EQ(plan->all.set, row.all.set) << row.description;
    EXPECT_EQ(plan->all.clear, row.all.clear) << row.description;
    EXPECT_EQ(plan->propagation, row.propagation) << row.description;
    EXPECT_EQ(plan->propagation_recursive, row.propagation_recursive) << row.description;
    EXPECT_TRUE(plan->data.empty()) << row.description;
  }
}

TEST(MountOptions, ABindIsOneByTypeOrByOption) {
  EXPECT_TRUE(PlanMount({"/x", "bind", "/y", {}, {}, {}})->bind);
  EXPECT_FALSE(PlanMount({"/x", "bind", "/y", {}, {}, {}})->recursive);
  EXPECT_TRUE(PlanMount({"/x", "none", "/y", {"rbind"}, {}, {}})->recursive);
  EXPECT_FALSE(PlanMount({"/x", "tmpfs", "tmpfs", {"ro"}, {}, {}})->bind);
}

TEST(MountOptions, TheRestIsForTheFileSystem) {
  const auto plan =
      PlanMount({"/x", "tmpfs", "t", {"size=1m", "nosuid", "inode64", "mode=0"}, {}, {}});
  ASSERT_TRUE(plan.ok());
  const std::vector<MountOption> expected = {{"size", "1m"}, {"inode64", ""}, {"mode", "0"}};
  EXPECT_EQ(plan->data, expected);
}

TEST(MountOptions, WhatCannotBeHonouredIsRefused) {
  for (const char* option : {"remount", "tmpcopyup", "idmap", "ridmap"}) {
    EXPECT_EQ(PlanMount({"/x", "tmpfs", "t", {option}, {}, {}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << option;
  }
}

TEST(MountOptions, ABindWithMappingsIsIdMapped) {
  const std::vector<spec::IdMapping> ids = {{0, 100000, 65536}};
  const auto plain = PlanMount({"/x", "bind", "/y", {"rbind"}, {}, {}});
  ASSERT_TRUE(plain.ok());
  EXPECT_FALSE(plain->id_mapped);
  const auto top = PlanMount({"/x", "bind", "/y", {"rbind"}, ids, ids});
  ASSERT_TRUE(top.ok());
  EXPECT_TRUE(top->id_mapped);
  EXPECT_FALSE(top->id_mapped_all);
  const auto all = PlanMount({"/x", "bind", "/y", {"rbind", "ridmap"}, ids, ids});
  ASSERT_TRUE(all.ok());
  EXPECT_TRUE(all->id_mapped_all);
  EXPECT_FALSE(PlanMount({"/x", "bind", "/y", {"rbind"}, ids, {}}).ok());
  EXPECT_FALSE(PlanMount({"/x", "bind", "/y", {"rbind", "idmap"}, {}, {}}).ok());
  EXPECT_FALSE(PlanMount({"/x", "tmpfs", "t", {}, ids, ids}).ok());
}

TEST(MountOptions, PropagationHasEightNames) {
  EXPECT_EQ(*PropagationFlags("private"), static_cast<unsigned long>(MS_PRIVATE));
  EXPECT_EQ(*PropagationFlags("rslave"), static_cast<unsigned long>(MS_SLAVE | MS_REC));
  EXPECT_FALSE(PropagationFlags("rrprivate").ok());
  EXPECT_FALSE(PropagationFlags("").ok());
}

}  // namespace
}  // namespace gantry::runtime
