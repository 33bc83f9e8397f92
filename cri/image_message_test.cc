#include "cri/image_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

images::Image Busybox() {
  images::Image image;
  image.id = "sha256:ab";
  image.repo_tags = {"docker.io/library/busybox:2", "docker.io/library/busybox:1"};
  image.repo_digests = {"docker.io/z@sha256:2", "docker.io/a@sha256:1"};
  image.size = 1234;
  image.layers = {"sha256:l1", "sha256:l2"};
  image.diff_ids = {"sha256:d1", "sha256:d2"};
  return image;
}

TEST(ImageMessage, ListsNamesInOrder) {
  const v1::Image message = ImageMessage(Busybox(), {});
  EXPECT_EQ(message.id(), "sha256:ab");
  EXPECT_EQ(message.spec().image(), "sha256:ab");
  EXPECT_EQ(message.size(), 1234u);
  EXPECT_FALSE(message.pinned());
  EXPECT_THAT(message.repo_tags(),
              ElementsAre("docker.io/library/busybox:1", "docker.io/library/busybox:2"));
  EXPECT_THAT(message.repo_digests(), ElementsAre("docker.io/a@sha256:1", "docker.io/z@sha256:2"));
}

TEST(DigestedReference, IsOfTheRepositoryThatTheUserNamed) {
  images::Image image = Busybox();
  image.repo_digests = {"docker.io/library/a@sha256:1", "docker.io/library/zz@sha256:3",
                        "docker.io/library/z@sha256:2"};
  EXPECT_EQ(DigestedReference(image, "z:latest"), "docker.io/library/z@sha256:2");
  EXPECT_EQ(DigestedReference(image, "docker.io/library/a"), "docker.io/library/a@sha256:1");
  EXPECT_EQ(DigestedReference(image, "elsewhere.example/z:1"), "docker.io/library/a@sha256:1");
  EXPECT_EQ(DigestedReference(image, "sha256:ab"), "docker.io/library/a@sha256:1");
}

TEST(DigestedReference, IsTheDigestThatTheUserNamed) {
  images::Image image = Busybox();
  const std::string wanted = "docker.io/library/z@sha256:" + std::string(64, 'b');
  image.repo_digests = {"docker.io/library/z@sha256:" + std::string(64, 'a'), wanted};
  EXPECT_EQ(DigestedReference(image, wanted), wanted);
}

TEST(DigestedReference, IsTheIdWithoutDigests) {
  images::Image image = Busybox();
  image.repo_digests.clear();
  EXPECT_EQ(DigestedReference(image, "docker.io/library/busybox:1"), "sha256:ab");
}

TEST(ImageMessage, IsPinnedByAnyOfItsNames) {
  struct Case {
    const char* description;
    const char* pin;
    bool pinned;
  };
  const Case cases[] = {
      {"the full name", "docker.io/library/busybox:1", true},
      {"as users write it", "busybox:2", true},
      {"another tag", "busybox:3", false},
      {"without a tag it is latest", "busybox", false},
      {"the beginning of a name is no name", "docker.io/library/busy", false},
      {"all tags", "docker.io/library/busybox:*", true},
      {"all of a registry", "docker.io/*", true},
      {"a word anywhere", "*/busybox*", true},
      {"short names are no patterns", "busybox:*", false},
      {"a digest", "docker.io/a@sha256:1*", true},
      {"a backslash is one", "docker.io/library/busybox\\:1", false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(ImageMessage(Busybox(), {"other:1", c.pin}).pinned(), c.pinned) << c.description;
    EXPECT_THAT(ImageDetailJson(Busybox(), c.pinned),
                HasSubstr(c.pinned ? R"("pinned":true)" : R"("pinned":false)"));
  }
}

TEST(ImageMessage, SetsEitherUidOrUsername) {
  struct Case {
    const char* description;
    const char* user;
    std::optional<int64_t> uid;
    const char* username;
  };
  const Case cases[] = {
      {"no user is root", "", 0, ""},
      {"a number", "1002", 1002, ""},
      {"a number with a group", "1003:1004", 1003, ""},
      {"a name", "www-data", std::nullopt, "www-data"},
      {"a name with a group", "www-data:1004", std::nullopt, "www-data"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.description);
    images::Image image = Busybox();
    image.config.user = c.user;
    const v1::Image message = ImageMessage(image, {});
    EXPECT_EQ(message.has_uid(), c.uid.has_value());
    EXPECT_EQ(message.uid().value(), c.uid.value_or(0));
    EXPECT_EQ(message.username(), c.username);
  }
}

TEST(ImageDetailJson, HasTheKeysOfTheImageSpecification) {
  images::Image image = Busybox();
  image.config.user = "1002";
  image.config.cmd = {"sh", "-c", "exit"};
  image.config.volumes = {"/data"};
  image.config.labels = {{"a", "b"}};
  image.config.healthcheck_json = R"({"Test":["NONE"]})";
  const std::string json = ImageDetailJson(image, false);
  EXPECT_THAT(json, HasSubstr(R"("User":"1002")"));
  EXPECT_THAT(json, HasSubstr(R"("Cmd":["sh","-c","exit"])"));
  EXPECT_THAT(json, HasSubstr(R"("Volumes":{"/data":{}})"));
  EXPECT_THAT(json, HasSubstr(R"("Labels":{"a":"b"})"));
  EXPECT_THAT(json, HasSubstr(R"("Healthcheck":{"Test":["NONE"]})"));
  EXPECT_THAT(json, HasSubstr(R"("diff_ids":["sha256:d1","sha256:d2"])"));
  EXPECT_THAT(json, HasSubstr(R"({"diffID":"sha256:d1","digest":"sha256:l1"})"));
}

TEST(ImageDetailJson, LeavesOutWhatTheImageDoesNotSay) {
  EXPECT_THAT(ImageDetailJson(Busybox(), false), Not(HasSubstr("Entrypoint")));
}

TEST(ImageDetailJson, BytesThatAreNotUtf8DoNotStopIt) {
  images::Image image = Busybox();
  image.config.working_dir = "/\xff";
  image.config.healthcheck_json = "not JSON";
  EXPECT_THAT(ImageDetailJson(image, false), HasSubstr(R"("Healthcheck":"not JSON")"));
}

}  // namespace
}  // namespace gantry::cri
