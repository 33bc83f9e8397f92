#include "runtime/program.h"

#include <gtest/gtest.h>

namespace gantry::runtime {
namespace {

using Strings = std::vector<std::string>;

TEST(Program, ANameWithASlashIsNotLookedUp) {
  EXPECT_EQ(ProgramCandidates("/bin/sh", {"PATH=/usr/bin"}), Strings{"/bin/sh"});
  EXPECT_EQ(ProgramCandidates("./run", {"PATH=/usr/bin"}), Strings{"./run"});
}

TEST(Program, ANameIsLookedUpInThePathOfItsOwnEnvironment) {
  EXPECT_EQ(ProgramCandidates("sh", {"A=1", "PATH=/a:/b/c:"}), (Strings{"/a/sh", "/b/c/sh"}));
  EXPECT_EQ(ProgramCandidates("sh", {"PATH="}), Strings{});
  EXPECT_EQ(ProgramCandidates("", {"PATH=/a"}), Strings{});
}

TEST(Program, WithoutAPathTheUsualOneServes) {
  EXPECT_EQ(ProgramCandidates("sh", {"PATHS=/a"}).size(), 6U);
}

TEST(Program, HomeIsReadFromPasswd) {
  const std::string passwd =
      "root:x:0:0:root:/root:/bin/sh\nbroken line\nweb:x:33:33::/var/www:\nnone:x:40:40:::\n";
  EXPECT_EQ(HomeOf(passwd, 0), "/root");
  EXPECT_EQ(HomeOf(passwd, 33), "/var/www");
  EXPECT_EQ(HomeOf(passwd, 40), "/");
  EXPECT_EQ(HomeOf(passwd, 4242), "/");
  EXPECT_EQ(HomeOf("", 0), "/");
}

}  // namespace
}  // namespace gantry::runtime
