"""Pods outlive gantryd and the kubelet, each killed under the other."""

from kubelet_case import KubeletCase, container, is_ready, of, wait_until

TICKING = ("sh", "-c", "i=0; while :; do echo tick $i; i=$((i + 1)); sleep 0.2; done")


class KubeletRestarts(KubeletCase):
    def _unhurt(self, names, before):
        for name in names:
            status = self.run_until(name, is_ready, "ready again")
            self.assertEqual((before[name]["containerID"], 0),
                             (of(status, "one")["containerID"], of(status, "one")["restartCount"]))
            # A kubelet that has lost its runtime tries again after some seconds, and says so in the place of a log.
            wait_until(lambda name=name: self.kubelet.logs(name, "one").startswith("tick"), "logs are read again")
            ticks = [int(line.split()[1]) for line in self.kubelet.logs(name, "one").splitlines()]
            self.assertEqual(list(range(len(ticks))), ticks, "the log has a hole")
            self.assertEqual(f"{name}-node\n", self.kubelet.run(name, "one", "hostname"))

    def _start(self, prefix):
        """Names of one test alone: the kubelet counts restarts on from the logs of a pod of that name."""
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 2}
        names = [f"{prefix}{number}" for number in range(5)]
        for name in names:
            self.put(name, container("one", *TICKING, livenessProbe=probe))
        return names, {name: of(self.run_until(name, is_ready, "ready"), "one") for name in names}

    def test_gantryd_is_killed_and_no_container_notices(self):
        names, before = self._start("runtime")
        for _ in range(3):
            self.daemon.kill()
            self.daemon.start()
            self._unhurt(names, before)

    def test_the_kubelet_is_killed_and_no_container_notices(self):
        names, before = self._start("agent")
        self.kubelet.kill()
        self.kubelet.start()
        self._unhurt(names, before)

    def test_both_are_killed_and_no_container_notices(self):
        names, before = self._start("both")
        self.kubelet.kill()
        self.daemon.kill()
        self.daemon.start()
        self.kubelet.start()
        self._unhurt(names, before)
