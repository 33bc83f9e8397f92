"""What tests of Exec, Attach and PortForward start from: streamclient, and a count of what they hold."""

import json
import os
import pathlib
import re
import subprocess
import sys

from case import NAMESPACE_POD, GantryTest, wait_until
from cri_call import CriCall
from leak_oracle import descriptors, processes

MIB = 1 << 20
TRANSPORTS = ("spdy", "websocket")
# 1 GiB and more can be asked for; the defaults fit a run of CI.
BULK = int(os.environ.get("GANTRY_STREAM_MIB", "64")) * MIB
TIMES = int(os.environ.get("GANTRY_STREAM_TIMES", "1000"))


class StreamingTest(GantryTest):
    def setUp(self):
        super().setUp()
        self.call = CriCall(self.lane.binaries, self.daemon)

    def _command(self, command, options, words):
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        if "url" not in options:
            flags.append(f"--cri={self.daemon.socket}")
        return [self.lane.streamclient, *command, *flags, "--", *map(str, words)]

    def stream(self, command, *words, **options):
        """The document of streamclient's command; options are its flags, words the command that is executed."""
        done = subprocess.run(self._command([command], options, words), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=1200)
        self.assertEqual(0, done.returncode, f"streamclient: {done.stderr}")
        return json.loads(done.stdout)

    def begin(self, command, *words, **options):
        """The same, under way; it is killed when the test ends."""
        process = subprocess.Popen(self._command([command], options, words), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def end(self, process, seconds=60):
        out, error = process.communicate(timeout=seconds)
        self.assertEqual(0, process.returncode, f"streamclient: {error}")
        return json.loads(out)

    def session(self, container, *words, **options):
        return self.stream("session", *words, container=container, **options)

    def exec_ends(self, container, code, *words, **options):
        """Executes it, and it ends with that code. Returns the document."""
        done = self.session(container, *words, **options)
        self.assertEqual(("", code), (done["error"], done["exit_code"]), done)
        return done

    def urls(self, kind, *words, **options):
        done = subprocess.run(self._command(["url", kind], options, words), capture_output=True, text=True,
                              check=False, stdin=subprocess.DEVNULL, timeout=120)
        self.assertEqual(0, done.returncode, f"streamclient: {done.stderr}")
        return json.loads(done.stdout)

    def url(self, kind, *words, **options):
        asked = self.urls(kind, *words, **options)
        self.assertEqual("", asked["error"])
        return asked["urls"][0]

    def sleeper(self, **more):
        """A pod and a container that does nothing."""
        pod = self.run_pod()
        return pod, self.launch(pod, "one", "sleep", "100000", **more)

    def serve(self, pod, network=NAMESPACE_POD):
        """The servers of pod_server.py in the pod's network."""
        enter = []
        if network == NAMESPACE_POD:
            namespaces = list((pathlib.Path(self.daemon.state) / "netns").iterdir())
            self.assertEqual(1, len(namespaces), "which of them is the pod's?")
            enter = ["nsenter", f"--net={namespaces[0]}"]
        script = pathlib.Path(__file__).parent / "pod_server.py"
        server = subprocess.Popen([*enter, sys.executable, "-B", script], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        self.addCleanup(server.kill)
        self.assertEqual("ready", server.stdout.readline().strip(), f"no servers in {pod.id}")

    def footprint(self):
        """Descriptors, threads, MiB of memory of our processes; the number of all processes and terminals."""
        ours = [pid for (pid, _), text in processes().items() if text.startswith("gantry") and " Z: " not in text]
        status = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in ours]
        def total(field):
            return sum(int(number) for text in status for number in re.findall(rf"{field}:\s+(\d+)", text))

        return {"descriptors": sum(sum(descriptors(pid).values()) for pid in ours), "threads": total("Threads"),
                "MiB": total("VmRSS") // 1024, "processes": len(processes()),
                "terminals": int(pathlib.Path("/proc/sys/kernel/pty/nr").read_text())}

    def assert_footprint(self, before, **slack):
        """No more of anything than before, but for the slack; waits for things on their way out."""
        def grown():
            now = self.footprint()
            return {kind: (before[kind], now[kind]) for kind in now if now[kind] > before[kind] + slack.get(kind, 0)}
        try:
            wait_until(lambda: not grown(), "all is as before", 20)
        except TimeoutError:
            self.fail(f"(before, now): {grown()}")

    def wait_no_process(self, words, seconds=30):
        wait_until(lambda: not [text for text in processes().values() if words in text and " Z: " not in text],
                   f"no process {words}", seconds)

    def wait_process(self, words):
        wait_until(lambda: [text for text in processes().values() if words in text], f"a process {words}")
