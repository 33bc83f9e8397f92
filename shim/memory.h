// How the processes of this folder stay small: there are two for each pod, and they sleep nearly
// all of their lives.
#pragma once

namespace gantry::shim {

// malloc that keeps next to nothing back. Before the first threads and large allocations.
void ConfigureMemory();

// Gives back to the kernel what is free: heap pages, and the stack below the caller, which deep
// calls have touched.
void ReleaseMemory();

}  // namespace gantry::shim
