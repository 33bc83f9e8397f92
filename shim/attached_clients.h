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

// Clients are write ends of pipes, non-blocking. One that does not keep up is either waited for,
// where the container was made for a client (it has a stdin or a terminal), or dropped: nobody who
// looks at a service may slow it down. One that takes nothing for 10 s is dropped always.
class AttachedClients {
 public:
  // `drained` is called when a stream that Write wanted to pause may be read again.
  AttachedClients(EventLoop* loop, std::function<void(uint64_t stream)> drained)
      : loop_(loop), drained_(std::move(drained)) {}
  AttachedClients(const AttachedClients&) = delete;
  AttachedClients& operator=(const AttachedClients&) = delete;

  // From now on; `patient`: it is waited for. Above 256 clients it is closed at once.
  void Add(uint64_t stream, UniqueFd client, bool patient);
  // False: a patient client is full; the stream is not to be read until `drained`. More is taken
  // all the same.
  bool Write(uint64_t stream, absl::string_view data);
  // The stream has ended: its clients are closed, each once it has taken the rest.
  void End(uint64_t stream);

 private:
  struct Client {
    uint64_t stream;
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
  void Drop(Place client);
  [[nodiscard]] bool Pending(uint64_t stream) const;

  EventLoop* loop_;
  std::function<void(uint64_t)> drained_;
  std::list<Client> clients_;
};

}  // namespace gantry::shim
