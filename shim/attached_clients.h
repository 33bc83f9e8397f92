// Those who watch a container's output: the pump gives them a copy of what it reads.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

#include "runtime/linux/unique_fd.h"
#include "shim/event_loop.h"

namespace gantry::shim {

// A client has a pipe for each stream that it looks at: write ends, non-blocking, and up to 1 MiB
// here for what does not fit. One that does not keep up is either waited for, where the container
// was made for a client (it has a stdin or a terminal), or dropped: nobody who looks at a service
// may slow it down. One that takes nothing for 10 s is dropped always. Who is dropped loses both
// streams: with one of them it would wait for ever for what does not come.
class AttachedClients {
 public:
  // `drained` is called when a stream that Write wanted to pause may be read again.
  AttachedClients(EventLoop* loop, std::function<void(uint64_t stream)> drained)
      : loop_(loop), drained_(std::move(drained)) {}
  AttachedClients(const AttachedClients&) = delete;
  AttachedClients& operator=(const AttachedClients&) = delete;

  // A pipe of client `owner`, from now on; `patient`: it is waited for. Above 256 pipes it is
  // closed at once.
  void Add(uint64_t stream, uint64_t owner, UniqueFd pipe, bool patient);
  // False: a patient client is full; the stream is not to be read until `drained`. More is taken
  // all the same.
  bool Write(uint64_t stream, absl::string_view data);
  // The stream has ended: its clients are closed, each once it has taken the rest.
  void End(uint64_t stream);

 private:
  struct Client {
    uint64_t stream;
    uint64_t owner;
    UniqueFd fd;
    bool patient;
    bool ended = false;
    std::string pending;
    EventLoop::Watch watch;  // ends before fd is closed
    EventLoop::Timer bound;
  };
  using Place = std::list<Client>::iterator;

  // Whether it is still a client.
  bool Take(Place client, absl::string_view data);
  void OnEvent(Place client, uint32_t events);
  void WaitFor(Place client);
  // With its other stream.
  void Drop(uint64_t owner);
  [[nodiscard]] bool Pending(uint64_t stream) const;

  EventLoop* loop_;
  std::function<void(uint64_t)> drained_;
  std::list<Client> clients_;
};

}  // namespace gantry::shim
