"""The disk of the daemon's own records is full."""

import os
import signal
import subprocess

from case import BASE, GantryTest, pids_of, wait_until
from crictl import Crictl
from daemon import Daemon


class FullDisk(GantryTest):
    def setUp(self):
        super().setUp()
        self.disk = self.daemon.folder / "small"
        self.disk.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", self.disk], check=True)
        self.small = Daemon(self.lane.binaries, self.lane.registry.address, root=self.disk / "root")
        self.addCleanup(subprocess.run, ["umount", self.disk], check=True)
        self.addCleanup(self.small.delete, False)
        self.small.start()
        self.own = Crictl(self.lane.crictl, self.small)
        self.own("pull", BASE)

    def fill(self):
        with open(self.disk / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        for _ in range(64):  # the last page
            try:
                (self.disk / f"filler-{_}").write_bytes(bytes(4096))
            except OSError:
                return

    def drain(self):
        for path in self.disk.glob("filler*"):
            path.unlink()

    def test_row_43_an_exit_that_could_not_be_recorded_is_recorded_when_there_is_room(self):
        config = self.pod_config("pod")
        config["linux"]["cgroup_parent"] = f"/{self.small.cgroup}/pod"
        document = self.own.document(config)
        pod = self.own("runp", document)
        container = self.own("create", pod, self.own.document(self.container_config(
            "one", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")), document)
        self.own("start", container)
        self.fill()
        # From the first page that it cannot write on SQLite has no room either.
        def log():
            return self.small.log.read_text(errors="replace")
        os.kill(pids_of("trap 'exit 7'")[0], signal.SIGTERM)
        wait_until(lambda: "CONTAINER_EXITED" == self.shown(container)["state"], "the exit is told")
        self.assertEqual(7, self.shown(container)["exitCode"])
        wait_until(lambda: "exit not recorded on disk" in log(), "the disk is full for the record")
        self.drain()
        wait_until(lambda: "recorded on disk after all" in log(), "the exit is recorded", 40)
        # Nobody else knows it any more.
        self.small.kill()
        shim = pids_of(f"gantry:shim {pod}")
        os.kill(shim[0], signal.SIGKILL)
        wait_until(lambda: not pids_of(f"gantry:shim {pod}"), "the shim is gone")
        (self.small.state / "pods" / pod / "journal").unlink()
        self.small.start()
        self.assertEqual(7, self.shown(container)["exitCode"])
        self.own("stopp", pod)
        self.own("rmp", pod)

    def shown(self, container):
        return self.own.json("inspect", "-o", "json", container)["status"]
