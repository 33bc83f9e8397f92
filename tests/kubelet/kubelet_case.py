"""What every test here starts from: a gantryd, a kubelet over it, and pods from files."""

import os
import pathlib

from case import BASE, GantryTest, pids_of, wait_until
from kubelet import Kubelet

PROGRAMS = pathlib.Path(os.environ["CLUSTER_BIN"])


def container(name, *command, **more):
    made = {"name": name, "image": BASE, "terminationMessagePolicy": "FallbackToLogsOnError", **more}
    return {**made, "command": list(command)} if command else made


def pod(name, *containers, **more):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers), **more}}


class KubeletCase(GantryTest):
    """One gantryd and one kubelet for a class."""

    gates = {"PodAndContainerStatsFromCRI": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start_kubelet()

    @classmethod
    def start_kubelet(cls, cluster=None):
        cls.kubelet = Kubelet(PROGRAMS / "kubelet", cls.daemon, cls.gates, cluster)
        cls.addClassCleanup(cls._end_kubelet)
        cls.kubelet.start()

    @classmethod
    def _end_kubelet(cls):
        if cls.kubelet.running():
            cls.kubelet.kill()

    def setUp(self):  # the kubelet itself leaves things: see _end
        self.names = []
        self.addCleanup(self._end)

    def _end(self):
        for name in self.names:
            self.kubelet.take_away(name)
        self._end_in_runtime()

    def _end_in_runtime(self):
        wait_until(lambda: not self.crictl("pods", "-q", "--state", "ready").split(), "the kubelet has ended its pods", 60)
        self.remove_everything()  # the kubelet would, within a minute
        self.assertEqual([], self.containers())
        wait_until(lambda: not pids_of(f"{self.daemon.state}/pods"), "no shim is left")

    def put(self, name, *containers, **more):
        self.kubelet.put(pod(name, *containers, **more))
        self.names.append(name)

    def statuses(self):
        """What is told of each pod, by name."""
        return {name: found.get("status", {}) for name, found in self.kubelet.pods().items()}

    def run_until(self, name, condition, what, seconds=60):
        """Waits for a condition on the status that the kubelet tells of a pod, and returns the status."""
        last = {}

        def holds():
            last.clear()
            last.update(self.statuses().get(name, {}))
            return last and condition(last)

        try:
            wait_until(holds, what, seconds)
        except TimeoutError:
            self.fail(f"{name} is not {what}: {last.get('phase')} {last.get('containerStatuses')} "
                      f"{last.get('initContainerStatuses')}; log: {self.kubelet.log}")
        return last

    def run_ready(self, name, *containers, **more):
        """A pod, when it is ready."""
        self.put(name, *containers, **more)
        return self.run_until(name, is_ready, "ready")


def is_ready(status):
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))


def of(status, name, kind="containerStatuses"):
    """The status of one container."""
    found = next((one for one in status.get(kind, []) if one["name"] == name), {})
    return {"state": {}, "lastState": {}, "restartCount": 0, **found}


__all__ = ["PROGRAMS", "KubeletCase", "container", "is_ready", "of", "pod", "wait_until"]
