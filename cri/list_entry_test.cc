#include "cri/list_entry.h"

#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

Container SomeContainer() {
  auto config = std::make_shared<v1::ContainerConfig>();
  config->mutable_metadata()->set_name("main");
  config->mutable_image()->set_image("sha256:ab");
  config->mutable_image()->set_user_specified_image("busybox");
  (*config->mutable_labels())["app"] = "web";
  (*config->mutable_annotations())["note"] = std::string(300, 'x');
  Container container;
  container.config = std::move(config);
  container.record.set_id("c1");
  container.record.set_sandbox_id("p1");
  container.record.set_image_id("sha256:ab");
  container.record.set_image_ref("docker.io/library/busybox@sha256:cd");
  container.record.set_created_at_ns(42);
  container.record.set_state(v1::CONTAINER_CREATED);
  return container;
}

v1::ListContainersResponse Sent(const Container& container) {
  v1::ListContainersResponse written, read;
  AddEncoded(v1::ListContainersResponse::kContainersFieldNumber, ListEntry(container), &written);
  EXPECT_TRUE(read.ParseFromString(written.SerializeAsString()));
  return read;
}

TEST(ListEntry, IsTheContainersSummaryInEachOfItsStates) {
  for (const bool kept : {false, true}) {
    Container container = SomeContainer();
    if (kept) KeepListEntry(&container);
    for (const auto state : {v1::CONTAINER_CREATED, v1::CONTAINER_RUNNING, v1::CONTAINER_EXITED,
                             v1::CONTAINER_CREATED}) {
      container.record.set_state(state);
      const v1::ListContainersResponse read = Sent(container);
      ASSERT_EQ(read.containers_size(), 1);
      EXPECT_EQ(read.containers(0).state(), state);
      EXPECT_EQ(read.containers(0).DebugString(), ContainerSummary(container).DebugString());
    }
  }
}

TEST(ListEntry, IsThePodsSummaryInEachOfItsStates) {
  auto config = std::make_shared<v1::PodSandboxConfig>();
  config->mutable_metadata()->set_name("web");
  (*config->mutable_labels())["app"] = "web";
  Sandbox sandbox;
  sandbox.config = std::move(config);
  sandbox.record.set_id("p1");
  sandbox.record.set_runtime_handler("gantry");
  sandbox.record.set_created_at_ns(42);
  KeepListEntry(&sandbox);
  for (const auto state : {v1::SANDBOX_READY, v1::SANDBOX_NOTREADY, v1::SANDBOX_READY}) {
    sandbox.record.set_state(state);
    v1::PodSandbox read;
    ASSERT_TRUE(read.ParseFromString(ListEntry(sandbox)));
    EXPECT_EQ(read.DebugString(), SandboxSummary(sandbox).DebugString());
  }
}

}  // namespace
}  // namespace gantry::cri
