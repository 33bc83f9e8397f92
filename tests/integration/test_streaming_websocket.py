"""What client-go's WebSocket clients do not do: the legacy port-forward, pings, clients that do not read."""

import base64
import socket
import time

from case import NAMESPACE_POD
from pod_server import CLOSED, ECHO, TALKS_FIRST
from streaming import MIB, StreamingTest
from websocket_client import BINARY, CLOSE, PING, PONG, TEXT, WebSocketClient

V4, V4_BASE64 = "v4.channel.k8s.io", "v4.base64.channel.k8s.io"


class LegacyWebSocketForward(StreamingTest):
    """Each port has two channels, data and error, which begin with the port's number in two bytes."""

    def setUp(self):
        super().setUp()
        self.pod = self.run_pod(network=NAMESPACE_POD)
        self.serve(self.pod)
        self.said = {}  # by client and channel

    def connect(self, *ports, protocol=V4):
        reply = self.call("PortForward", {"podSandboxId": self.pod.id, "port": list(ports)})
        self.assertEqual("OK", reply.code, reply.text)
        client = WebSocketClient(reply.message["url"], protocol)
        self.addCleanup(client.socket.close)
        self.assertIn(f"Sec-WebSocket-Protocol: {protocol}".lower(), client.head.decode().lower())
        return client

    def read_until(self, client, **wanted):
        """Reads until each channel has said that, after its port's number: read_until(client, c0=b"…")."""
        said = self.said.setdefault(client, {})
        while any(said.get(int(name[1:]), b"")[2:] != text for name, text in wanted.items()):
            _, message = client.receive()
            said[message[0]] = said.get(message[0], b"") + message[1:]

    def test_every_channel_begins_with_its_port(self):
        client = self.connect(ECHO, CLOSED)
        numbers = {client.receive()[1][:3] for _ in range(4)}
        self.assertEqual({bytes([channel]) + port.to_bytes(2, "little")
                          for channel, port in ((0, ECHO), (1, ECHO), (2, CLOSED), (3, CLOSED))}, numbers)

    def test_data_of_several_ports_comes_back_whole(self):
        client = self.connect(ECHO, ECHO)
        first, second = b"first" * 5000, b"second" * 5000
        client.send(BINARY, b"\0" + first)
        client.send(BINARY, b"\2" + second)
        self.read_until(client, c0=first, c2=second)

    def test_base64_channels_carry_text(self):
        client = self.connect(ECHO, protocol=V4_BASE64)
        self.assertEqual((TEXT, b"0" + base64.b64encode(ECHO.to_bytes(2, "little"))), client.receive())
        self.assertEqual((TEXT, b"1" + base64.b64encode(ECHO.to_bytes(2, "little"))), client.receive())
        client.send(TEXT, b"0" + base64.b64encode(b"hello"))
        self.assertEqual((TEXT, b"0" + base64.b64encode(b"hello")), client.receive())

    def test_a_port_that_nobody_listens_on_is_told_and_the_others_live(self):
        client = self.connect(CLOSED, ECHO)
        client.send(BINARY, b"\2still")
        self.read_until(client, c2=b"still")
        errors = self.said[client]
        while len(errors.get(1, b"")) <= 2:
            _, message = client.receive()
            errors[message[0]] = errors.get(message[0], b"") + message[1:]
        self.assertIn(b"refused", errors[1])

    def test_the_last_port_that_ends_ends_the_session(self):
        client = self.connect(TALKS_FIRST)
        client.socket.settimeout(30)  # there is no end of a channel to wait for
        said = list(client.messages())
        self.assertEqual((BINARY, b"\0bye"), said[-2])
        self.assertEqual((CLOSE, 1000), said[-1])

    def test_a_pod_that_is_stopped_ends_the_session(self):
        client = self.connect(ECHO)
        self.crictl("stopp", self.pod.id)
        self.assertEqual((CLOSE, 1000), list(client.messages())[-1])

    def test_messages_on_channels_that_are_not_there_are_passed_over(self):
        client = self.connect(ECHO)
        for message in (b"", b"\1error", b"\x09x", b"\xffx"):
            client.send(BINARY, message)
        client.send(BINARY, b"\0still")
        self.read_until(client, c0=b"still")


class WebSocketPings(StreamingTest):
    def setUp(self):
        super().setUp()
        self.pod, self.container = self.sleeper()

    def connect(self, *command):
        client = WebSocketClient(self.url("exec", *command, container=self.container, hold="true"), "v5.channel.k8s.io")
        self.addCleanup(client.socket.close)
        return client

    def wait_pong(self, client, seconds):
        client.socket.settimeout(seconds)
        while True:
            opcode, data = client.receive()
            if opcode == PONG:
                return data

    def test_a_ping_is_answered_with_what_it_says(self):
        client = self.connect("cat")
        client.send(PING, b"are you there?")
        self.assertEqual(b"are you there?", self.wait_pong(client, 20))

    def test_a_client_that_pings_hears_of_us_while_its_input_is_not_taken(self):
        client = self.connect("sleep", "4321")
        client.send(PING, b"1")
        self.assertEqual(b"1", self.wait_pong(client, 20))
        # The kernel's buffers too: until no more is taken of us.
        client.socket.settimeout(2)
        with self.assertRaises(socket.timeout):
            for _ in range(64):
                client.send(BINARY, b"\0" + bytes(MIB))
        for _ in range(2):
            before = time.monotonic()
            self.assertEqual(b"", self.wait_pong(client, 30))
            self.assertLess(time.monotonic() - before, 30)
        client.socket.close()
        self.wait_no_process("sleep 4321")
