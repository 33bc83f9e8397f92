#include "runtime/seccomp_filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gantry::runtime {

Status InstallSeccompFilter(absl::string_view bpf) {
  if (bpf.empty()) return absl::OkStatus();
  const size_t count = bpf.size() / sizeof(struct sock_filter);
  if (bpf.size() % sizeof(struct sock_filter) != 0 || count > BPF_MAXINSNS) {
    return absl::InvalidArgumentError(absl::StrCat("seccomp filter of ", bpf.size(), " bytes"));
  }
  std::vector<struct sock_filter> filter(count);
  memcpy(filter.data(), bpf.data(), bpf.size());
  const struct sock_fprog program = {static_cast<unsigned short>(count), filter.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    return SyscallError("load seccomp filter");
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
