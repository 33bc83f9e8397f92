"""Sessions of a person: the command gantry in a terminal, over WebSocket."""

import os
import subprocess

from case import GantryTest, pids_of, wait_until
from terminal import Terminal

CTRL_P_CTRL_Q = "\x10\x11"


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
