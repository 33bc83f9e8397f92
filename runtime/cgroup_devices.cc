#include "runtime/cgroup_devices.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::runtime {
namespace {

constexpr int kMaxPrograms = 64;  // the kernel's bound for one group

std::string EffectiveAccess(const spec::DeviceRule& rule) {
  return rule.access.empty() ? "rwm" : rule.access;
}

bool CoversAll(const spec::DeviceRule& rule) {
  return (rule.type.empty() || rule.type == "a") && !rule.major.has_value() &&
         !rule.minor.has_value() && EffectiveAccess(rule).size() == 3;
}

spec::DeviceRule Allow(std::optional<int64_t> major, std::optional<int64_t> minor) {
  return {.allow = true, .type = "c", .major = major, .minor = minor, .access = "rwm"};
}

uint32_t AccessMask(const spec::DeviceRule& rule) {
  uint32_t mask = 0;
  for (const char c : EffectiveAccess(rule)) {
    if (c == 'r') mask |= BPF_DEVCG_ACC_READ;
    if (c == 'w') mask |= BPF_DEVCG_ACC_WRITE;
    if (c == 'm') mask |= BPF_DEVCG_ACC_MKNOD;
  }
  return mask;
}

// Registers of the program.
constexpr uint8_t kResult = BPF_REG_0;
constexpr uint8_t kContext = BPF_REG_1;  // scratch once the context has been read
constexpr uint8_t kType = BPF_REG_2;
constexpr uint8_t kAccess = BPF_REG_3;
constexpr uint8_t kMajor = BPF_REG_4;
constexpr uint8_t kMinor = BPF_REG_5;

bpf_insn Instruction(uint8_t code, uint8_t target, uint8_t source, int16_t offset, int32_t value) {
  bpf_insn instruction = {};
  instruction.code = code;
  instruction.dst_reg = target & 0xF;
  instruction.src_reg = source & 0xF;
  instruction.off = offset;
  instruction.imm = value;
  return instruction;
}

bpf_insn LoadField(uint8_t target, size_t offset) {
  return Instruction(BPF_LDX | BPF_W | BPF_MEM, target, kContext, static_cast<int16_t>(offset), 0);
}

bpf_insn Operate(uint8_t operation, uint8_t target, uint32_t value) {
  return Instruction(static_cast<uint8_t>(BPF_ALU | operation | BPF_K), target, 0, 0,
                     static_cast<int32_t>(value));
}

void Return(std::vector<bpf_insn>& code, bool allow) {
  code.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_K, kResult, 0, 0, allow ? 1 : 0));
  code.push_back(Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

// One rule: its tests jump to the next rule when they fail. 32-bit comparisons: device numbers fill
// the word.
void AppendRule(const spec::DeviceRule& rule, std::vector<bpf_insn>& code) {
  std::vector<bpf_insn> block;
  std::vector<size_t> exits;
  const auto next_unless = [&](uint8_t comparison, uint8_t reg, uint32_t value) {
    exits.push_back(block.size());
    block.push_back(Instruction(static_cast<uint8_t>(BPF_JMP32 | comparison | BPF_K), reg, 0, 0,
                                static_cast<int32_t>(value)));
  };
  if (rule.type == "c") next_unless(BPF_JNE, kType, BPF_DEVCG_DEV_CHAR);
  if (rule.type == "b") next_unless(BPF_JNE, kType, BPF_DEVCG_DEV_BLOCK);
  if (const uint32_t mask = AccessMask(rule); mask != 7) {
    // Allowed is what the rule covers whole; refused is what it touches.
    block.push_back(Instruction(BPF_ALU | BPF_MOV | BPF_X, kContext, kAccess, 0, 0));
    block.push_back(Operate(BPF_AND, kContext, rule.allow ? ~mask : mask));
    next_unless(rule.allow ? BPF_JNE : BPF_JEQ, kContext, 0);
  }
  if (rule.major.has_value()) next_unless(BPF_JNE, kMajor, static_cast<uint32_t>(*rule.major));
  if (rule.minor.has_value()) next_unless(BPF_JNE, kMinor, static_cast<uint32_t>(*rule.minor));
  Return(block, rule.allow);
  for (const size_t at : exits) block[at].off = static_cast<int16_t>(block.size() - at - 1);
  code.insert(code.end(), block.begin(), block.end());
}

int Bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

StatusOr<UniqueFd> LoadProgram(const std::vector<bpf_insn>& code) {
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<uintptr_t>(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = reinterpret_cast<uintptr_t>("Apache-2.0");  // no helper asks for the GPL
  // The kernel makes the descriptor close-on-exec.
  UniqueFd program(Bpf(BPF_PROG_LOAD, attributes));
  if (!program.valid()) return SyscallError("load device program", "");
  return program;
}

StatusOr<std::vector<uint32_t>> AttachedPrograms(int group, const std::string& dir) {
  std::vector<uint32_t> ids(kMaxPrograms);
  bpf_attr attributes = {};
  attributes.query.target_fd = static_cast<uint32_t>(group);
  attributes.query.attach_type = BPF_CGROUP_DEVICE;
  attributes.query.prog_ids = reinterpret_cast<uintptr_t>(ids.data());
  attributes.query.prog_cnt = kMaxPrograms;
  if (Bpf(BPF_PROG_QUERY, attributes) != 0) return SyscallError("query device programs", dir);
  ids.resize(attributes.query.prog_cnt);
  return ids;
}

StatusOr<UniqueFd> ProgramById(uint32_t id) {
  bpf_attr attributes = {};
  attributes.prog_id = id;
  UniqueFd program(Bpf(BPF_PROG_GET_FD_BY_ID, attributes));
  if (!program.valid()) return SyscallError("open device program", absl::StrCat(id));
  return program;
}

// Of several programs each must allow. One that is there is replaced in one step, so that at no
// time there is none; more than one (somebody else's among them) stay, and ours comes in addition.
Status AttachProgram(int group, int program, const std::string& dir) {
  ASSIGN_OR_RETURN(const std::vector<uint32_t> present, AttachedPrograms(group, dir));
  bpf_attr attributes = {};
  attributes.target_fd = static_cast<uint32_t>(group);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program);
  attributes.attach_type = BPF_CGROUP_DEVICE;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  UniqueFd old;
  if (present.size() == 1) {
    ASSIGN_OR_RETURN(old, ProgramById(present.front()));
    attributes.attach_flags |= BPF_F_REPLACE;
    attributes.replace_bpf_fd = static_cast<uint32_t>(old.get());
  }
  if (Bpf(BPF_PROG_ATTACH, attributes) != 0) return SyscallError("attach device program", dir);
  return absl::OkStatus();
}

Status SetRulesV1(const std::string& dir, const std::vector<spec::DeviceRule>& rules) {
  for (const auto& [file, value] : DeviceWritesV1(rules)) {
    RETURN_IF_ERROR_CONTEXT(WriteFileAt(AT_FDCWD, absl::StrCat(dir, "/", file), value),
                            absl::StrCat("set ", file, " to \"", value, "\""));
  }
  return absl::OkStatus();
}

Status SetRulesV2(const std::string& dir, const std::vector<spec::DeviceRule>& rules) {
  ASSIGN_OR_RETURN(const UniqueFd group, OpenAt(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(const UniqueFd program, LoadProgram(DeviceProgram(rules)));
  return AttachProgram(group.get(), program.get(), dir);
}

}  // namespace

std::vector<spec::DeviceRule> DefaultDeviceRules() {
  spec::DeviceRule make_char = {
      .allow = true, .type = "c", .major = {}, .minor = {}, .access = "m"};
  spec::DeviceRule make_block = make_char;
  make_block.type = "b";
  return {
      make_char,
      make_block,
      Allow(1, 3),               // null
      Allow(1, 5),               // zero
      Allow(1, 7),               // full
      Allow(1, 8),               // random
      Allow(1, 9),               // urandom
      Allow(5, 0),               // tty
      Allow(5, 1),               // console
      Allow(5, 2),               // ptmx
      Allow(136, std::nullopt),  // pts/*
      Allow(10, 200),            // net/tun
  };
}

std::vector<std::pair<std::string, std::string>> DeviceWritesV1(
    const std::vector<spec::DeviceRule>& rules) {
  std::vector<std::pair<std::string, std::string>> writes = {{"devices.deny", "a"}};
  const auto number = [](const std::optional<int64_t>& value) {
    return value.has_value() ? absl::StrCat(*value) : "*";
  };
  for (const spec::DeviceRule& rule : rules) {
    const std::string file = rule.allow ? "devices.allow" : "devices.deny";
    if (CoversAll(rule)) {
      // What came before no longer counts.
      writes.assign(1, {file, "a"});
      continue;
    }
    const bool both = rule.type.empty() || rule.type == "a";
    for (const char* type : {"c", "b"}) {
      if (!both && rule.type != type) continue;
      writes.emplace_back(file, absl::StrCat(type, " ", number(rule.major), ":", number(rule.minor),
                                             " ", EffectiveAccess(rule)));
    }
  }
  return writes;
}

std::vector<bpf_insn> DeviceProgram(const std::vector<spec::DeviceRule>& rules) {
  std::vector<bpf_insn> code = {
      LoadField(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Operate(BPF_AND, kType, 0xFFFF),
      LoadField(kAccess, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Operate(BPF_RSH, kAccess, 16),
      LoadField(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      LoadField(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  // The last rule decides, so it is asked first. What stands before a rule for everything is never
  // reached (and the verifier refuses unreachable code).
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    if (CoversAll(*rule)) {
      Return(code, rule->allow);
      return code;
    }
    AppendRule(*rule, code);
  }
  Return(code, false);
  return code;
}

Status SetDeviceRules(const CgroupPaths& paths, std::vector<spec::DeviceRule> rules) {
  const std::vector<spec::DeviceRule> defaults = DefaultDeviceRules();
  // They would only slow down a group that may use everything.
  if (rules.empty() || !CoversAll(rules.back()) || !rules.back().allow)
    rules.insert(rules.end(), defaults.begin(), defaults.end());
  if (paths.IsV1("devices")) return SetRulesV1(paths.DirOf("devices"), rules);
  // On hybrid hosts the v2 tree can hold device programs too: nothing is left unlimited.
  if (paths.unified_dir.empty()) return absl::OkStatus();
  return SetRulesV2(paths.unified_dir, rules);
}

}  // namespace gantry::runtime
