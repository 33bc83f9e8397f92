"""PortForward, over SPDY and over SPDY in WebSocket messages; the numbers are rows of the scenarios that must hold."""

import hashlib
import re
import socket
import subprocess
import time

from case import NAMESPACE_NODE, NAMESPACE_POD, wait_until
from pod_server import CLOSED, DIGEST, ECHO, ENDLESS, OPEN_COUNT, RESETS, STUCK, TALKS_FIRST
from streaming import BULK, MIB, TRANSPORTS, StreamingTest


class StreamingForward(StreamingTest):
    def setUp(self):
        super().setUp()
        self.pod = self.run_pod(network=NAMESPACE_POD)
        self.serve(self.pod)

    def forward(self, *ports, **options):
        done = self.stream("forward", pod=self.pod.id, ports=",".join(map(str, ports)), **options)
        self.assertEqual("", done["error"])
        return done

    def assert_echoed(self, *pairs):
        for pair in pairs:
            self.assertEqual(("", "", False), (pair["error"], pair["error_stream"], pair["reset"]))
            self.assertEqual(pair["sent"]["sha256"], pair["received"]["sha256"])
            self.assertEqual(pair["sent"]["bytes"], pair["received"]["bytes"])

    def test_row_58_two_hundred_pairs_at_once_come_through_whole(self):
        for transport in TRANSPORTS:
            done = self.forward(ECHO, pairs=200, bytes=200000, transport=transport)
            self.assertEqual(200, len(done["pairs"]))
            self.assert_echoed(*done["pairs"])

    def test_bulk_comes_through_whole_to_a_slow_reader(self):
        for transport in TRANSPORTS:
            self.assert_echoed(*self.forward(ECHO, bytes=BULK, rate=32 * MIB, transport=transport)["pairs"])

    def test_a_pair_that_is_reset_leaves_the_others(self):
        for transport in TRANSPORTS:
            done = self.forward(ECHO, pairs=20, resets=5, bytes=2 * MIB, then_port=ECHO, transport=transport)
            self.assertEqual(5, sum(pair["reset"] for pair in done["pairs"]))
            self.assert_echoed(*done["pairs"][5:], done["then"])

    def test_cancelled_downloads_close_their_connections_and_the_session_lives(self):
        for transport in TRANSPORTS:
            done = self.forward(ENDLESS, pairs=20, cancel_after=MIB, bytes=0, then_port=ECHO, transport=transport)
            self.assertEqual([], [(pair["error"], pair["error_stream"], pair["received"]["bytes"])
                                  for pair in done["pairs"] if not pair["reset"]])
            self.assert_echoed(done["then"])
        wait_until(lambda: self.forward(OPEN_COUNT, bytes=0)["pairs"][0]["received"]["text"] == "0",
                   "no connection is open in the pod")

    def test_a_port_that_nobody_listens_on_is_told_and_the_session_lives(self):
        for transport in TRANSPORTS:
            done = self.forward(CLOSED, then_port=ECHO, transport=transport)
            self.assertIn("refused", done["pairs"][0]["error_stream"])
            self.assertIn(str(CLOSED), done["pairs"][0]["error_stream"])
            self.assert_echoed(done["then"])

    def test_a_server_that_resets_ends_its_pair_without_words(self):
        for transport in TRANSPORTS:
            done = self.forward(RESETS, pairs=3, then_port=ECHO, transport=transport)
            self.assertEqual(["", "", ""], [pair["error_stream"] for pair in done["pairs"]])
            self.assert_echoed(done["then"])

    def test_the_end_of_what_is_sent_reaches_the_pod_and_a_late_answer_comes_back(self):
        for transport in TRANSPORTS:
            pair, = self.forward(DIGEST, bytes=300000, transport=transport)["pairs"]
            self.assertEqual(("", ""), (pair["error"], pair["error_stream"]))
            self.assertEqual(f"300000 {pair['sent']['sha256']}", pair["received"]["text"])

    def test_a_server_that_talks_first_and_closes_is_heard(self):
        for transport in TRANSPORTS:
            done = self.forward(TALKS_FIRST, bytes=0, pairs=10, then_port=ECHO, transport=transport)
            self.assertEqual(["bye"] * 10, [pair["received"]["text"] for pair in done["pairs"]])
            self.assert_echoed(done["then"])

    def test_a_server_that_takes_nothing_does_not_stall_its_neighbours(self):
        for transport in TRANSPORTS:
            done = self.forward(STUCK, ECHO, pairs=2, bytes=32 * MIB, then_port=ECHO, transport=transport)
            self.assert_echoed(done["pairs"][1], done["then"])
            self.assertEqual((0, ""), (done["pairs"][0]["received"]["bytes"], done["pairs"][0]["error_stream"]))

    def test_a_session_ends_with_its_pod(self):
        for transport in TRANSPORTS:
            pod = self.run_pod("other", network=NAMESPACE_POD)
            held = self.begin("forward", pod=pod.id, ports="1", hold="true", transport=transport)
            time.sleep(1)
            self.crictl("stopp", pod.id)
            self.assertTrue(self.end(held)["closed"])
            self.assertIn("FailedPrecondition", self.urls("portforward", pod=pod.id)["error"])
            self.crictl("rmp", pod.id)

    def test_crictl_forwards_a_local_port(self):
        client = subprocess.Popen([*self.crictl.command, "port-forward", self.pod.id, f"0:{ECHO}"], text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        port = int(re.search(r"127\.0\.0\.1:(\d+)", client.stdout.readline()).group(1))
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as local:
                local.sendall(b"x" * 10000)
                local.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: local.recv(65536), b""))  # pylint: disable=cell-var-from-loop
            self.assertEqual(hashlib.sha256(b"x" * 10000).digest(), hashlib.sha256(got).digest())


class StreamingForwardOfTheNode(StreamingTest):
    def test_row_58_a_pod_in_the_nodes_network_forwards_to_the_node(self):
        pod = self.run_pod(network=NAMESPACE_NODE)
        self.serve(pod, NAMESPACE_NODE)
        for transport in TRANSPORTS:
            done = self.stream("forward", pod=pod.id, ports=ECHO, pairs=5, bytes=100000, transport=transport)
            for pair in done["pairs"]:
                self.assertEqual(("", pair["sent"]["sha256"]), (pair["error"], pair["received"]["sha256"]))
