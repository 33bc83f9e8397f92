"""The oracle itself: one that cannot fail would be a defect."""

import os
import pathlib
import re
import socket
import subprocess

from case import GantryTest
from daemon import wait_until


class Oracle(GantryTest):
    def assert_told(self, *words):
        told = "\n".join(self.oracle.leaks(self.before, seconds=0))
        for word in words:
            self.assertIn(word, told)

    def test_it_tells_of_a_file(self):
        left = self.daemon.root / "containers" / "left"
        left.touch()
        self.assert_told(f"file left: {left}")
        left.unlink()

    def test_it_tells_of_a_mount(self):
        place = self.daemon.folder / "mounted"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "left", place], check=True)
        self.assert_told(f"mount left: {place} (tmpfs)")
        subprocess.run(["umount", place], check=True)

    def test_it_tells_of_a_process_and_of_its_zombie(self):
        child = subprocess.Popen(["sleep", "1000"])
        status = pathlib.Path(f"/proc/{child.pid}/status")
        wait_until(lambda: re.search(r"^State:\tS", status.read_text(), re.MULTILINE), "it sleeps")
        self.assert_told(f"process left: {child.pid} sleep S: sleep 1000")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assert_told(f"process left: {child.pid} sleep Z: ")
        child.wait()

    def test_it_tells_of_a_link_and_of_a_network_namespace(self):
        subprocess.run(["ip", "link", "add", "left0", "type", "bridge"], check=True)
        subprocess.run(["ip", "netns", "add", "left"], check=True)
        self.assert_told("link left: left0", "network namespace left: /run/netns/left")
        subprocess.run(["ip", "netns", "delete", "left"], check=True)
        subprocess.run(["ip", "link", "delete", "left0"], check=True)
        # ip turned the folder into a mount of its own.
        subprocess.run(["umount", "/run/netns"], check=True)

    def test_it_tells_of_a_cgroup(self):
        left = pathlib.Path("/sys/fs/cgroup/pids") / self.daemon.cgroup / "left"
        if not left.parent.exists():
            left = pathlib.Path("/sys/fs/cgroup") / self.daemon.cgroup / "left"
        left.mkdir()
        self.assert_told(f"cgroup left: {left}")
        left.rmdir()

    def test_it_tells_of_a_unix_socket_and_of_a_descriptor_of_the_daemon(self):
        with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.daemon.folder / "left.sock"))
            server.listen()
            client.connect(str(self.daemon.socket))
            client.send(b"PRI")  # the daemon has accepted it once it answers with its settings
            client.recv(1)
            self.assert_told(f"unix socket left: {self.daemon.folder}/left.sock", "descriptor left: socket")
