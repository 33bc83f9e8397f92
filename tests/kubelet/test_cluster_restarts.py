"""gantryd and the kubelet are killed while pods come and go: what is wanted runs in the end, and nothing else."""

from cluster_case import ClusterCase, container, is_ready, of, pids_of, wait_until
from kubelet import NODE
from kubelet_case import pod

TICKING = ("sh", "-c", "i=0; while :; do echo tick $i; i=$((i + 1)); sleep 0.2; done")
PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 2}
WAVE = 10  # pods that come, and as many that go, in a round
ROUNDS = 3


class ClusterRestarts(ClusterCase):
    maxDiff = None
    def setUp(self):
        super().setUp()
        self.run_ready("first", container("one", *TICKING))  # what the kubelet makes once
        self._all_gone()
        self.untouched = self.oracle.look()

    def _all_gone(self):
        self.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=120s")
        self._end_in_runtime()

    def _wave(self, prefix):
        """Many pods at once. Returns their names."""
        names = [f"{prefix}-{number}" for number in range(WAVE)]
        self.kubectl.apply(*(pod(name, container("one", *TICKING, livenessProbe=PROBE), nodeName=NODE) for name in names))
        return names

    def _ready(self, names):
        """The statuses of the container of each, when all are ready."""
        return {name: of(self.run_until(name, is_ready, "ready", 180), "one") for name in names}

    def _kill_under_load(self, kill):
        """`kill` ends and starts something. Pods that stay must not notice it, whatever comes and goes meanwhile."""
        staying = self._wave("staying")
        going = self._wave("round-0")
        before = self._ready(staying)
        self._ready(going)
        for number in range(1, ROUNDS + 1):
            coming = self._wave(f"round-{number}")
            self.kubectl("delete", "pod", *going, "--wait=false")
            wait_until(lambda coming=coming: any(of(self.statuses()[name], "one")["state"].get("running") for name in coming),
                       "the first of them runs", 60)
            kill()
            going = coming
        after = self._ready([*staying, *going])
        wait_until(lambda: set(self.pods_of_cluster()) == {*staying, *going}, "the others are gone", 180)
        for name in staying:
            self.assertEqual((before[name]["containerID"], 0), (after[name]["containerID"], after[name]["restartCount"]))
            self._whole_log(name)
            self.assertEqual(f"{name}\n", self.inside(name, "hostname"))
        # A kubelet that hears nothing of a container's start makes another one; none that ran may have ended.
        self.assertEqual({}, {name: after[name] for name in going if self._ended_before(after[name])})
        running = set(self.crictl("ps", "-q").split())
        self.assertEqual({one["containerID"].partition("://")[2] for one in after.values()}, running)
        self._all_gone()
        self._nothing_left()

    @staticmethod
    def _ended_before(status):
        """What is told of the container's life before, where it had one: without a start it is of 1970."""
        ended = status["lastState"].get("terminated")
        return ended if ended and not ended["startedAt"].startswith("1970") else None

    def _whole_log(self, name):
        ticks = [int(line.split()[1]) for line in self.kubectl("logs", name).splitlines()]
        self.assertEqual(list(range(len(ticks))), ticks, f"the log of {name} has a hole")

    def _nothing_left(self):
        wait_until(lambda: not pids_of(f"{self.daemon.state}/pods"), "no shim is left")
        # A kubelet that was killed is another process afterwards, and leaves sockets in its folder.
        left = [line for line in self.oracle.leaks(self.untouched)
                if "kubelet" not in line or line.startswith(("mount", "cgroup"))]
        self.assertEqual([], left)

    def _restart_daemon(self):
        for _ in range(3):  # the second and third time in the midst of finding its pods again
            self.daemon.kill()
            self.daemon.start()

    def _restart_kubelet(self):
        self.kubelet.kill()
        self.kubelet.start()

    def _restart_both(self):
        self.kubelet.kill()
        self.daemon.kill()
        self.daemon.start()
        self.kubelet.start()

    def test_gantryd_is_killed(self):
        self._kill_under_load(self._restart_daemon)

    def test_the_kubelet_is_killed(self):
        self._kill_under_load(self._restart_kubelet)

    def test_both_are_killed(self):
        self._kill_under_load(self._restart_both)
