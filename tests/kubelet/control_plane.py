"""etcd and a kube-apiserver on folders of their own, and the credentials of those who talk to it."""

import json
import pathlib
import ssl
import subprocess
import urllib.request

from certificates import Authority
from daemon import wait_until

ADDRESS = "10.84.0.1"  # of the node: a kubelet registers with none of loopback
LINK = "node0"
URL = "https://127.0.0.1:6443"
ETCD = "http://127.0.0.1:2379"
SERVICES = "10.96.0.0/16"
DEADLINE_S = 120


class ControlPlane:
    """The two processes. `programs`: folder of etcd and kube-apiserver. `folder`: theirs, which the owner deletes.

    `gates`: feature gates by name.
    """

    def __init__(self, programs, folder, gates):
        self._programs, self._folder = pathlib.Path(programs), folder
        self._processes, self._gates = [], gates
        folder.mkdir()
        self.authority = Authority(folder, "cluster")
        self._trust = ssl.create_default_context(cafile=self.authority.certificate)
        self.log = folder / "kube-apiserver.log"
        # Names and groups that Kubernetes itself gives rights to.
        self._trust.load_cert_chain(*self.authority.sign("observer", "clientAuth", "system:masters"))
        self.client_pair = self.authority.sign("kube-apiserver-kubelet-client", "clientAuth", "system:masters")
        self.administrator = self._credentials("administrator", "system:masters")
        self.agent = self._credentials("system:node:node", "system:nodes")

    def _credentials(self, user, group):
        """A kubeconfig file of a user."""
        certificate, key = self.authority.sign(user, "clientAuth", group)
        path = self._folder / f"{user}.json"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "only",
            "clusters": [{"name": "only", "cluster": {"server": URL,
                                                      "certificate-authority": str(self.authority.certificate)}}],
            "users": [{"name": user, "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
            "contexts": [{"name": "only", "context": {"cluster": "only", "user": user}}]}))
        return path

    def _run(self, name, *flags):
        with open(self._folder / f"{name}.log", "ab") as log:
            self._processes.append(subprocess.Popen([self._programs / name, *flags], stdin=subprocess.DEVNULL,
                                                    stdout=log, stderr=log, cwd=self._folder))

    def start(self):
        subprocess.run(["ip", "link", "add", LINK, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", LINK], check=True)
        subprocess.run(["ip", "link", "set", LINK, "up"], check=True)
        self._run("etcd", "--data-dir", "etcd", "--listen-client-urls", ETCD, "--advertise-client-urls", ETCD,
                  "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "warn")
        self._run("kube-apiserver", *self._flags())
        wait_until(self._ready, f"the API server is ready (log: {self.log})", DEADLINE_S)

    def _flags(self):
        served, served_key = self.authority.sign("kube-apiserver", "serverAuth")
        client, client_key = self.client_pair
        return [f"--etcd-servers={ETCD}", "--bind-address=0.0.0.0", f"--advertise-address={ADDRESS}",
                f"--tls-cert-file={served}", f"--tls-private-key-file={served_key}",
                f"--client-ca-file={self.authority.certificate}",
                f"--kubelet-client-certificate={client}", f"--kubelet-client-key={client_key}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--service-account-key-file={served}", f"--service-account-signing-key-file={served_key}",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={SERVICES}",
                "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true", "--cert-dir=kube-apiserver", "--profiling=false",
                "--feature-gates=" + ",".join(f"{name}={str(on).lower()}" for name, on in self._gates.items())]

    def _ready(self):
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended: {self.last_words()}")
        try:
            return self.get("/readyz") == "ok"
        except OSError:
            return False

    def get(self, path):
        """What the API server answers, as text: for what is asked again and again."""
        with urllib.request.urlopen(f"{URL}{path}", timeout=20, context=self._trust) as answer:
            return answer.read().decode()

    def last_words(self):
        return "\n".join(log.read_text(errors="replace")[-1000:] for log in self._folder.glob("*.log"))

    def stop(self):
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        subprocess.run(["ip", "link", "delete", LINK], check=False)
