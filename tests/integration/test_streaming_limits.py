"""The ends of what the streaming server bears: sessions without a byte, and a thousand connections."""

import contextlib
import resource
import socket
import time
import urllib.parse

from case import NAMESPACE_POD
from pod_server import ECHO
from streaming import TRANSPORTS, StreamingTest

IDLE = 3
MOST_CONNECTIONS = 1000


class StreamingIdle(StreamingTest):
    @classmethod
    def prepare(cls, daemon):
        with open(daemon.config, "a") as config:
            config.write(f'[streaming]\nidle_timeout = "{IDLE}s"\n')

    def setUp(self):
        super().setUp()
        self.pod, self.container = self.sleeper()

    def test_a_session_without_a_byte_ends_and_so_does_its_process(self):
        for transport in TRANSPORTS:
            held = self.begin("session", "sh", "-c", "sleep 2345; true", container=self.container, transport=transport)
            self.wait_process("sleep 2345")
            done = self.end(held, seconds=30)
            self.assertNotEqual("", done["error"])
            self.wait_no_process("sleep 2345")

    def test_a_session_with_a_byte_now_and_then_goes_on(self):
        script = f"for i in 1 2 3 4 5 6 7 8; do sleep {IDLE / 3}; echo .; done"
        for transport in TRANSPORTS:
            done = self.exec_ends(self.container, 0, "sh", "-c", script, transport=transport)
            self.assertEqual(".\n" * 8, done["stdout"]["text"])

    def test_an_attach_that_ends_so_leaves_the_container(self):
        held = self.begin("session", container=self.container, kind="attach")
        self.assertNotEqual("", self.end(held, seconds=30)["error"])
        self.assertEqual("CONTAINER_RUNNING", self.state(self.container))

    def test_a_port_forward_without_a_byte_ends(self):
        pod = self.run_pod("other", network=NAMESPACE_POD)
        self.serve(pod)
        held = self.begin("forward", pod=pod.id, ports=ECHO, hold="true")
        done = self.end(held, seconds=30)
        self.assertTrue(done["closed"])
        self.assertEqual("", done["pairs"][0]["error"])


class StreamingConnections(StreamingTest):
    def setUp(self):
        super().setUp()
        self.pod, self.container = self.sleeper()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2 * MOST_CONNECTIONS:
            self.skipTest(f"no more than {hard} descriptors here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MOST_CONNECTIONS, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def test_above_a_thousand_connections_new_ones_are_closed_at_once_and_room_is_given_back(self):
        place = urllib.parse.urlsplit(self.url("exec", "true", container=self.container))
        with contextlib.ExitStack() as held:
            def connect():
                return held.enter_context(socket.create_connection((place.hostname, place.port), timeout=20))

            before = time.monotonic()
            clients = [connect() for _ in range(MOST_CONNECTIONS)]
            self.assertEqual(b"", connect().recv(1))
            self.assertLess(time.monotonic() - before, 9, "else the first ones have been given up meanwhile")
            self.assertNotEqual("", self.session(self.container, "true")["error"])
            for client in clients[:10]:
                client.close()
            time.sleep(1)
            self.exec_ends(self.container, 0, "true")
        self.exec_ends(self.container, 0, "true")
