// What an unpacker gives up before it reads the first byte that somebody else made.
#pragma once

#include "runtime/base/status.h"

namespace gantry::images {

// Leaves the process with: the open descriptors; the directory `staging` as its root and working
// directory, and, where Landlock knows hard links (Linux 5.19), as the only place it may change;
// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD and SETFCAP; no new privileges; limits on memory and
// descriptors; and the system calls that writing files needs, none that makes a process, a socket
// or executable memory (the others fail with EPERM). Call it single-threaded, as root, once.
Status ConfineUnpacker(int staging);

}  // namespace gantry::images
