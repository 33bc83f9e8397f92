// What a process in a container may do to its runtime: end, ignore signals, fork, eat memory,
// write.
#pragma once

namespace gantry::probe {

// Each returns the exit status of the probe; `value` is the sub-command's number.

// Prints "ready", then "signal N" for each signal that arrives, until `count` have arrived.
int ReportSignals(long count);
// Ignores TERM, prints "ready" and waits for what cannot be ignored.
int IgnoreTerm();
// Starts `count` children and as many grandchildren that sleep, prints "ready" and waits for them.
int SpawnSleepers(long count);
// Leaves an orphan that ends after the probe has: PID 1 must reap it. Prints its pid.
int LeaveOrphan();
// Allocates and touches `mebibytes`, then prints "ready".
int EatMemory(long mebibytes);
// Writes `count` numbered lines of 80 bytes to standard output, odd ones to standard error.
int WriteManyLines(long count);
// Copies standard input to standard output until its end.
int Echo();
// Sleeps until a signal ends it, after "ready".
int WaitForever();

}  // namespace gantry::probe
