#include "imageservice/pull.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/explain.h"
#include "imageservice/image_import.h"
#include "imageservice/layer_claims.h"
#include "imageservice/pull_session.h"
#include "imageservice/reference.h"
#include "runtime/base/log.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

constexpr auto kLookInterval = std::chrono::milliseconds(100);

// A pull that several callers may wait for. Its thread works, its callers wait.
struct Operation {
  UniqueFd cancel{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;
  std::condition_variable changed;
  int waiters = 0;
  PullProgress progress;
  bool progressed = false;
  std::optional<StatusOr<std::shared_ptr<const Image>>> result;
};

// The text and code that a caller of CRI sees.
Status PullError(const Status& status, const std::string& reference) {
  const Status named = Annotate(status, absl::StrCat("pull image \"", reference, "\""));
  // The kubelet knows this class of failure by its prefix.
  return absl::IsUnavailable(status) ? Annotate(named, "RegistryUnavailable") : named;
}

// What a puller may know of our environment: the proxies, and what credential helpers need to run.
std::vector<std::string> PullerEnvironment() {
  static constexpr const char* kNames[] = {"PATH",        "HOME",        "http_proxy", "HTTP_PROXY",
                                           "https_proxy", "HTTPS_PROXY", "all_proxy",  "ALL_PROXY",
                                           "no_proxy",    "NO_PROXY"};
  std::vector<std::string> variables;
  for (const char* name : kNames) {
    if (const char* value = getenv(name)) variables.push_back(absl::StrCat(name, "=", value));
  }
  return variables;
}

StatusOr<PullTask> MakeTask(const PullerOptions& options, const PullRequest& request) {
  ASSIGN_OR_RETURN(const Reference reference, ParseReference(request.reference));
  PullTask task;
  task.reference = reference.ToString();
  task.credentials = request.credentials;
  task.registry_config_path = options.registry_config_path;
  task.auth_files = options.auth_files;
  task.environment = PullerEnvironment();
  task.stall_timeout_ms = static_cast<uint64_t>(options.stall_timeout.count());
  return task;
}

}  // namespace

struct Puller::State {
  ImageStore* store;
  PullerOptions options;
  LayerClaims claims;
  std::optional<PullCgroup> cgroup;
  HostHealth hosts;  // what pulls learn of servers, for the next ones
  std::mutex mutex;
  std::condition_variable idle;
  std::map<std::string, std::shared_ptr<Operation>>
      operations;         // by what was asked for; those one may still join
  std::set<int> running;  // the cancel descriptors of all sessions
  bool closing = false;

  // False when the puller is being destroyed.
  bool Enter(int cancel) {
    const std::lock_guard lock(mutex);
    if (closing) return false;
    running.insert(cancel);
    return true;
  }
  void Leave(int cancel) {
    const std::lock_guard lock(mutex);
    running.erase(cancel);
    idle.notify_all();
  }

  // What a registry need not send again when the name still leads to the same image.
  std::string KnownConfig(const std::string& reference) const {
    const StatusOr<std::shared_ptr<const Image>> image = store->Find(reference);
    if (!image.ok() || *image == nullptr) return "";
    StatusOr<ImageDocuments> documents = store->Documents((*image)->id);
    const bool fits = documents.ok() && documents->config.size() <= kMaxKnownConfig;
    return fits ? std::move(documents->config) : "";
  }

  StatusOr<std::vector<std::shared_ptr<const Image>>> RunSession(
      int cancel, const PullerOrder& task, std::span<const int> fds,
      std::function<void(const PullProgress&)> on_progress) {
    PullSession session({store, &claims, &options, &hosts, cgroup.has_value() ? &*cgroup : nullptr,
                         cancel, std::move(on_progress)});
    return session.Run(task, fds);
  }

  void RunPull(const std::string& key, PullTask task, const std::shared_ptr<Operation>& operation) {
    task.hosts = hosts.Failing();
    task.known_config = KnownConfig(task.reference);
    auto images = RunSession(operation->cancel.get(), task, {}, [&](const PullProgress& progress) {
      const std::lock_guard lock(operation->mutex);
      operation->progress = progress;
      operation->progressed = true;
    });
    {
      const std::lock_guard lock(mutex);
      const auto entry = operations.find(key);
      if (entry != operations.end() && entry->second == operation) operations.erase(entry);
    }
    const std::lock_guard lock(operation->mutex);
    if (images.ok()) {
      operation->result = images->front();
    } else {
      operation->result = PullError(images.status(), task.reference);
    }
    operation->changed.notify_all();
  }

