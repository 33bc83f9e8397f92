// The process part of a container's spec: arguments, environment, working directory, user.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/spec/container_spec.h"

namespace gantry::cri {
namespace {

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The image's ENTRYPOINT and CMD and the pod's command and args, as the Kubernetes documentation
// combines them.
std::vector<std::string> Arguments(const v1::ContainerConfig& container,
                                   const images::ImageConfig& image) {
  std::vector<std::string> entrypoint(container.command().begin(), container.command().end());
  std::vector<std::string> cmd(container.args().begin(), container.args().end());
  if (entrypoint.empty()) {
    if (cmd.empty()) cmd = image.cmd;
    entrypoint = image.entrypoint;
  }
  entrypoint.insert(entrypoint.end(), cmd.begin(), cmd.end());
  return entrypoint;
}

// Replaces the variable's value, or adds it.
void SetVariable(std::vector<std::string>* env, const std::string& key, const std::string& value) {
  const std::string prefix = key + "=";
  for (std::string& entry : *env) {
    if (absl::StartsWith(entry, prefix)) {
      entry = prefix + value;
      return;
    }
  }
  env->push_back(prefix + value);
}

bool HasVariable(const std::vector<std::string>& env, absl::string_view prefix) {
  return std::any_of(env.begin(), env.end(), [prefix](const std::string& entry) {
    return absl::StartsWith(entry, prefix);
  });
}

StatusOr<std::vector<std::string>> Environment(const SpecInput& input) {
  std::vector<std::string> env;
  for (const std::string& entry : input.image->env) {
    const size_t equals = entry.find('=');
    if (equals != std::string::npos && equals != 0)
      SetVariable(&env, entry.substr(0, equals), entry.substr(equals + 1));
  }
  if (!HasVariable(env, "PATH=")) env.insert(env.begin(), kDefaultPath);
  if (!input.hostname.empty()) SetVariable(&env, "HOSTNAME", input.hostname);
  if (input.container->tty()) SetVariable(&env, "TERM", "xterm");
  for (const auto& variable : input.container->envs()) {
    const std::string& key = variable.key();
    if (key.empty() || key.find('=') != std::string::npos || key.find('\0') != std::string::npos ||
        variable.value().find('\0') != std::string::npos)
      return absl::InvalidArgumentError(
          absl::StrCat("envs: \"", key, "\" is no name of an environment variable"));
    SetVariable(&env, key, variable.value());
  }
  if (!HasVariable(env, "HOME=")) env.push_back("HOME=" + input.user->home);
  return env;
}

}  // namespace

StatusOr<spec::Process> ProcessSpec(const SpecInput& input) {
  const v1::ContainerConfig& container = *input.container;
  spec::Process process;
  process.args = Arguments(container, *input.image);
  if (process.args.empty() || process.args[0].empty())
    return absl::InvalidArgumentError(
        "no command: neither the container's command and args nor the image's ENTRYPOINT and CMD "
        "say what to run");
  ASSIGN_OR_RETURN(process.env, Environment(input));
  process.terminal = container.tty();
  process.user = input.user->user;
  process.cwd = "/";
  if (!input.image->working_dir.empty()) process.cwd = input.image->working_dir;
  if (!container.working_dir().empty()) process.cwd = container.working_dir();
  if (process.cwd[0] != '/') process.cwd = "/" + process.cwd;
  process.no_new_privileges = container.linux().security_context().no_new_privs();
  if (container.linux().has_resources()) {
    const int64_t wanted = container.linux().resources().oom_score_adj();
    if (wanted < -1000 || wanted > 1000)
      return absl::InvalidArgumentError(
          absl::StrCat("oom_score_adj ", wanted, " is out of range (-1000 to 1000)"));
    process.oom_score_adj = static_cast<int>(std::max<int64_t>(wanted, input.lowest_oom_score_adj));
  }
  return process;
}

spec::Process ExecProcess(const spec::Process& container, const std::vector<std::string>& command,
                          bool terminal) {
  spec::Process process = container;
  process.args = command;
  process.terminal = terminal;
  if (terminal && !HasVariable(process.env, "TERM=")) process.env.push_back("TERM=xterm");
  return process;
}

}  // namespace gantry::cri
