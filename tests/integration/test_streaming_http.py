"""The streaming server's door: tokens, and requests that no client of ours would send."""

import re
import socket
import time
import urllib.parse

from streaming import StreamingTest

UPGRADE = ("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n")


class StreamingDoor(StreamingTest):
    def setUp(self):
        super().setUp()
        self.pod, self.container = self.sleeper()

    def fresh(self):
        return urllib.parse.urlsplit(self.url("exec", "true", container=self.container))

    def answer(self, place, request, seconds=30):
        """What the server says until it closes."""
        with socket.create_connection((place.hostname, place.port), timeout=seconds) as client:
            client.sendall(request if isinstance(request, bytes) else request.encode())
            said = b""
            try:
                while data := client.recv(65536):
                    said += data
            except ConnectionResetError:
                pass  # it has not read what is behind its answer
            return said.decode(errors="replace")

    def assert_answer(self, code, place, request):
        said = self.answer(place, request)
        self.assertRegex(said, rf"^HTTP/1\.1 {code} ", request[:200])
        self.assertEqual(1, len(re.findall(r"^HTTP/1\.1 \d{3} ", said, re.M)), "one answer for a connection")
        return said

    def request(self, place, path=None, method="POST", extra="", upgrade=UPGRADE):
        return f"{method} {path or place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n{upgrade}{extra}\r\n"

    def assert_serves(self):
        self.exec_ends(self.container, 0, "true")

    def test_a_url_is_complete_and_its_token_is_not_to_be_guessed(self):
        tokens = set()
        for kind, more in (("exec", {"container": self.container}), ("attach", {"container": self.container}),
                           ("portforward", {"pod": self.pod.id})):
            place = urllib.parse.urlsplit(self.url(kind, "true", **more))
            self.assertEqual(("http", "127.0.0.1", True), (place.scheme, place.hostname, place.port > 0))
            self.assertRegex(place.path, rf"^/{kind}/[\w-]{{22}}$")
            tokens.add(place.path.rpartition("/")[2])
        self.assertEqual(3, len(tokens))
        log = self.daemon.log.read_text(errors="replace")
        self.assertFalse([token for token in tokens if token in log], "a token is a secret")

    def test_row_57_a_token_serves_once(self):
        url = self.url("exec", "true", container=self.container)
        self.assertEqual("", self.stream("session", url=url)["error"])
        self.assertRegex(self.stream("session", url=url)["error"], "404|token")
        place = urllib.parse.urlsplit(url)
        self.assert_answer(404, place, self.request(place))

    def test_row_57_a_token_that_is_unknown_or_of_another_kind_is_not_found(self):
        place = self.fresh()
        token = place.path.rpartition("/")[2]
        self.assert_answer(404, place, self.request(place, "/attach/" + token))
        for path in ("/exec/AAAAAAAAAAAAAAAAAAAAAA", "/exec/", "/exec", "/", "/exec/a/b", "//", "/exec/" + "A" * 5000,
                     "/metrics", "/exec/%00", "/exec/../exec/" + token):
            self.assert_answer(404, place, self.request(place, path))
        self.assert_serves()

    def test_row_57_a_token_is_used_up_by_a_request_that_is_refused(self):
        place = self.fresh()
        self.assert_answer(400, place, self.request(place, upgrade=""))
        self.assert_answer(404, place, self.request(place))

    def test_row_57_the_1001st_waiting_token_is_refused_and_an_old_one_is_not_found(self):
        asked = self.urls("exec", "true", container=self.container, times=1001)
        self.assertEqual(1000, len(asked["urls"]))
        self.assertIn("ResourceExhausted", asked["error"])
        time.sleep(61)  # their life is a minute, and gantryd has no clock to turn
        place = urllib.parse.urlsplit(asked["urls"][0])
        self.assert_answer(404, place, self.request(place))
        self.assert_serves()

    def test_a_protocol_that_is_not_spoken_is_refused_with_those_that_are(self):
        place = self.fresh()
        other = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9.channel.k8s.io\r\n"
        said = self.assert_answer(403, place, self.request(place, upgrade=other))
        self.assertRegex(said, r"(?i)X-Accepted-Stream-Protocol-Versions: v4\.channel\.k8s\.io")
        place = self.fresh()
        none = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        self.assert_answer(400, place, self.request(place, upgrade=none))
        place = self.fresh()
        self.assert_answer(400, place, self.request(place, upgrade="Connection: Upgrade\r\nUpgrade: h2c\r\n"))

    def test_a_head_that_is_too_long_is_refused(self):
        place = self.fresh()
        self.assert_answer(431, place, self.request(place, extra=f"X-Filler: {'x' * 17000}\r\n"))
        place = self.fresh()
        self.assert_answer(431, place, self.request(place, extra="".join(f"X-{i}: x\r\n" for i in range(3000))))
        self.assert_answer(431, place, "POST /" + "x" * 20000)
        self.assert_serves()

    def test_a_head_that_does_not_come_is_not_waited_for(self):
        place = self.fresh()
        for beginning in ("", "POST ", self.request(place)[:-2]):
            before = time.monotonic()
            self.assertEqual("", self.answer(place, beginning, seconds=60))
            self.assertGreater(time.monotonic() - before, 1)
        with socket.create_connection((place.hostname, place.port), timeout=60) as client:
            end = time.monotonic() + 40
            try:
                while time.monotonic() < end:  # a byte each half second does not keep it
                    client.sendall(b"x")
                    time.sleep(0.5)
            except OSError:
                pass
            self.assertLess(time.monotonic(), end, "the connection is still there")
        self.assert_serves()

    def test_a_body_is_refused_however_it_is_sent(self):
        for extra in ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
                      "Content-Length: 0\r\nContent-Length: 5\r\n",
                      "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "Transfer-Encoding: identity\r\n",
                      "Content-Length: -1\r\n", "Content-Length: 99999999999999999999\r\n", "Content-Length: 0x5\r\n",
                      "Transfer-Encoding : chunked\r\n"):
            place = self.fresh()
            inner = f"GET /exec/x HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n"
            self.assert_answer(400, place, self.request(place, extra=extra) + inner)
        self.assert_serves()

    def test_a_target_that_is_no_path_is_refused(self):
        place = self.fresh()
        for target in (place.geturl(), "http://other.example" + place.path, "*", "other.example:80"):
            self.assert_answer(400, place, self.request(place, target))
        self.assert_answer(405, place, self.request(place, method="DELETE"))
        self.assert_answer(405, place, self.request(place, "other.example:80", method="CONNECT"))

    def test_what_is_no_http_is_refused_and_the_server_goes_on(self):
        place = self.fresh()
        for request in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
                        b"GET / HTTP/1.0\r\n\r\n", b"GET /\r\n\r\n", b"\r\n\r\n", b"\0" * 100 + b"\r\n\r\n",
                        b"POST " + place.path.encode() + b" HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
                        b"POST " + place.path.encode() + b" HTTP/1.1\r\nNo colon\r\n\r\n"):
            self.assert_answer(r"4\d\d", place, request)
        self.assert_serves()

    def test_a_session_of_garbage_ends_and_leaves_nothing(self):
        before = self.footprint()
        for garbage in (b"\x80\x03\x00\x63\x00\x00\x00\x00", b"\x80\x02\x00\x01\x00\x00\x00\x00", b"\xff" * 100000,
                        b"\x80\x03\x00\x01\x00\xff\xff\xff", b"\x80\x03\x00\x01\x00\x00\x00\x0a" + b"\0" * 10):
            place = self.fresh()
            self.assertRegex(self.answer(place, self.request(place).encode() + garbage), r"^HTTP/1\.1 101 ")
        self.assert_footprint(before, threads=10, MiB=32)
        self.assert_serves()
