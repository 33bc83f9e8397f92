// What an unpacker gives up before it reads the first byte that somebody else made. Each function
// is called once, single-threaded, as root. They leave the process with its open descriptors, no
// new privileges, no core dumps, limits on memory and descriptors, and the system calls that its
// work needs, none that makes a process, a socket or executable memory (the others fail with
// EPERM).
#pragma once

#include "runtime/base/status.h"

namespace gantry::images {

// For a layer as a directory tree: the directory `staging` becomes root and working directory, and,
// where Landlock knows hard links (Linux 5.19), the only place that may be changed. Kept are CHOWN,
// DAC_OVERRIDE, FOWNER, FSETID, MKNOD and SETFCAP.
Status ConfineToTree(int staging);

// For a tree that is only read: the same with the right to read files, as nobody with
// DAC_READ_SEARCH.
Status ConfineToReading(int tree);

// For a layer as files: what is open may be read and written, and that is all. The process becomes
// nobody without capabilities; no system call is left that takes a path. `threads`: it may make
// some.
Status ConfineToFiles(bool threads);

}  // namespace gantry::images
