// Snapshots of sandboxes and containers as CRI messages.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/container.h"
#include "cri/image_volumes.h"
#include "cri/sandbox.h"
#include "imageservice/reference.h"

namespace gantry::cri {

std::string SandboxName(const v1::PodSandboxMetadata& metadata) {
  return absl::StrCat(metadata.name(), "_", metadata.namespace_(), "_", metadata.uid(), "_",
                      metadata.attempt());
}

std::string PodCgroupPath(const store::SandboxRecord& record) {
  const std::string& given = record.cgroup_parent();
  return given.empty() ? absl::StrCat("/gantry/", record.id()) : given;
}

std::string ContainerName(const v1::ContainerMetadata& metadata,
                          const v1::PodSandboxMetadata& sandbox) {
  return absl::StrCat(metadata.name(), "_", sandbox.name(), "_", sandbox.namespace_(), "_",
                      sandbox.uid(), "_", metadata.attempt());
}

v1::PodSandbox SandboxSummary(const Sandbox& sandbox) {
  v1::PodSandbox message;
  message.set_id(sandbox.id());
  *message.mutable_metadata() = sandbox.config->metadata();
  message.set_state(static_cast<v1::PodSandboxState>(sandbox.record.state()));
  message.set_created_at(sandbox.record.created_at_ns());
  *message.mutable_labels() = sandbox.config->labels();
  *message.mutable_annotations() = sandbox.config->annotations();
  message.set_runtime_handler(sandbox.record.runtime_handler());
  return message;
}

v1::PodSandboxStatus SandboxStatusMessage(const Sandbox& sandbox) {
  v1::PodSandboxStatus message;
  message.set_id(sandbox.id());
  *message.mutable_metadata() = sandbox.config->metadata();
  message.set_state(static_cast<v1::PodSandboxState>(sandbox.record.state()));
  message.set_created_at(sandbox.record.created_at_ns());
  const auto& ips = sandbox.record.ips();
  message.mutable_network();
  if (!ips.empty()) message.mutable_network()->set_ip(ips[0]);
  for (int i = 1; i < ips.size(); ++i)
    message.mutable_network()->add_additional_ips()->set_ip(ips[i]);
  *message.mutable_linux()->mutable_namespaces()->mutable_options() =
      sandbox.config->linux().security_context().namespace_options();
  *message.mutable_labels() = sandbox.config->labels();
  *message.mutable_annotations() = sandbox.config->annotations();
  message.set_runtime_handler(sandbox.record.runtime_handler());
  return message;
}

namespace {

// Kubelets ask for an image by the ID that PullImage gave them; people know it by the name in the
// pod, and find it in the pod's status by this message.
v1::ImageSpec ImageForPeople(const Container& container) {
  v1::ImageSpec image = container.config->image();
  if (image.image() != container.record.image_id()) return image;
  const StatusOr<images::Reference> written = images::ParseReference(image.user_specified_image());
  if (!written.ok()) return image;
  image.set_image(written->ToString());
  return image;
}

}  // namespace

v1::Container ContainerSummary(const Container& container) {
  v1::Container message;
  message.set_id(container.id());
  message.set_pod_sandbox_id(container.record.sandbox_id());
  *message.mutable_metadata() = container.config->metadata();
  *message.mutable_image() = ImageForPeople(container);
  message.set_image_ref(container.record.image_ref());
  message.set_image_id(container.record.image_id());
  message.set_state(static_cast<v1::ContainerState>(container.record.state()));
  message.set_created_at(container.record.created_at_ns());
  *message.mutable_labels() = container.config->labels();
  *message.mutable_annotations() = container.config->annotations();
  return message;
}

v1::ContainerStatus ContainerStatusMessage(const Container& container) {
  const store::ContainerRecord& record = container.record;
  v1::ContainerStatus message;
  message.set_id(container.id());
  *message.mutable_metadata() = container.config->metadata();
  message.set_state(static_cast<v1::ContainerState>(record.state()));
  message.set_created_at(record.created_at_ns());
  message.set_started_at(record.started_at_ns());
  message.set_finished_at(record.finished_at_ns());
  message.set_exit_code(record.exit_code());
  *message.mutable_image() = ImageForPeople(container);
  message.set_image_ref(record.image_ref());
  message.set_image_id(record.image_id());
  message.set_reason(record.reason());
  message.set_message(record.message());
  *message.mutable_labels() = container.config->labels();
  *message.mutable_annotations() = container.config->annotations();
  *message.mutable_mounts() = container.config->mounts();
  AddImageRefs(record, &message);
  message.set_log_path(record.log_path());
  message.mutable_resources()->ParseFromString(record.resources());
  message.mutable_user()->ParseFromString(record.user());
  message.set_stop_signal(static_cast<v1::Signal>(record.stop_signal()));
  return message;
}

void RecordExit(store::ContainerRecord* record, const ContainerExit& exit) {
  record->set_state(v1::CONTAINER_EXITED);
  record->set_exit_code(exit.exit_code);
  // Never before the start, whatever the wall clock did meanwhile.
  record->set_finished_at_ns(std::max(exit.finished_at_ns, record->started_at_ns()));
  record->set_log_incomplete(exit.log_incomplete);
  if (!record->reason().empty()) return;  // a failed start has said why
  if (exit.oom_killed)
    record->set_reason("OOMKilled");
  else
    record->set_reason(exit.exit_code == 0 ? "Completed" : "Error");
  if (exit.log_incomplete)
    record->set_message("log_incomplete: the end of the log could not be written in time");
}

void RecordLostExit(store::ContainerRecord* record, const std::string& why) {
  record->set_state(v1::CONTAINER_EXITED);
  record->set_exit_code(255);
  record->set_finished_at_ns(std::max(absl::ToUnixNanos(absl::Now()), record->started_at_ns()));
  record->set_reason("Unknown");
  record->set_message(why);
}

}  // namespace gantry::cri
