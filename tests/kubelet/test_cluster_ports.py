"""kubectl port-forward, in a tunnel of WebSocket and by SPDY."""

import json
import re
import urllib.request

from cluster_case import ClusterCase, container
from kubectl import TRANSPORTS

MIB = 1 << 20
SERVER = ("sh", "-c", "mkdir /tmp/www; head -c 3145728 /dev/urandom > /tmp/www/file; exec httpd -f -p 127.0.0.1:8080 -h /tmp/www")


class ClusterPorts(ClusterCase):
    def test_a_port_of_the_pod_is_reached(self):
        probe = {"exec": {"command": ["sh", "-c", "netstat -ltn | grep -q :8080"]}, "periodSeconds": 1}
        self.run_ready("served", container("one", *SERVER, readinessProbe=probe))
        for transport in TRANSPORTS:
            with self.subTest(transport):
                process = self.kubectl.start("port-forward", "pod/served", ":8080", transport=transport)
                try:
                    port = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8080\n", process.stdout.readline())[1]
                    for _ in range(5):
                        with urllib.request.urlopen(f"http://127.0.0.1:{port}/file", timeout=30) as answer:
                            self.assertEqual(3 * MIB, len(answer.read()))
                finally:
                    process.kill()
                    process.communicate(timeout=20)

    def test_a_closed_port_is_told(self):
        self.run_ready("closed", container("one", "sleep", "100000"))
        for transport in TRANSPORTS:
            with self.subTest(transport):
                process = self.kubectl.start("port-forward", "pod/closed", ":8081", transport=transport)
                try:
                    port = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8081\n", process.stdout.readline())[1]
                    with self.assertRaises(OSError):
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
                    while "8081" not in (line := process.stdout.readline()) or "rror" not in line:
                        self.assertTrue(line, "nothing is told of the port")
                finally:
                    process.kill()
                    process.communicate(timeout=20)

    def test_a_port_of_the_node_leads_to_the_pod_and_is_free_when_it_is_gone(self):
        before = self.daemon.network()
        self.addCleanup(self.daemon.use_network, before)
        network = json.loads(before)
        network["plugins"][0]["ipam"]["routes"] = [{"dst": "0.0.0.0/0"}]
        network["plugins"].append({"type": "portmap", "snat": True, "capabilities": {"portMappings": True}})
        self.daemon.use_network(json.dumps(network))
        for name in ("first", "second"):
            text = f"mkdir /tmp/www; echo {name} > /tmp/www/file; exec httpd -f -p 8080 -h /tmp/www"
            self.run_ready(name, container("one", "sh", "-c", text, ports=[{"containerPort": 8080, "hostPort": 18082}],
                                           readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}))
            with urllib.request.urlopen("http://127.0.0.1:18082/file", timeout=30) as answer:
                self.assertEqual(name, answer.read().decode().strip())
            self.kubectl("delete", "pod", name, "--grace-period=1", "--timeout=60s")
