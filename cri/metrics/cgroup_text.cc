#include "cri/metrics/cgroup_text.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace gantry::cri {
namespace {

// v1 has no word for "no limit": it shows the largest count of pages, which is near 2^63.
constexpr uint64_t kLargestLimit = uint64_t{1} << 62;

// Cuts the next line, or word, off `text`.
absl::string_view Cut(absl::string_view* text, char end) {
  const size_t at = text->find(end);
  const absl::string_view part = text->substr(0, at);
  text->remove_prefix(at == absl::string_view::npos ? text->size() : at + 1);
  return part;
}

std::pair<absl::string_view, absl::string_view> Split(absl::string_view text, char separator) {
  const absl::string_view before = Cut(&text, separator);
  return {before, text};
}

bool ParseDevice(absl::string_view text, DeviceIo* device) {
  const auto [major, minor] = Split(text, ':');
  return absl::SimpleAtoi(major, &device->major) && absl::SimpleAtoi(minor, &device->minor);
}

PressureLine ParsePressureLine(absl::string_view fields) {
  PressureLine line;
  while (!fields.empty()) {
    const auto [key, value] = Split(Cut(&fields, ' '), '=');
    // A field that cannot be read stays 0, as one that is not there.
    if (key == "avg10") (void)absl::SimpleAtod(value, &line.avg10);
    if (key == "avg60") (void)absl::SimpleAtod(value, &line.avg60);
    if (key == "avg300") (void)absl::SimpleAtod(value, &line.avg300);
    if (key == "total") (void)absl::SimpleAtoi(value, &line.total_us);
  }
  return line;
}

// The entry of the device, made when it is not there yet.
DeviceIo* DeviceOf(const DeviceIo& device, std::vector<DeviceIo>* devices) {
  for (DeviceIo& known : *devices)
    if (known.major == device.major && known.minor == device.minor) return &known;
  devices->push_back(device);
  return &devices->back();
}

using Counter = uint64_t DeviceIo::*;

void AddBlkio(absl::string_view text, Counter read, Counter write, std::vector<DeviceIo>* devices) {
  while (!text.empty()) {
    absl::string_view line = Cut(&text, '\n');
    DeviceIo device;
    uint64_t count = 0;
    if (!ParseDevice(Cut(&line, ' '), &device)) continue;  // the last line: "Total N"
    const absl::string_view operation = Cut(&line, ' ');
    if (!absl::SimpleAtoi(line, &count)) continue;
    if (operation == "Read") DeviceOf(device, devices)->*read = count;
    if (operation == "Write") DeviceOf(device, devices)->*write = count;
  }
}

// "  eth0: 1 2 …": eight numbers received, eight sent.
std::optional<InterfaceCounters> ParseInterface(absl::string_view line) {
  const auto [name, numbers] = Split(line, ':');
  uint64_t counts[16] = {};
  size_t found = 0;
  for (const absl::string_view word : absl::StrSplit(numbers, ' ', absl::SkipEmpty()))
    if (found == 16 || !absl::SimpleAtoi(word, &counts[found++])) return std::nullopt;
  if (found != 16) return std::nullopt;
  InterfaceCounters interface;
  interface.name = std::string(absl::StripAsciiWhitespace(name));
  interface.rx_bytes = counts[0];
  interface.rx_packets = counts[1];
  interface.rx_errors = counts[2];
  interface.rx_dropped = counts[3];
  interface.tx_bytes = counts[8];
  interface.tx_packets = counts[9];
  interface.tx_errors = counts[10];
  interface.tx_dropped = counts[11];
  return interface;
}

}  // namespace

std::optional<uint64_t> ParseCount(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text == "max") return kNoLimit;
  uint64_t count = 0;
  if (!absl::SimpleAtoi(text, &count)) return std::nullopt;
  return count > kLargestLimit ? kNoLimit : count;
}

void ParseKeyedCounts(absl::string_view text, std::initializer_list<KeyedCount> counts) {
  while (!text.empty()) {
    const auto [key, value] = Split(Cut(&text, '\n'), ' ');
    uint64_t count = 0;
    for (const KeyedCount& wanted : counts)
      if (wanted.key == key && absl::SimpleAtoi(value, &count)) *wanted.count = count;
  }
}

std::optional<Pressure> ParsePressure(absl::string_view text) {
  std::optional<Pressure> pressure;
  while (!text.empty()) {
    const auto [kind, fields] = Split(Cut(&text, '\n'), ' ');
    if (kind != "some" && kind != "full") continue;
    if (!pressure) pressure.emplace();
    (kind == "some" ? pressure->some : pressure->full) = ParsePressureLine(fields);
  }
  return pressure;
}

std::vector<DeviceIo> ParseIoStat(absl::string_view text) {
  std::vector<DeviceIo> devices;
  while (!text.empty()) {
    absl::string_view line = Cut(&text, '\n');
    DeviceIo device;
    if (!ParseDevice(Cut(&line, ' '), &device)) continue;
    while (!line.empty()) {
      const auto [key, value] = Split(Cut(&line, ' '), '=');
      if (key == "rbytes") (void)absl::SimpleAtoi(value, &device.read_bytes);
      if (key == "wbytes") (void)absl::SimpleAtoi(value, &device.write_bytes);
      if (key == "rios") (void)absl::SimpleAtoi(value, &device.reads);
      if (key == "wios") (void)absl::SimpleAtoi(value, &device.writes);
    }
    devices.push_back(device);
  }
  return devices;
}

std::vector<DeviceIo> ParseBlkio(absl::string_view bytes, absl::string_view operations) {
  std::vector<DeviceIo> devices;
  AddBlkio(bytes, &DeviceIo::read_bytes, &DeviceIo::write_bytes, &devices);
  AddBlkio(operations, &DeviceIo::reads, &DeviceIo::writes, &devices);
  return devices;
}

std::vector<InterfaceCounters> ParseNetDev(absl::string_view text) {
  std::vector<InterfaceCounters> interfaces;
  while (!text.empty()) {
    auto interface = ParseInterface(Cut(&text, '\n'));  // the two lines of the head are none
    if (interface && interface->name != "lo") interfaces.push_back(*std::move(interface));
  }
  return interfaces;
}

}  // namespace gantry::cri
