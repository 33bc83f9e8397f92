"""Tests that write CNI configurations and plugins of their own."""

import json
import os
import pathlib
import signal
import sqlite3
import urllib.request
import zlib

from case import BRIDGE, NAMESPACE_POD, GantryTest, pids_of, wait_until

# A plugin that writes down its calls and is led by files beside its log: NAME.ADD, NAME.DEL, NAME.STATUS are sourced.
SCRIPT = """#!/bin/sh
name=${0##*/}; fake=%s
input=$(cat)
echo "$name $CNI_COMMAND $CNI_CONTAINERID netns=$CNI_NETNS" >> $fake/log
printf '%%s' "$input" > $fake/$name.$CNI_COMMAND.json
echoed=$(printf '%%s' "$input" | sed -n 's/.*"prevResult":\\(.*\\),"type".*/\\1/p')
[ ! -e $fake/$name.$CNI_COMMAND ] || . $fake/$name.$CNI_COMMAND
[ $CNI_COMMAND != ADD ] || printf '%%s' "$echoed"
"""


class NetworkCase(GantryTest):
    def setUp(self):
        super().setUp()
        self.folder = self.daemon.folder / "net.d"
        self.file = self.folder / "10-test.conflist"
        self.fake = self.daemon.folder / "fake"
        self.fake.mkdir(exist_ok=True)
        self.addCleanup(self._restore, self.file.read_text())

    def _restore(self, text):
        self.remove_everything()  # while the plugins are still there
        for file in [*self.fake.iterdir(), *self.daemon.plugins.iterdir()]:
            file.unlink()
        for file in self.folder.iterdir():
            if file != self.file:
                file.unlink()
        if not self.file.exists() or self.file.read_text() != text:
            self.daemon.use_network(text)

    def bridge(self, *subnets):
        return {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipam": {
            "type": "host-local", "dataDir": str(self.daemon.folder / "ipam"),
            "ranges": [[{"subnet": subnet}] for subnet in subnets or ("10.83.0.0/24",)]}}

    def configure(self, *plugins, version="1.0.0", **more):
        """The network "test" of these plugins; a name is one of ours, made with plugin()."""
        chain = [{"type": plugin} if isinstance(plugin, str) else plugin for plugin in plugins]
        self.daemon.use_network(json.dumps({"cniVersion": version, "name": "test", "plugins": chain, **more}))

    def plugin(self, name="fake"):
        path = self.daemon.plugins / name
        path.write_text(SCRIPT % self.fake)
        path.chmod(0o755)
        return path

    def on(self, call, script):
        """What a plugin does besides, at "fake.ADD" and the like; it may exit."""
        temporary = self.fake / "next"
        temporary.write_text(script)
        temporary.rename(self.fake / call)

    def calls(self, verb):
        """The lines that our plugins have written of a verb."""
        log = self.fake / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if f" {verb} " in line]

    def input(self, call):
        return json.loads((self.fake / f"{call}.json").read_text())

    def run_refused(self, code, words, name="pod", **more):
        """A pod that cannot be made, and leaves nothing."""
        config = self.crictl.document(self.pod_config(name, NAMESPACE_POD, **more))
        before = self.pods()
        text = self.assert_refused(code, words, "runp", config)
        self.assertEqual(before, self.pods())
        return text

    def network(self, pod):
        return self.crictl.json("inspectp", "-o", "json", pod.id)["status"]["network"]

    def address(self, pod):
        return self.network(pod)["ip"]

    def pod_state(self, pod_id):
        return self.crictl.json("inspectp", "-o", "json", pod_id)["status"]["state"]

    def leases(self):
        folder = self.daemon.folder / "ipam" / "test"
        return sorted(name for name in os.listdir(folder) if name[0].isdigit() or ":" in name)

    def ready(self):
        """Whether the node's network is, and why not."""
        conditions = self.crictl.json("info", "-o", "json")["status"]["conditions"]
        found = next(one for one in conditions if one["type"] == "NetworkReady")
        return found["status"], found.get("message", "")

    def netns(self, pod_id):
        return self.daemon.state / "netns" / pod_id

    def kill_all_in(self, pod_id):
        """The processes of the pod's network namespace, and its shim."""
        inside = os.stat(self.netns(pod_id)).st_ino
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(folder / "ns" / "net").st_ino == inside:
                    os.kill(int(folder.name), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue
        for pid in pids_of(f"gantry:shim {pod_id}"):
            os.kill(pid, signal.SIGKILL)

    def fetch(self, url):
        def answer():
            try:
                with urllib.request.urlopen(url, timeout=2) as page:
                    return page.read().decode()
            except OSError:
                return None
        return wait_until(answer, f"{url} answers", 20)

    def serve(self, pod):
        """A web server on port 8080 that gives /etc/hostname and the like."""
        self.launch(pod, "server", "httpd", "-f", "-p", "[::]:8080", "-h", "/etc")

    def edit_record(self, pod_id, old, new):
        """Replaces bytes in a pod's record, while no daemon runs; its checksum is made anew."""
        with sqlite3.connect(self.daemon.root / "gantry.db") as database:
            detail, = database.execute("SELECT detail FROM sandboxes WHERE id = ?", (pod_id,)).fetchone()
            self.assertIn(old, detail)
            detail = detail.replace(old, new)
            check = zlib.crc32(b"sandboxes\0" + pod_id.encode() + b"\0" + detail)
            database.execute("UPDATE sandboxes SET detail = ?, sum = ? WHERE id = ?", (detail, check, pod_id))
        database.close()


__all__ = ["BRIDGE", "NAMESPACE_POD", "NetworkCase", "wait_until"]
