// The shim's side of the pump (pump.h): starts it with the first log, starts it again when it dies,
// and bounds every answer. The read ends of the containers' pipes are kept here too, so that a new
// pump goes on where the last one fell.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/time/time.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "shim/event_loop.h"
#include "shim/journal.h"
#include "shim/pump_messages.h"
#include "shim/reaper.h"

namespace gantry::shim {

// How long the pump may take for an answer before the shim goes on without it.
inline constexpr absl::Duration kPumpBound = absl::Seconds(10);

class PumpHandle {
 public:
  using Done = std::function<void(const Status&)>;

  // `run_child` is the body of the forked pump: sets the process title and calls RunPump.
  PumpHandle(EventLoop* loop, Reaper* reaper, Journal* journal,
             std::function<void(UniqueFd control)> run_child)
      : loop_(loop), reaper_(reaper), journal_(journal), run_child_(std::move(run_child)) {}
  PumpHandle(const PumpHandle&) = delete;
  PumpHandle& operator=(const PumpHandle&) = delete;

  // Starts the pump ahead of the first log: the earlier, the less of the shim's memory it is a copy
  // of.
  void Start();

  // Every callback is called exactly once, from the loop, at the latest after kPumpBound
  // (kUnavailable).

  struct Source {
    std::string path;          // of the log; empty: the output is discarded
    UniqueFd out, err;         // read ends, non-blocking; either may be invalid
    bool interactive = false;  // the container has a stdin or a terminal (attached_clients.h)
  };
  // Reads into the log. Returns its number.
  uint32_t Open(Source source, Done opened);
  // `out` and `err` (either may be invalid) get a copy of what comes from now on, until the streams
  // end; there is no answer. A pump that dies drops them.
  void Attach(uint32_t log, UniqueFd out, UniqueFd err);
  // One at a time; kFailedPrecondition while another is on the way, kNotFound for a log that is
  // finished.
  void Reopen(uint32_t log, Done reopened);
  // The last call for a log. OK: all that was in the pipes is in the file.
  void Finish(uint32_t log, Done finished);
  // The same for a container that was never there: its file goes, unless something is in it.
  void Abandon(uint32_t log, Done finished);
  // Lets the pump end: `stopped` is called when it has, at the latest after a second (it sleeps on
  // its disk then, and ends when that wakes). Nothing may be opened any more.
  void Stop(std::function<void()> stopped);

 private:
  // An answer that is waited for.
  struct Waiting {
    Done done;
    EventLoop::Timer bound;
  };
  struct Log {
    Source source;
    bool abandoned = false;
    std::map<PumpVerb, Waiting> waiting;
  };
  struct Command {
    PumpVerb verb;
    uint32_t log;
    UniqueFd out = {}, err = {};  // of kAttach
  };

  void Wait(uint32_t log, PumpVerb verb, Done done);
  void Answer(uint32_t log, PumpVerb verb, const Status& status);
  void Fail(Done done, const Status& status);
  void Queue(Command command);
  void Flush();
  Status SendCommand(const Command& command);
  void OnControl(uint32_t events);
  void OnAnswer(const PumpMessage& answer);
  Status Spawn();
  void OnExit();

  EventLoop* loop_;
  Reaper* reaper_;
  Journal* journal_;
  std::function<void(UniqueFd control)> run_child_;

  UniqueFd control_;
  EventLoop::Watch control_watch_;
  Reaper::Child child_;
  EventLoop::Timer restart_;
  std::function<void()> stopped_;
  EventLoop::Timer stop_bound_;
  int failures_ = 0;  // in a row, without an answer between them

  uint32_t last_log_ = 0;
  std::map<uint32_t, Log> logs_;
  std::deque<Command> queue_;
  std::map<uint64_t, EventLoop::Timer> failing_;  // refusals on their way to the caller
  uint64_t last_failing_ = 0;
};

}  // namespace gantry::shim
