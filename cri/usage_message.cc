#include "cri/usage_message.h"

#include <algorithm>
#include <utility>

namespace gantry::cri {
namespace {

constexpr uint64_t kNsPerUs = 1000;
constexpr char kDefaultInterface[] = "eth0";  // CRI's name for the one that a pod must have

using Count = std::optional<uint64_t>;

// Absent, and not zero, when it is not known.
template <typename Message>
void SetCount(Count count, Message* message, v1::UInt64Value* (Message::*field)()) {
  if (count) (message->*field)()->set_value(*count);
}

void SetPressureLine(const PressureLine& line, v1::PsiData* message) {
  message->set_total(line.total_us * kNsPerUs);
  message->set_avg10(line.avg10);
  message->set_avg60(line.avg60);
  message->set_avg300(line.avg300);
}

void SetPressure(const Pressure& pressure, v1::PsiStats* message) {
  SetPressureLine(pressure.some, message->mutable_some());
  SetPressureLine(pressure.full, message->mutable_full());
}

void SetCpu(const GroupSample& group, v1::CpuUsage* cpu) {
  cpu->set_timestamp(group.use.read_at_ns);
  SetCount(group.use.cpu_ns, cpu, &v1::CpuUsage::mutable_usage_core_nano_seconds);
  SetCount(group.nano_cores, cpu, &v1::CpuUsage::mutable_usage_nano_cores);
  if (group.use.cpu_pressure) SetPressure(*group.use.cpu_pressure, cpu->mutable_psi());
}

void SetMemory(const GroupUse& use, v1::MemoryUsage* memory) {
  memory->set_timestamp(use.read_at_ns);
  SetCount(use.memory.usage, memory, &v1::MemoryUsage::mutable_usage_bytes);
  SetCount(use.memory.WorkingSet(), memory, &v1::MemoryUsage::mutable_working_set_bytes);
  SetCount(use.memory.Available(), memory, &v1::MemoryUsage::mutable_available_bytes);
  SetCount(use.memory.rss, memory, &v1::MemoryUsage::mutable_rss_bytes);
  SetCount(use.memory.page_faults, memory, &v1::MemoryUsage::mutable_page_faults);
  SetCount(use.memory.major_page_faults, memory, &v1::MemoryUsage::mutable_major_page_faults);
  if (use.memory_pressure) SetPressure(*use.memory_pressure, memory->mutable_psi());
}

void SetSwap(const GroupUse& use, v1::SwapUsage* swap) {
  swap->set_timestamp(use.read_at_ns);
  SetCount(use.memory.swap, swap, &v1::SwapUsage::mutable_swap_usage_bytes);
  const Count limit = use.memory.swap_limit, used = use.memory.swap;
  if (limit.value_or(kNoLimit) != kNoLimit && used)
    swap->mutable_swap_available_bytes()->set_value(*limit - std::min(*limit, *used));
}

void SetIo(const GroupUse& use, v1::IoUsage* io) {
  io->set_timestamp(use.read_at_ns);
  SetPressure(*use.io_pressure, io->mutable_psi());
}

void SetInterface(const InterfaceCounters& counters, v1::NetworkInterfaceUsage* message) {
  message->set_name(counters.name);
  message->mutable_rx_bytes()->set_value(counters.rx_bytes);
  message->mutable_rx_errors()->set_value(counters.rx_errors);
  message->mutable_tx_bytes()->set_value(counters.tx_bytes);
  message->mutable_tx_errors()->set_value(counters.tx_errors);
}

void SetNetwork(const std::vector<InterfaceCounters>& interfaces, int64_t at_ns,
                v1::NetworkUsage* network) {
  network->set_timestamp(at_ns);
  for (const InterfaceCounters& counters : interfaces)
    SetInterface(counters, counters.name == kDefaultInterface ? network->mutable_default_interface()
                                                              : network->add_interfaces());
}

}  // namespace

v1::ContainerStats ContainerStatsMessage(const Container& container, const ContainerUse& use) {
  v1::ContainerStats message;
  v1::ContainerAttributes* attributes = message.mutable_attributes();
  attributes->set_id(container.id());
  *attributes->mutable_metadata() = container.config->metadata();
  *attributes->mutable_labels() = container.config->labels();
  *attributes->mutable_annotations() = container.config->annotations();
  v1::FilesystemUsage* layer = message.mutable_writable_layer();
  layer->set_timestamp(use.layer ? use.layer->counted_at_ns : use.asked_at_ns);
  layer->mutable_fs_id()->set_mountpoint(use.file_system);
  if (use.layer) {
    layer->mutable_used_bytes()->set_value(use.layer->bytes);
    layer->mutable_inodes_used()->set_value(use.layer->inodes);
  }
  if (!use.group) return message;
  SetCpu(*use.group, message.mutable_cpu());
  SetMemory(use.group->use, message.mutable_memory());
  SetSwap(use.group->use, message.mutable_swap());
  if (use.group->use.io_pressure) SetIo(use.group->use, message.mutable_io());
  return message;
}

v1::PodSandboxStats PodSandboxStatsMessage(const Sandbox& sandbox, PodUse use) {
  v1::PodSandboxStats message;
  v1::PodSandboxAttributes* attributes = message.mutable_attributes();
  attributes->set_id(sandbox.id());
  *attributes->mutable_metadata() = sandbox.config->metadata();
  *attributes->mutable_labels() = sandbox.config->labels();
  *attributes->mutable_annotations() = sandbox.config->annotations();
  v1::LinuxPodSandboxStats* pod = message.mutable_linux();
  for (v1::ContainerStats& container : use.containers)
    *pod->add_containers() = std::move(container);
  if (use.network) SetNetwork(*use.network, use.asked_at_ns, pod->mutable_network());
  if (!use.group) return message;
  SetCpu(*use.group, pod->mutable_cpu());
  SetMemory(use.group->use, pod->mutable_memory());
  if (use.group->use.io_pressure) SetIo(use.group->use, pod->mutable_io());
  pod->mutable_process()->set_timestamp(use.asked_at_ns);
  pod->mutable_process()->mutable_process_count()->set_value(use.processes);
  return message;
}

}  // namespace gantry::cri
