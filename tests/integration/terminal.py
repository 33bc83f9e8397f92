"""Programs in a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from daemon import wait_until


class Terminal:
    """A program on a pseudo-terminal of ours."""

    def __init__(self, arguments, rows=24, columns=80):
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(arguments[0], [str(word) for word in arguments])
        self.text = ""
        self._status = None

    def type(self, text):
        os.write(self._master, text.encode())

    def resize(self, rows, columns):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, seconds):
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the program has ended
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if time.monotonic() > end:
                raise TimeoutError(f"{pattern} was not shown in {seconds} s: {self.text!r}")
            self._read(0.1)

    def status(self):
        """The exit status, once it has ended by itself."""
        def ended():
            self._read(0)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self._status = os.waitstatus_to_exitcode(status)
            return pid != 0
        if self._status is None:
            wait_until(ended, "the program has ended", 20)
            while self._read(0):
                pass
        return self._status

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._status = -signal.SIGKILL

    def close(self):
        if self._status is None:
            self.kill()
        os.close(self._master)
