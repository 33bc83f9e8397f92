"""What every test here starts from: a daemon, crictl, an image, and nothing left at the end."""

import pathlib
import re
import shutil
import subprocess
import unittest

from crictl import Crictl
from daemon import BRIDGE, Daemon, wait_until
from images import Registry, base_layer, image, write_archive
from leak_oracle import LeakOracle, processes

NAMESPACE_POD, NAMESPACE_CONTAINER, NAMESPACE_NODE = 0, 1, 2
BASE = "docker.io/library/base:1"


class Pod:
    def __init__(self, pod_id, config, document):
        self.id = pod_id
        self.config = config
        self.document = document

    def log(self, name):
        return pathlib.Path(self.config["log_directory"]) / f"{name}.log"


class Lane:
    """What all tests share: the programs, a registry, the base layer. Made once by main.py."""

    def __init__(self, folder, given, keep=False):
        self.binaries = given.bin
        self.crictl = given.crictl
        self.streamclient = given.streamclient
        self.keep = keep
        self.base = base_layer()
        self.registry = Registry(folder)
        self.registry.push("library/base", "1", image([self.base], {"Cmd": ["sh"]}))


class GantryTest(unittest.TestCase):
    """One daemon for a class, or until a test leaves something.

    Each test begins and ends with no pods and with the base image alone.
    """

    lane = None  # set by main.py

    @classmethod
    def setUpClass(cls):
        cls.unclean = False
        cls._start_daemon()

    @classmethod
    def _start_daemon(cls):
        cls.daemon = Daemon(cls.lane.binaries, cls.lane.registry.address)
        cls.addClassCleanup(cls.daemon.delete, cls.lane.keep)
        cls.prepare(cls.daemon)
        cls.daemon.start()
        cls.crictl = Crictl(cls.lane.crictl, cls.daemon)
        cls.crictl("pull", BASE)
        cls.oracle = LeakOracle(cls.daemon, [cls.daemon.root, cls.daemon.state, cls.daemon.folder / "ipam"], BRIDGE)
        cls._warm_up()

    @classmethod
    def prepare(cls, daemon):
        """What is to be in the daemon's configuration besides; for classes to say."""

    @classmethod
    def _warm_up(cls):
        """The first pod of a daemon makes what stays: the bridge, folders, threads with descriptors of their own."""
        test = cls()
        pod = test.run_pod("warm-up", network=NAMESPACE_POD)
        test.execute(test.launch(pod, "one", "sleep", "1000"), "true")
        test.remove_everything()

    def setUp(self):
        if type(self).unclean:  # what one test has left shall not fail the next one
            self._start_daemon()
        type(self).unclean = True
        self.before = self.oracle.look()
        self.addCleanup(self._end)

    def _end(self):
        self.remove_everything()
        shutil.rmtree(self.daemon.folder / "logs", ignore_errors=True)
        self.assert_nothing_left()
        type(self).unclean = False

    def remove_everything(self):
        for pod in self.crictl("pods", "-q").split():
            self.crictl("stopp", pod)
            self.crictl("rmp", pod)
        for found in self.crictl.json("images", "-o", "json")["images"]:
            if BASE not in found["repoTags"]:
                self.crictl("rmi", found["id"])

    def assert_nothing_left(self, before=None):
        """Nothing more than `before`, by default than when the test began."""
        leaks = self.oracle.leaks(before or self.before)
        if leaks:
            self.fail("\n  ".join([f"{len(leaks)} things left", *leaks[:30]]))

    def pod_config(self, name, network=NAMESPACE_NODE, **more):
        return {
            "metadata": {"name": name, "namespace": "test", "uid": f"uid-{name}", "attempt": 0},
            "log_directory": str(self.daemon.folder / "logs" / name),
            "linux": {"cgroup_parent": f"/{self.daemon.cgroup}/{name}",
                      "security_context": {"namespace_options": {"network": network}}},
            **more,
        }

    def run_pod(self, name="pod", network=NAMESPACE_NODE, **more):
        config = self.pod_config(name, network, **more)
        document = self.crictl.document(config)
        return Pod(self.crictl("runp", document), config, document)

    @staticmethod
    def container_config(name, *command, image_name=BASE, **more):
        config = {"metadata": {"name": name, "attempt": 0}, "image": {"image": image_name},
                  "log_path": f"{name}.log", "linux": {}, **more}
        return {**config, "command": list(command)} if command else config

    def create(self, pod, name, *command, **more):
        document = self.crictl.document(self.container_config(name, *command, **more))
        return self.crictl("create", pod.id, document, pod.document)

    def launch(self, pod, name, *command, **more):
        """Creates and starts a container. Returns its id."""
        container = self.create(pod, name, *command, **more)
        self.crictl("start", container)
        return container

    def status(self, container):
        return self.crictl.json("inspect", "-o", "json", container)["status"]

    def state(self, container):
        return self.status(container)["state"]

    def wait_exited(self, container, seconds=30):
        """The status of a container that has ended."""
        wait_until(lambda: self.state(container) == "CONTAINER_EXITED", f"{container} has ended", seconds)
        return self.status(container)

    def run_to_end(self, pod, name, *command, **more):
        """Status and output of a container that runs to its end."""
        status = self.wait_exited(self.launch(pod, name, *command, **more))
        return status, self.output(pod, name)

    @staticmethod
    def log_lines(path):
        """(stream, text) of each line of a container's log; partial ones are joined, and one at the end counts."""
        lines, open_text, stream = [], "", None
        for line in path.read_text(errors="replace").splitlines():
            _, stream, tag, text = (line + " ").split(" ", 3)
            open_text += text[:-1]
            if tag == "F":
                lines.append((stream, open_text))
                open_text = ""
        return lines + ([(stream, open_text)] if open_text else [])

    def output(self, pod, name):
        return "\n".join(text for _, text in self.log_lines(pod.log(name)))

    def wait_output(self, pod, name, pattern, seconds=20):
        wait_until(lambda: pod.log(name).exists() and re.search(pattern, self.output(pod, name)),
                   f"{pattern} in the log of {name}", seconds)

    def execute(self, container, *command):
        return self.crictl("exec", "-s", container, *command)

    def add_image(self, name, config, *layers):
        """The base image with `config` and `layers` over it; imported where the command is built, else pulled."""
        reference = f"docker.io/library/{name}:1"
        made = image([self.lane.base, *layers], config)
        if not (self.lane.binaries / "gantry").exists():
            self.lane.registry.push(f"library/{name}", "1", made)
            self.crictl("pull", reference)
            return reference
        archive = self.daemon.folder / f"{name}.tar"
        write_archive(archive, reference, made)
        done = subprocess.run([self.lane.binaries / "gantry", "--socket", f"unix://{self.daemon.socket}", "image",
                               "import", archive], capture_output=True, text=True, check=False, timeout=120)
        archive.unlink()
        self.assertEqual(0, done.returncode, done.stderr)
        return reference

    def assert_refused(self, code, words, *arguments):
        """crictl fails with gRPC's `code` and a text that matches every one of `words`."""
        answer = self.crictl.call(*arguments)
        self.assertNotEqual(0, answer.status, f"it went well: {answer.out}")
        self.assertIn(f"code = {code} ", answer.error)
        for word in words:
            self.assertRegex(answer.error, word)
        return answer.error

    def pods(self):
        return self.crictl("pods", "-q").split()

    def containers(self):
        return self.crictl("ps", "-a", "-q").split()


def pids_of(words):
    """The processes whose command lines contain `words`, oldest first."""
    return [pid for (pid, _), text in sorted(processes().items()) if words in text]


__all__ = ["BASE", "BRIDGE", "NAMESPACE_CONTAINER", "NAMESPACE_NODE", "NAMESPACE_POD", "GantryTest", "Lane", "Pod",
           "pids_of", "wait_until"]
