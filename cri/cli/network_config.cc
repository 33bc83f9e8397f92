#include "cri/cli/network_config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/linux/file.h"

namespace gantry::cli {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxInterfaceName = 15;  // IFNAMSIZ less the end
constexpr size_t kMaxName = 200;          // becomes part of file names

bool IsName(const std::string& text) {
  return !text.empty() && absl::ascii_isalnum(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' ||
                  c == '-';
         });
}

struct Subnet {
  bool six = false;
};

// Whether a bit behind the prefix is set.
bool HasHostBits(const unsigned char* address, int length, int bits) {
  for (int bit = length; bit < bits; ++bit)
    if ((address[bit / 8] & (0x80 >> (bit % 8))) != 0) return true;
  return false;
}

StatusOr<Subnet> ReadSubnet(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  unsigned char address[sizeof(in6_addr)] = {};
  Subnet subnet;
  subnet.six = inet_pton(AF_INET6, parts[0].c_str(), address) == 1;
  const bool four = !subnet.six && inet_pton(AF_INET, parts[0].c_str(), address) == 1;
  const int bits = subnet.six ? 128 : 32;
  int length = 0;
  if ((!four && !subnet.six) || parts.size() != 2 || !absl::SimpleAtoi(parts[1], &length) ||
      length < 8 || length > bits - 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--subnet \"", text, "\" is no subnet for pods; write 10.85.0.0/16 or fd00:85::/64"));
  }
  if (HasHostBits(address, length, bits)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--subnet \"", text, "\" is an address in a subnet: bits behind /", length, " are set"));
  }
  return subnet;
}

StatusOr<Json> Ipam(const std::vector<std::string>& subnets) {
  Json ranges = Json::array();
  Json routes = Json::array();
  bool seen[2] = {false, false};
  for (const std::string& text : subnets) {
    ASSIGN_OR_RETURN(const Subnet subnet, ReadSubnet(text));
    if (seen[subnet.six ? 1 : 0]) {
      return absl::InvalidArgumentError(
          absl::StrCat("--subnet ", text, ": there is one of this family already"));
    }
    seen[subnet.six ? 1 : 0] = true;
    ranges.push_back(Json::array({{{"subnet", text}}}));
    routes.push_back({{"dst", subnet.six ? "::/0" : "0.0.0.0/0"}});
  }
  return Json{{"type", "host-local"}, {"ranges", ranges}, {"routes", routes}};
}

}  // namespace

StatusOr<std::string> BridgeConflist(const BridgeNetwork& network) {
  if (!IsName(network.name) || network.name.size() > kMaxName) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--name \"", network.name, "\": letters, digits, \"_\", \".\" and \"-\" are needed"));
  }
  if (!IsName(network.interface) || network.interface.size() > kMaxInterfaceName) {
    return absl::InvalidArgumentError(absl::StrCat("--interface \"", network.interface,
                                                   "\": at most 15 letters and digits are needed"));
  }
  ASSIGN_OR_RETURN(Json ipam, Ipam(network.subnets));
  const Json bridge = {{"type", "bridge"},    {"bridge", network.interface},
                       {"isGateway", true},   {"ipMasq", true},
                       {"hairpinMode", true}, {"ipam", std::move(ipam)}};
  // snat: host ports are then reached on 127.0.0.1 too.
  const Json portmap = {
      {"type", "portmap"}, {"snat", true}, {"capabilities", {{"portMappings", true}}}};
  // The highest version that Debian 12's plugins speak.
  const Json list = {
      {"cniVersion", "1.0.0"}, {"name", network.name}, {"plugins", Json::array({bridge, portmap})}};
  return DumpJson(list, /*indented=*/true) + "\n";
}

StatusOr<std::string> WriteConflist(const std::string& directory, const std::string& name,
                                    const std::string& text, bool force) {
  ASSIGN_OR_RETURN(const UniqueFd folder, MakeDirectories(AT_FDCWD, directory, 0755));
  const std::string file = absl::StrCat("10-", name, ".conflist");
  const std::string path = absl::StrCat(directory, "/", file);
  // Without an ending that CNI looks for: nobody reads it before it has its name.
  const std::string temporary = absl::StrCat(".", file, ".", getpid());
  ASSIGN_OR_RETURN(const UniqueFd out,
                   OpenAt(folder.get(), temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  Status written = WriteAll(out.get(), text, temporary);
  if (written.ok() && fsync(out.get()) != 0) written = SyscallError("fsync", temporary);
  const unsigned int flags = force ? 0 : RENAME_NOREPLACE;
  if (written.ok() &&
      renameat2(folder.get(), temporary.c_str(), folder.get(), file.c_str(), flags) != 0) {
    written =
        errno == EEXIST
            ? absl::AlreadyExistsError(absl::StrCat(path, " exists already; --force overwrites it"))
            : SyscallError("rename", path);
  }
  if (!written.ok()) unlinkat(folder.get(), temporary.c_str(), 0);
  RETURN_IF_ERROR(written);
  return path;
}

}  // namespace gantry::cli
