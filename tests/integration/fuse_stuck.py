"""A FUSE file system that takes requests and never answers: whoever looks up a name in it sleeps uninterruptibly.

Spoken to the kernel directly (include/uapi/linux/fuse.h): the answers that a mount needs to come up are given, a LOOKUP is
read and left lying. From then on not even SIGKILL ends the caller, until the connection is closed.
"""

import ctypes
import os
import struct
import threading

LOOKUP, GETATTR, STATFS, INTERRUPT, INIT = 1, 3, 17, 36, 26
HEADER_IN = struct.Struct("<IIQQIIII")  # len, opcode, unique, nodeid, uid, gid, pid, padding
HEADER_OUT = struct.Struct("<IiQ")  # len, error, unique
ENOSYS = 38
DIRECTORY = 0o040755
MNT_FORCE, MNT_DETACH = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


class StuckFileSystem:
    """Mounted on `folder` until close()."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.stuck = threading.Event()  # somebody sleeps in it
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"stuck", self.folder.encode(), b"fuse.stuck", 0, options) != 0:
            error = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(error, os.strerror(error), self.folder)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        """Everybody who sleeps in it wakes up with an error: a forced unmount aborts the connection, wherever it is mounted."""
        _libc.umount2(self.folder.encode(), MNT_FORCE | MNT_DETACH)
        os.close(self._fd)

    def _serve(self):
        while True:
            try:
                request = os.read(self._fd, 1 << 17)
            except OSError:
                return
            _, opcode, unique, *_ = HEADER_IN.unpack_from(request)
            if opcode == LOOKUP:
                self.stuck.set()
            elif opcode != INTERRUPT:
                self._answer(opcode, unique)

    def _answer(self, opcode, unique):
        body, error = b"", 0
        if opcode == INIT:
            body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        elif opcode == GETATTR:  # valid for an hour: nobody asks again
            attributes = struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, DIRECTORY, 2, 0, 0, 0, 4096, 0)
            body = struct.pack("<QII", 3600, 0, 0) + attributes
        elif opcode == STATFS:
            body = bytes(80)
        else:
            error = -ENOSYS
        os.write(self._fd, HEADER_OUT.pack(HEADER_OUT.size + len(body), error, unique) + body)
