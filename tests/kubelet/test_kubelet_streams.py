"""Exec and port-forward as kubectl asks for them, through the kubelet's own API."""

import json
import subprocess
import urllib.parse

from kubelet import API, NODE
from kubelet_case import KubeletCase, container

MIB = 1 << 20


class KubeletStreams(KubeletCase):
    def setUp(self):
        super().setUp()
        self.run_ready("streams", container("one", "sh", "-c", "while :; do echo hi | nc -l -p 8080; done"))

    def _ask(self, command, path, query, *flags, words=()):
        url = f"{API}/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        done = subprocess.run([self.lane.streamclient, command, f"--url={url}", *flags, "--", *words], check=False,
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)

    def _execute(self, transport, *words):
        query = {"command": words, "output": 1, "error": 1}
        return self._ask("session", f"exec/default/streams-{NODE}/one", query, f"--transport={transport}", words=words)

    def test_exec_brings_output_and_exit_code(self):
        for transport in ("spdy", "websocket"):
            with self.subTest(transport):
                done = self._execute(transport, "sh", "-c", f"head -c {8 * MIB} /dev/zero; exit 5")
                self.assertEqual(("", 5, 8 * MIB), (done["error"], done["exit_code"], done["stdout"]["bytes"]), done)

    def test_a_port_of_the_pod_is_reached(self):
        for transport in ("spdy", "websocket"):
            with self.subTest(transport):
                done = self._ask("forward", f"portForward/default/streams-{NODE}", {}, f"--transport={transport}",
                                 "--ports=8080", "--pairs=1")
                self.assertEqual("", done["pairs"][0]["error"], done)
                self.assertEqual(3, done["pairs"][0]["received"]["bytes"], done)
