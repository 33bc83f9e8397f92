"""A gantryd on folders of its own."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

CNI_PLUGINS = "/usr/lib/cni"
BRIDGE = "test0"


def wait_until(condition, what, seconds=30):
    """Polls until `condition()` is true and returns what it gave; TimeoutError with `what` otherwise."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not in {seconds} s: {what}")
        time.sleep(0.05)


class Daemon:
    """The folders and the process. `binaries`: folder of gantryd. `registry`: host:port that stands for docker.io."""

    def __init__(self, binaries, registry, root=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test.", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.cgroup = self.folder.name
        self.root = pathlib.Path(root) if root else self.folder / "root"
        self.state = pathlib.Path("/run") / self.folder.name
        self.socket = self.state / "gantry.sock"
        self.config = self.folder / "gantry.toml"
        self.log = self.folder / "log"
        self.plugins = self.folder / "plugins"  # CNI plugins that a test writes
        self.plugins.mkdir()
        self.binaries = pathlib.Path(binaries)
        self._process = None
        self._write_config(registry)

    def _write_config(self, registry):
        hosts = self.folder / "certs.d" / "docker.io"
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            f'server = "http://{registry}"\n[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n')
        network = self.folder / "net.d"
        network.mkdir()
        (network / "10-test.conflist").write_text(
            '{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "bridge", "bridge": "%s", "isGateway": true,'
            ' "ipam": {"type": "host-local", "dataDir": "%s", "ranges": [[{"subnet": "10.83.0.0/24"}]]}}]}'
            % (BRIDGE, self.folder / "ipam"))
        self.config.write_text(
            f'[image]\nregistry_config_path = "{self.folder}/certs.d"\n'
            f'[network]\nconf_dir = "{network}"\nbin_dirs = ["{self.plugins}", "{CNI_PLUGINS}"]\n'
            f'[runtime]\nshim_cgroup = "/{self.cgroup}-shims"\ncdi_spec_dirs = ["{self.folder}/cdi"]\n')

    @property
    def pid(self):
        return self._process.pid

    def command(self, config=None):
        return [str(self.binaries / "gantryd"), "--config", str(config or self.config), "--root", str(self.root),
                "--state", str(self.state), "--listen", f"unix://{self.socket}", "--log-level", "debug"]

    def start(self):
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"{self.socket} answers (log: {self.log})")

    def _answers(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"gantryd ended with {self._process.returncode}: {self.last_words()}")
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def networks_taken(self):
        """How often a CNI configuration has come into force."""
        return self.log.read_text(errors="replace").count("CNI network in force")

    def network(self, file="10-test.conflist"):
        return (self.folder / "net.d" / file).read_text()

    def use_network(self, text, file="10-test.conflist"):
        """Puts a CNI configuration in place, and waits until it is in force."""
        seen = self.networks_taken()
        temporary = self.folder / "net.d" / f"{file}.new"
        temporary.write_text(text)
        temporary.rename(temporary.with_suffix(""))
        wait_until(lambda: self.networks_taken() > seen, f"{file} is in force")

    def last_words(self):
        return self.log.read_text(errors="replace")[-2000:]

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Ends it as an administrator would. Returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def delete(self, keep):
        """Ends it and takes the folders and cgroups away."""
        if self._process and self._process.poll() is None:
            self.kill()
        if keep:
            print(f"kept: {self.folder}")
            return
        # What a test has left is gone with the namespaces, but would keep folders and cgroups from going now.
        self._end_leftovers()
        for path in (self.folder, self.state):
            shutil.rmtree(path, ignore_errors=True)
        for group in self._cgroups():
            for path, _, _ in os.walk(group, topdown=False):
                os.rmdir(path)

    def _cgroups(self):
        top = pathlib.Path("/sys/fs/cgroup")
        return [*top.glob(f"{self.cgroup}*"), *top.glob(f"*/{self.cgroup}*")]

    def _end_leftovers(self):
        def inside():
            found = [pid for group in self._cgroups() for file in group.glob("**/cgroup.procs")
                     for pid in map(int, file.read_text().split())]
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return found

        wait_until(lambda: not inside(), f"the processes in {self.cgroup} have ended")
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        for place in reversed([mount for mount in mounts if self.folder.name in mount]):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
