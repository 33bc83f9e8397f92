"""A kubelet on folders of its own, beside a gantryd of tests/integration."""

import json
import os
import pathlib
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from control_plane import ADDRESS
from daemon import wait_until

NODE = "node"
API = "https://127.0.0.1:10250"


class Kubelet:
    """The process. `daemon`: its runtime; `gates`: feature gates by name; `cluster`: the control plane, or none."""

    def __init__(self, program, daemon, gates, cluster=None):
        self._program, self._daemon, self._cluster = program, daemon, cluster
        self.folder = daemon.folder / "kubelet"
        self.log = daemon.folder / "kubelet.log"
        self.manifests = self.folder / "manifests"
        self.pod_logs = self.folder / "pod-logs"
        self._process = None
        # Its certificate is one that it has made itself.
        self._trust = ssl.create_default_context()
        self._trust.check_hostname, self._trust.verify_mode = False, ssl.CERT_NONE
        if cluster:
            self._trust.load_cert_chain(*cluster.client_pair)
        for folder in (self.manifests, self.pod_logs):
            folder.mkdir(parents=True)
        self._config = self.folder / "config.json"
        self._config.write_text(json.dumps(self._settings(gates)))

    def _settings(self, gates):
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self._daemon.socket}",
            "staticPodPath": str(self.manifests), "fileCheckFrequency": "1s", "podLogsDir": str(self.pod_logs),
            "containerLogMaxSize": "256Ki", "containerLogMonitorInterval": "3s",
            "cgroupRoot": f"/{self._daemon.cgroup}", "failCgroupV1": False, "enforceNodeAllocatable": [],
            "healthzPort": 0, "readOnlyPort": 0, **self._door(),
            "failSwapOn": False, "oomScoreAdj": 0, "makeIPTablesUtilChains": False, "evictionHard": {},
            "volumePluginDir": str(self.folder / "plugins"), "shutdownGracePeriod": "0s",
            "featureGates": gates,
        }

    def _door(self):
        """Where its own API listens, and whom it lets in."""
        if not self._cluster:
            return {"address": "127.0.0.1", "authorization": {"mode": "AlwaysAllow"},
                    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}}}
        return {"address": "0.0.0.0", "authorization": {"mode": "Webhook"}, "authentication": {
            "anonymous": {"enabled": False}, "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(self._cluster.authority.certificate)}}}

    def _flags(self):
        if not self._cluster:
            return ["--node-ip", "127.0.0.1"]
        return ["--node-ip", ADDRESS, "--kubeconfig", self._cluster.agent]

    def start(self):
        for controller in self._hierarchies():
            (controller / self._daemon.cgroup).mkdir(exist_ok=True)
        command = [self._program, "--config", self._config, "--root-dir", self.folder / "root", "--cert-dir",
                   self.folder / "pki", "--hostname-override", NODE, "--v", "3", *self._flags()]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"the kubelet answers (log: {self.log})", 60)

    @staticmethod
    def _hierarchies():
        top = pathlib.Path("/sys/fs/cgroup")
        return [top] if (top / "cgroup.controllers").exists() else [one for one in top.iterdir() if one.is_dir()
                                                                    and (one / "cgroup.procs").exists()]

    def _answers(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"the kubelet ended with {self._process.returncode}: {self.last_words()}")
        try:
            return self.get("/healthz") == "ok"
        except OSError:
            return False

    def last_words(self):
        return self.log.read_text(errors="replace")[-2000:]

    def kill(self):
        self._process.kill()
        self._process.wait()

    def running(self):
        return self._process is not None and self._process.poll() is None

    def get(self, path, method="GET"):
        """What its API answers, as text. urllib.error.HTTPError when that is an error."""
        request = urllib.request.Request(API + path, method=method)
        with urllib.request.urlopen(request, timeout=60, context=self._trust) as answer:
            return answer.read().decode(errors="replace")

    def run(self, pod, container, *command):
        """What a command prints in a container, both streams; it failed: HTTPError."""
        words = urllib.parse.urlencode({"cmd": " ".join(command)})
        return self.get(f"/run/default/{pod}-{NODE}/{container}?{words}", "POST")

    def logs(self, pod, container, **query):
        words = urllib.parse.urlencode(query)
        return self.get(f"/containerLogs/default/{pod}-{NODE}/{container}?{words}")

    def pods(self):
        """The kubelet's pods by name, as it would tell the API server."""
        items = json.loads(self.get("/pods"))["items"] or []
        return {item["metadata"]["name"].removesuffix(f"-{NODE}"): item for item in items}

    def put(self, pod):
        """Gives it the pod's manifest, whole at once: it may read a file at any time."""
        path = self.manifests / f"{pod['metadata']['name']}.json"
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(json.dumps(pod))
        os.rename(temporary, path)

    def take_away(self, name):
        (self.manifests / f"{name}.json").unlink()
