#include "runtime/program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"
#include "runtime/linux/path_in_root.h"

namespace gantry::runtime {
namespace {

constexpr absl::string_view kUsualPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::optional<absl::string_view> Find(const std::vector<std::string>& env, absl::string_view key) {
  for (const std::string& entry : env) {
    const absl::string_view text = entry;
    if (text.size() > key.size() && text.substr(0, key.size()) == key && text[key.size()] == '=') {
      return text.substr(key.size() + 1);
    }
  }
  return std::nullopt;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// The interpreter of a script, for the message when execve says ENOENT for a file that is there.
std::string InterpreterOf(const std::string& path) {
  StatusOr<UniqueFd> fd = OpenAt(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  char line[128];
  const ssize_t size = fd.ok() ? read(fd->get(), line, sizeof line) : 0;
  if (size < 3 || line[0] != '#' || line[1] != '!') return "its dynamic loader";
  const absl::string_view text(line + 2, static_cast<size_t>(size - 2));
  return absl::StrCat("its interpreter \"", text.substr(0, text.find('\n')), "\"");
}

Status ExecError(const std::string& name, const std::string& path, int error) {
  if (error == ENOENT && faccessat(AT_FDCWD, path.c_str(), F_OK, 0) == 0) {
    return SyscallError("exec", absl::StrCat("\"", path, "\": ", InterpreterOf(path)), error);
  }
  return SyscallError("exec", absl::StrCat("\"", name, "\""), error);
}

}  // namespace

std::vector<std::string> ProgramCandidates(const std::string& name,
                                           const std::vector<std::string>& env) {
  if (name.find('/') != std::string::npos) return {name};
  std::vector<std::string> candidates;
  if (name.empty()) return candidates;
  for (const absl::string_view directory :
       absl::StrSplit(Find(env, "PATH").value_or(kUsualPath), ':', absl::SkipEmpty())) {
    candidates.push_back(absl::StrCat(directory, "/", name));
  }
  return candidates;
}

std::string HomeOf(const std::string& passwd, uint32_t uid) {
  for (const absl::string_view line : absl::StrSplit(passwd, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    uint32_t number = 0;
    if (fields.size() < 6 || !absl::SimpleAtoi(fields[2], &number) || number != uid) continue;
    return fields[5].empty() ? "/" : std::string(fields[5]);
  }
  return "/";
}

std::vector<std::string> WithHome(const std::vector<std::string>& env, uint32_t uid, int root_fd) {
  if (Find(env, "HOME").has_value()) return env;
  std::vector<std::string> result = env;
  std::string home = "/";
  // Not blocking, and only a regular file: the image may have put a fifo there.
  const StatusOr<UniqueFd> fd = OpenInRoot(root_fd, "etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat info;
  if (fd.ok() && fstat(fd->get(), &info) == 0 && S_ISREG(info.st_mode)) {
    const StatusOr<std::string> passwd = ReadAll(fd->get(), "/etc/passwd");
    if (passwd.ok()) home = HomeOf(*passwd, uid);
  }
  result.push_back(absl::StrCat("HOME=", home));
  return result;
}

Status Execute(const std::vector<std::string>& args, const std::vector<std::string>& env) {
  const std::string& name = args.front();
  const std::vector<std::string> candidates = ProgramCandidates(name, env);
  const std::vector<char*> argv = Pointers(args);
  const std::vector<char*> envp = Pointers(env);
  int denied = 0;
  for (const std::string& path : candidates) {
    execve(path.c_str(), argv.data(), envp.data());
    const int error = errno;
    if (name.find('/') != std::string::npos) return ExecError(name, path, error);
    // As execvp(3): what is not there, or not ours to run, may come later in PATH.
    if (error == EACCES) denied = error;
    const bool absent = error == ENOENT || error == ENOTDIR;
    if (error != EACCES && (!absent || faccessat(AT_FDCWD, path.c_str(), F_OK, 0) == 0)) {
      return ExecError(name, path, error);
    }
  }
  if (denied != 0) return SyscallError("exec", absl::StrCat("\"", name, "\""), denied);
  return WithErrno(absl::InternalError(absl::StrCat("exec \"", name, "\": not found in PATH")),
                   ENOENT);
}

}  // namespace gantry::runtime
