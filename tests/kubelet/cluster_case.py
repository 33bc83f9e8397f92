"""What every test of a cluster starts from: gantryd, a kubelet, an API server with etcd, and kubectl."""

import json

from case import pids_of, wait_until
from control_plane import ControlPlane
from kubectl import Kubectl
from kubelet import NODE
from kubelet_case import PROGRAMS, KubeletCase, container, is_ready, of, pod

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 100000 & wait; done")


class ClusterCase(KubeletCase):
    """All of it once for a class. No scheduler and no controllers: pods name their node."""

    @classmethod
    def start_kubelet(cls, cluster=None):
        cls.cluster = ControlPlane(PROGRAMS, cls.daemon.folder / "cluster", cls.gates)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()
        cls.kubectl = Kubectl(PROGRAMS / "kubectl", cls.cluster.administrator, cls.daemon.folder / "cluster")
        super().start_kubelet(cls.cluster)
        wait_until(cls.node_is_ready, f"the node is ready (log: {cls.kubelet.log})", 60)
        # A controller's work: what each pod is given.
        cls.kubectl.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}},
                          {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"},
                           "data": {"ca.crt": cls.cluster.authority.certificate.read_text()}})

    @classmethod
    def node(cls):
        """The node object, or None before the kubelet has registered."""
        items = json.loads(cls.cluster.get("/api/v1/nodes"))["items"]
        return items[0] if items else None

    @classmethod
    def node_is_ready(cls):
        node = cls.node()
        return node and is_ready(node["status"])

    def _end(self):
        self.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=60s")
        self._end_in_runtime()

    def put(self, name, *containers, **more):
        self.kubectl.apply(pod(name, *containers, nodeName=NODE, **more))

    def pods_of_cluster(self):
        items = json.loads(self.cluster.get("/api/v1/namespaces/default/pods"))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def statuses(self):
        return {name: found.get("status", {}) for name, found in self.pods_of_cluster().items()}

    def events(self, name):
        """Reasons and messages of what has been told of a pod."""
        items = json.loads(self.cluster.get("/api/v1/namespaces/default/events"))["items"]
        return [(one["reason"], one["message"]) for one in items if one["involvedObject"]["name"] == name]

    def inside(self, name, *command, into="one", **more):
        """What a command prints in a container."""
        return self.kubectl("exec", name, "-c", into, "--", *command, **more)


__all__ = ["NODE", "SLEEP", "ClusterCase", "container", "is_ready", "of", "pids_of", "pod", "wait_until"]