  // Joins the pull of the same thing, or starts one.
  StatusOr<std::shared_ptr<Operation>> Join(const std::shared_ptr<State>& self,
                                            const PullTask& task) {
    const std::string key = EncodeOrder(task);
    const std::lock_guard lock(mutex);
    if (closing) return absl::CancelledError("the image service is shutting down");
    std::shared_ptr<Operation>& operation = operations[key];
    if (operation == nullptr) {
      operation = std::make_shared<Operation>();
      running.insert(operation->cancel.get());
      // Detached: the destructor waits for `running`, which it leaves last.
      std::thread([self, key, task, running_operation = operation] {
        self->RunPull(key, task, running_operation);
        self->Leave(running_operation->cancel.get());
      }).detach();
    }
    const std::lock_guard operation_lock(operation->mutex);
    ++operation->waiters;
    return operation;
  }

  // The caller's wait is over; the last one ends a pull that is not done.
  void Part(const PullTask& task, const std::shared_ptr<Operation>& operation) {
    const std::lock_guard lock(mutex);
    const std::lock_guard operation_lock(operation->mutex);
    if (--operation->waiters > 0 || operation->result.has_value()) return;
    eventfd_write(operation->cancel.get(), 1);
    // Who asks from now on starts anew.
    const auto entry = operations.find(EncodeOrder(task));
    if (entry != operations.end() && entry->second == operation) operations.erase(entry);
  }
};

Puller::Puller(ImageStore* store, PullerOptions options) : state_(std::make_shared<State>()) {
  state_->store = store;
  state_->options = std::move(options);
  if (state_->options.cgroup.empty()) return;
  StatusOr<PullCgroup> cgroup = PullCgroup::Make(state_->options.cgroup);
  if (cgroup.ok()) {
    state_->cgroup.emplace(*std::move(cgroup));
  } else {
    Log(LogLevel::kWarning, "pulls have no cgroup of their own, ignoring",
        {{"reason", std::string(cgroup.status().message())}});
  }
}

Puller::~Puller() {
  std::unique_lock lock(state_->mutex);
  state_->closing = true;
  for (const int cancel : state_->running) eventfd_write(cancel, 1);
  state_->idle.wait(lock, [this] { return state_->running.empty(); });
}

StatusOr<std::shared_ptr<const Image>> Puller::Pull(const PullRequest& request) {
  const std::shared_ptr<State> state = state_;  // the puller may be destroyed under its callers
  ASSIGN_OR_RETURN(const PullTask task, MakeTask(state->options, request));
  ASSIGN_OR_RETURN(const std::shared_ptr<Operation> operation, state->Join(state, task));
  PullProgress shown;
  for (;;) {
    std::unique_lock lock(operation->mutex);
    operation->changed.wait_for(lock, kLookInterval, [&] { return operation->result.has_value(); });
    const auto result = operation->result;
    const bool news = operation->progressed;
    if (news) shown = operation->progress;
    lock.unlock();
    if (news && request.progress) request.progress(shown);
    const bool gone = !result.has_value() && request.cancelled && request.cancelled();
    if (!result.has_value() && !gone) continue;
    state->Part(task, operation);
    if (gone)
      return absl::CancelledError(absl::StrCat("pull image \"", task.reference, "\": cancelled"));
    return *result;
  }
}

StatusOr<PullExplanation> Puller::Explain(const PullRequest& request) {
  const std::shared_ptr<State> state = state_;
  ASSIGN_OR_RETURN(const PullTask task, MakeTask(state->options, request));
  const UniqueFd cancel(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!cancel.valid()) return SyscallError("eventfd");
  if (!state->Enter(cancel.get()))
    return absl::CancelledError("the image service is shutting down");
  auto explanation = RunExplain(
      {*state->store, state->options.puller_binary, cancel.get(), request.cancelled}, task);
  state->Leave(cancel.get());
  if (explanation.ok()) return explanation;
  return Annotate(explanation.status(), absl::StrCat("explain image \"", task.reference, "\""));
}

StatusOr<std::vector<std::shared_ptr<const Image>>> Puller::Import(int archive_fd,
                                                                   const std::string& name) {
  if (!name.empty()) RETURN_IF_ERROR(ParseReference(name).status());
  const std::shared_ptr<State> state = state_;
  const UniqueFd cancel(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!cancel.valid()) return SyscallError("eventfd");
  if (!state->Enter(cancel.get()))
    return absl::CancelledError("the image service is shutting down");
  auto images = ImportArchive(
      state->store,
      [&](const PullerOrder& task, std::span<const int> fds) {
        return state->RunSession(cancel.get(), task, fds, [](const PullProgress&) {});
      },
      archive_fd, name);
  state->Leave(cancel.get());
  if (!images.ok()) return Annotate(images.status(), "import images");
  return images;
}

}  // namespace gantry::images
