// One pull or import from start to end: the puller process, its images, and their layers, in one
// thread, and another one for each layer that is being published. Children and staging directories
// do not outlive it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "imageservice/child_process.h"
#include "imageservice/layer_claims.h"
#include "imageservice/layer_transfer.h"
#include "imageservice/pull.h"
#include "imageservice/puller_protocol.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

class PullSession {
 public:
  struct Services {
    ImageStore* store;
    LayerClaims* claims;
    const PullerOptions* options;
    HostHealth* hosts;         // learns what the puller learns
    const PullCgroup* cgroup;  // of all children; may be null
    int cancel;                // eventfd: readable ends the session with kCancelled
    std::function<void(const PullProgress&)> on_progress;
  };

  explicit PullSession(Services services);
  ~PullSession();

  // Runs `task` with the descriptors that belong to it. Once.
  StatusOr<std::vector<std::shared_ptr<const Image>>> Run(const PullerOrder& task,
                                                          std::span<const int> fds);

 private:
  struct Layer {
    FoundLayer found;
    size_t progress = 0;  // index in progress_.layers
    bool claimed = false;
    std::optional<std::chrono::steady_clock::time_point> waits_since;  // for who has claimed it
    bool done = false;
    std::unique_ptr<LayerTransfer> transfer;
    UniqueFd resume;     // our copy of its resume file, while the puller has one
    bool again = false;  // the puller says that another try may end better
    bool tried_again = false;
  };

  Status StartPuller(const PullerOrder& task, std::span<const int> fds);
  Status Order(const PullerOrder& order, std::span<const int> fds);
  Status PullerDied();
  Status AwaitImages();
  Status CheckRoom() const;
  Status FetchLayers();
  // The layers that are not here and not in somebody else's hands, as many as may run at once.
  Status StartLayers();
  // True: it is ours to fetch.
  bool Claim(Layer& layer);
  StatusOr<bool> UseExisting(Layer& layer);
  Status StartTransfer(Layer& layer);
  void SetPriorities();
  Status FinishLayers();
  Status LayerFetched(Layer& layer, const Status& verdict);
  Status LayerPublished(Layer& layer, const Status& status);
  // The file that keeps what comes of a big layer, if there may be one.
  void TakeResumeFile(Layer& layer);
  void GiveResumeFile(Layer& layer, bool keep);
  Status Wait();
  Status OnPuller();
  // kInternal: the puller has been silent for too long while it has something to do.
  Status CheckPuller() const;
  Status Take(const PullerReport& report);
  bool AllDone() const;
  void Complete(Layer& layer, bool already_here);
  void SetStage(const char* stage);
  StatusOr<std::vector<std::shared_ptr<const Image>>> Record();

  const Services services_;
  const PullerOrder* task_ = nullptr;  // while Run runs
  std::string registry_;               // that it pulls from
  const std::string hold_;             // the name under which the store keeps our layers
  UniqueFd wake_;  // eventfd: a layer is published, or one of somebody else's is free
  std::optional<ChildProcess> puller_;
  std::optional<PullerChannel> channel_;
  std::chrono::steady_clock::time_point heard_at_{};  // the puller's last word, or its last order
  std::optional<std::vector<FoundImage>> images_;
  std::map<std::string, Layer> layers_;  // by digest
  std::vector<std::string> order_;       // digests, biggest first
  PullProgress progress_;
};

}  // namespace gantry::images
