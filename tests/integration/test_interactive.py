"""Sessions of a person: the command gantry in a terminal, over WebSocket."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from case import GantryTest, pids_of, wait_until

CTRL_P_CTRL_Q = "\x10\x11"


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


class Interactive(GantryTest):
    def gantry(self, *arguments):
        return [str(self.lane.binaries / "gantry"), *arguments[:1], "--socket", f"unix://{self.daemon.socket}",
                *arguments[1:]]

    def terminal(self, *arguments, **size):
        terminal = Terminal(self.gantry(*arguments), **size)
        self.addCleanup(terminal.close)
        return terminal

    def test_a_shell_in_a_container_has_the_terminals_size_and_gives_its_exit_status(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        shell = self.terminal("exec", "-it", container, "sh", rows=30, columns=100)
        shell.type("echo term=$TERM $((40 + 2)) ; stty size\n")
        shell.wait_for(r"term=xterm 42\r\n30 100\r\n")
        shell.resize(43, 132)
        shell.type("sleep 0.2; stty size\n")
        shell.wait_for(r"43 132\r\n")
        shell.type("exit 7\n")
        self.assertEqual(7, shell.status(), shell.text)

    def test_a_shell_ends_with_its_client(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        shell = self.terminal("exec", "-it", container, "sh", "-c", "echo shell-4711; sleep 4711")
        shell.wait_for("shell-4711")
        wait_until(lambda: pids_of("sleep 4711"), "its child runs")
        shell.kill()
        wait_until(lambda: not pids_of("sleep 4711"), "its child has ended")

    def test_bytes_pass_through_a_pipe_whole(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        data = os.urandom(5 << 20)
        done = subprocess.run(self.gantry("exec", "-i", container, "cat"), input=data, capture_output=True,
                              timeout=60, check=False)
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        self.assertTrue(done.stdout == data, f"{len(done.stdout)} bytes came back")

    def test_a_terminals_container_is_attached_to_and_left_again(self):
        container = self.launch(self.run_pod(), "one", "sh", stdin=True, tty=True)
        first = self.terminal("attach", container)
        first.type("echo $((40 + 2))\n")
        first.wait_for(r"42\r\n")
        first.type(CTRL_P_CTRL_Q)
        self.assertEqual(0, first.status(), first.text)
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        second = self.terminal("attach", container)
        second.type("exit\n")
        self.assertEqual(0, second.status(), second.text)
        self.wait_exited(container)

    def test_run_shows_what_a_container_says_first_and_gives_its_exit_status(self):
        run = self.terminal("run", "-it", "--rm", "--net", "host", "docker.io/library/base:1", "sh", "-c",
                            "echo first; read word; echo got $word; exit 3")
        run.wait_for(r"first\r\n")
        run.type("something\n")
        self.assertEqual(3, run.status(), run.text)
        self.assertIn("got something", run.text)
