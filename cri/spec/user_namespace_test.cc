// What may be asked for as a user namespace, and what the spec of a container in one says.
#include "cri/spec/user_namespace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cri/spec/container_spec.h"

namespace gantry::cri {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

void Map(google::protobuf::RepeatedPtrField<v1::IDMapping>* mappings, uint32_t container_id,
         uint32_t host_id, uint32_t length) {
  v1::IDMapping* mapping = mappings->Add();
  mapping->set_container_id(container_id);
  mapping->set_host_id(host_id);
  mapping->set_length(length);
}

v1::NamespaceOption Options(v1::NamespaceMode mode) {
  v1::NamespaceOption options;
  options.mutable_userns_options()->set_mode(mode);
  return options;
}

v1::NamespaceOption Mapped(uint32_t container_id, uint32_t host_id, uint32_t length) {
  v1::NamespaceOption options = Options(v1::POD);
  Map(options.mutable_userns_options()->mutable_uids(), container_id, host_id, length);
  Map(options.mutable_userns_options()->mutable_gids(), container_id, host_id, length);
  return options;
}

std::string Refusal(const v1::NamespaceOption& options) {
  const Status status = CheckUserNamespace(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(UserNamespace, Row85OneMappingOfEachFromIdZeroIsTaken) {
  EXPECT_TRUE(CheckUserNamespace({}).ok());
  EXPECT_TRUE(CheckUserNamespace(Options(v1::NODE)).ok());
  EXPECT_TRUE(CheckUserNamespace(Mapped(0, 100000, 65536)).ok());
  EXPECT_TRUE(CheckUserNamespace(Mapped(0, 4294967294, 1)).ok());
}

TEST(UserNamespace, Row85TwoMappingsOrNoneAreRefused) {
  v1::NamespaceOption options = Mapped(0, 1000, 10);
  Map(options.mutable_userns_options()->mutable_uids(), 20, 5000, 10);
  EXPECT_EQ(Refusal(options), "userns_options.uids: 2 mappings; exactly one is supported");
  options = Mapped(0, 1000, 10);
  options.mutable_userns_options()->clear_gids();
  EXPECT_EQ(Refusal(options), "userns_options.gids: 0 mappings; exactly one is supported");
}

TEST(UserNamespace, Row85AMappingWithoutIdZeroIsRefused) {
  EXPECT_THAT(Refusal(Mapped(1, 1000, 10)), HasSubstr("id 0 of the container is not mapped"));
}

TEST(UserNamespace, AnExtentThatIsNoneIsRefused) {
  EXPECT_THAT(Refusal(Mapped(0, 1000, 0)), HasSubstr("length is 0"));
  EXPECT_THAT(Refusal(Mapped(0, 4294967294, 2)), HasSubstr("4294967294, the last id"));
  EXPECT_THAT(Refusal(Mapped(0, 1, 4294967295)), HasSubstr("the last id"));
}

TEST(UserNamespace, OtherModesAreRefused) {
  EXPECT_THAT(Refusal(Options(v1::CONTAINER)), HasSubstr("mode CONTAINER is not supported"));
  EXPECT_THAT(Refusal(Options(v1::TARGET)), HasSubstr("mode TARGET is not supported"));
  v1::NamespaceOption node = Mapped(0, 1000, 10);
  node.mutable_userns_options()->set_mode(v1::NODE);
  EXPECT_THAT(Refusal(node), HasSubstr("NODE takes no mappings"));
}

TEST(UserNamespace, AContainerHasThatOfItsSandbox) {
  const v1::NamespaceOption pod = Mapped(0, 100000, 65536);
  EXPECT_TRUE(CheckUserNamespaceOfPod(pod, {}).ok());
  EXPECT_TRUE(CheckUserNamespaceOfPod(pod, pod).ok());
  EXPECT_TRUE(CheckUserNamespaceOfPod({}, Options(v1::NODE)).ok());
  EXPECT_THAT(std::string(CheckUserNamespaceOfPod(pod, Options(v1::NODE)).message()),
              HasSubstr("asks for the host's user namespace, its sandbox has the pod's"));
  EXPECT_THAT(std::string(CheckUserNamespaceOfPod({}, pod).message()),
              HasSubstr("asks for the pod's user namespace, its sandbox has the host's"));
  EXPECT_THAT(std::string(CheckUserNamespaceOfPod(pod, Mapped(0, 200000, 65536)).message()),
              HasSubstr("mappings are not those of its sandbox"));
}

TEST(UserNamespace, IdsAreSharedWhenExtentsMeet) {
  const auto ids = [](uint32_t first, uint32_t length) {
    return IdMapsOf(Mapped(0, first, length));
  };
  EXPECT_FALSE(SharesIds(ids(1000, 10), ids(1010, 10)));
  EXPECT_TRUE(SharesIds(ids(1000, 11), ids(1010, 10)));
  EXPECT_TRUE(SharesIds(ids(1000, 100), ids(1010, 1)));
  EXPECT_FALSE(SharesIds(ids(1000, 100), {}));
  runtime::IdMaps by_group = ids(5000, 10);
  by_group.gids = ids(1000, 10).gids;
  EXPECT_TRUE(SharesIds(ids(1000, 10), by_group));
  EXPECT_TRUE(SharesIds(ids(4294967290, 4), ids(4294967293, 1)));
}

class SpecInUserNamespace : public ::testing::Test {
 protected:
  SpecInUserNamespace() {
    *sandbox_.mutable_linux()->mutable_security_context()->mutable_namespace_options() =
        Mapped(0, 100000, 65536);
    container_.add_command("true");
    input_.sandbox = &sandbox_;
    input_.container = &container_;
    input_.image = &image_;
    input_.user = &user_;
    input_.held_capabilities = {"CAP_CHOWN"};
  }

  v1::PodSandboxConfig sandbox_;
  v1::ContainerConfig container_;
  images::ImageConfig image_;
  ResolvedUser user_;
  SpecInput input_;
};

TEST_F(SpecInUserNamespace, TheSandboxMakesItFirstAndTheContainerJoinsIt) {
  EXPECT_EQ(SandboxNamespaces(sandbox_).front(), "user");
  const auto spec = ContainerSpec(input_);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->linux_.namespaces, Contains(Field(&spec::Namespace::type, "user")));
  ASSERT_EQ(spec->linux_.uid_mappings.size(), 1U);
  EXPECT_EQ(spec->linux_.uid_mappings[0].host_id, 100000U);
}

TEST_F(SpecInUserNamespace, AVolumeWithMappingsIsMappedWithAllBelowIt) {
  v1::Mount* mount = container_.add_mounts();
  mount->set_container_path("data");
  mount->set_host_path("/srv");
  Map(mount->mutable_uidmappings(), 0, 100000, 65536);
  EXPECT_THAT(std::string(ContainerSpec(input_).status().message()),
              HasSubstr("mount of \"data\": uidMappings and gidMappings go together"));
  Map(mount->mutable_gidmappings(), 0, 100000, 65536);
  const auto spec = ContainerSpec(input_);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto data = std::find_if(spec->mounts.begin(), spec->mounts.end(),
                                 [](const auto& made) { return made.destination == "/data"; });
  ASSERT_NE(data, spec->mounts.end());
  EXPECT_THAT(data->options, Contains("ridmap"));
  EXPECT_EQ(data->gid_mappings.size(), 1U);
}

TEST_F(SpecInUserNamespace, OuterPlacesComeFirstWhoeverAsksForThem) {
  v1::Mount* mount = container_.add_mounts();
  mount->set_container_path("/etc//");
  mount->set_host_path("/srv");
  const auto spec = ContainerSpec(input_);
  ASSERT_TRUE(spec.ok()) << spec.status();
  std::vector<std::string> places;
  for (const spec::Mount& made : spec->mounts) places.push_back(made.destination);
  const auto at = [&](const char* place) {
    return std::find(places.begin(), places.end(), place) - places.begin();
  };
  EXPECT_LT(at("/etc//"), at("/etc/resolv.conf"));
  EXPECT_LT(at("/dev"), at("/dev/shm"));
  EXPECT_LT(at("/sys"), at("/sys/fs/cgroup"));
}

TEST_F(SpecInUserNamespace, ADeviceIsTheHostsOwnNode) {
  v1::Device* device = container_.add_devices();
  device->set_host_path("/dev/null");
  device->set_container_path("/dev/nothing");
  device->set_permissions("r");
  const auto spec = ContainerSpec(input_);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->linux_.devices.empty());
  EXPECT_EQ(spec->mounts.back().destination, "/dev/nothing");
  EXPECT_EQ(spec->mounts.back().source, "/dev/null");
  EXPECT_EQ(spec->linux_.resources->devices.back().access, "r");
}

TEST_F(SpecInUserNamespace, EmptyListsUnmaskProcAndOnTheHostTheyDoNot) {
  ASSERT_TRUE(ContainerSpec(input_).ok());
  EXPECT_TRUE(ContainerSpec(input_)->linux_.masked_paths.empty());
  EXPECT_TRUE(ContainerSpec(input_)->linux_.readonly_paths.empty());
  auto* security = container_.mutable_linux()->mutable_security_context();
  security->add_masked_paths("/proc/kcore");
  security->add_readonly_paths("/proc/sys");
  EXPECT_THAT(ContainerSpec(input_)->linux_.masked_paths, ElementsAre("/proc/kcore"));
  EXPECT_THAT(ContainerSpec(input_)->linux_.readonly_paths, ElementsAre("/proc/sys"));
  container_.clear_linux();
  sandbox_.clear_linux();
  ASSERT_TRUE(ContainerSpec(input_).ok()) << ContainerSpec(input_).status();
  EXPECT_THAT(ContainerSpec(input_)->linux_.masked_paths, Contains("/proc/kcore"));
  EXPECT_THAT(ContainerSpec(input_)->linux_.readonly_paths, Contains("/proc/sys"));
}

TEST_F(SpecInUserNamespace, BidirectionalPropagationIsRefused) {
  v1::Mount* mount = container_.add_mounts();
  mount->set_container_path("/data");
  mount->set_host_path("/srv");
  mount->set_propagation(v1::PROPAGATION_BIDIRECTIONAL);
  EXPECT_THAT(std::string(ContainerSpec(input_).status().message()),
              HasSubstr("bidirectional propagation does not work out of a user namespace"));
}

TEST_F(SpecInUserNamespace, Row77AnImageVolumeIsReadOnlyAndNothingElse) {
  v1::Mount* mount = container_.add_mounts();
  mount->set_container_path("/data");
  mount->mutable_image()->set_image("volume:1");
  const auto refusal = [this] { return std::string(ContainerSpec(input_).status().message()); };
  EXPECT_THAT(refusal(),
              HasSubstr("mount of \"/data\": a volume made of an image must be readonly"));
  mount->set_readonly(true);
  EXPECT_EQ(refusal(), "");
  mount->set_host_path("/srv");
  EXPECT_THAT(refusal(), HasSubstr("both host_path and image"));
  mount->clear_host_path();
  mount->set_propagation(v1::PROPAGATION_HOST_TO_CONTAINER);
  EXPECT_THAT(refusal(), HasSubstr("takes no propagation"));
  mount->clear_propagation();
  mount->clear_image();
  EXPECT_THAT(refusal(), HasSubstr("it has neither host_path nor image"));
  mount->set_host_path("/srv");
  mount->set_image_sub_path("a");
  EXPECT_THAT(refusal(), HasSubstr("image_sub_path needs an image"));
}

}  // namespace
}  // namespace gantry::cri
