"""The streaming server behind TLS: who is let in, and certificates that change while it runs."""

import socket
import ssl
import time
import urllib.parse

from case import NAMESPACE_POD, wait_until
from certificates import Authority
from pod_server import ECHO
from streaming import BULK, TRANSPORTS, StreamingTest


class StreamingTls(StreamingTest):
    @classmethod
    def prepare(cls, daemon):
        cls.folder = daemon.folder / "tls"
        cls.folder.mkdir()
        cls.issuer, cls.clients = Authority(cls.folder, "issuer"), Authority(cls.folder, "clients")
        cls.own_certificate, cls.own_key = cls.clients.sign("client", "clientAuth")
        for name in ("served.crt", "served.key", "client-ca.crt"):
            (cls.folder / name).touch()
        cls.serve_certificate("server-1")
        cls.put("client-ca.crt", cls.clients.certificate.read_text())
        with open(daemon.config, "a") as config:
            config.write(f'[streaming]\ntls_cert_file = "{cls.folder}/served.crt"\n'
                         f'tls_key_file = "{cls.folder}/served.key"\ntls_client_ca_file = "{cls.folder}/client-ca.crt"\n')

    @classmethod
    def put(cls, name, text):
        """As those who renew certificates do it: a new file takes the place of the old one."""
        (cls.folder / "new").write_text(text)
        (cls.folder / "new").rename(cls.folder / name)

    @classmethod
    def serve_certificate(cls, name):
        certificate, key = cls.issuer.sign(name, "serverAuth")
        cls.put("served.key", key.read_text())
        cls.put("served.crt", certificate.read_text())

    def setUp(self):
        super().setUp()
        self.pod, self.container = self.sleeper()
        self.addCleanup(self.put, "client-ca.crt", self.clients.certificate.read_text())
        self.addCleanup(self.serve_certificate, "server-1")

    def trusted(self, certificate=None, key=None):
        return {"ca": self.issuer.certificate, "cert": certificate or self.own_certificate, "key": key or self.own_key}

    def server_name(self):
        """The name in the certificate that the server shows now."""
        context = ssl.create_default_context(cafile=self.issuer.certificate)
        context.load_cert_chain(self.own_certificate, self.own_key)
        place = urllib.parse.urlsplit(self.url("exec", "true", container=self.container))
        with socket.create_connection((place.hostname, place.port), timeout=20) as plain:
            with context.wrap_socket(plain, server_hostname=place.hostname) as client:
                return dict(pair[0] for pair in client.getpeercert()["subject"])["commonName"]

    def assert_refused_at_the_door(self, words, **options):
        for transport in TRANSPORTS:
            done = self.session(self.container, "true", transport=transport, **options)
            self.assertRegex(done["error"], words)

    def test_sessions_go_through_tls_over_both_transports(self):
        self.assertRegex(self.url("exec", "true", container=self.container), "^https://127\\.0\\.0\\.1:")
        for transport in TRANSPORTS:
            self.exec_ends(self.container, 3, "sh", "-c", "exit 3", transport=transport, **self.trusted())
            done = self.exec_ends(self.container, 0, "cat", transport=transport, upload=BULK, **self.trusted())
            self.assertEqual((BULK, done["stdin"]["sha256"]), (done["stdout"]["bytes"], done["stdout"]["sha256"]))

    def test_ports_are_forwarded_through_tls_over_both_transports(self):
        pod = self.run_pod("other", network=NAMESPACE_POD)
        self.serve(pod)
        for transport in TRANSPORTS:
            done = self.stream("forward", pod=pod.id, ports=ECHO, pairs=20, bytes=300000, transport=transport,
                               **self.trusted())
            self.assertEqual("", done["error"])
            for pair in done["pairs"]:
                self.assertEqual(("", pair["sent"]["sha256"]), (pair["error"], pair["received"]["sha256"]))

    def test_a_client_without_a_certificate_of_that_authority_is_refused(self):
        self.assert_refused_at_the_door("certificate required|bad certificate|tls:", ca=self.issuer.certificate)
        other = Authority(self.folder, "others").sign("stranger", "clientAuth")
        self.assert_refused_at_the_door("unknown certificate authority|bad certificate|tls:", **self.trusted(*other))
        place = urllib.parse.urlsplit(self.url("exec", "true", container=self.container))
        with socket.create_connection((place.hostname, place.port), timeout=20) as plain:
            plain.sendall(f"POST {place.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            said = b""
            try:
                while data := plain.recv(4096):
                    said += data
            except ConnectionResetError:
                pass
        self.assertNotIn(b"HTTP/1.1", said)
        self.exec_ends(self.container, 0, "true", **self.trusted())

    def test_a_handshake_that_does_not_go_on_is_ended(self):
        place = urllib.parse.urlsplit(self.url("exec", "true", container=self.container))
        with socket.create_connection((place.hostname, place.port), timeout=30) as plain:
            plain.sendall(b"\x16\x03\x01")
            self.assertEqual(b"", plain.recv(4096))

    def test_a_new_certificate_is_shown_to_new_connections_and_old_sessions_go_on(self):
        self.assertEqual("server-1", self.server_name())
        held = self.begin("session", "sh", "-c", "sleep 5; echo still here", container=self.container, **self.trusted())
        time.sleep(1)
        self.serve_certificate("server-2")
        self.assertEqual("server-2", self.server_name())
        self.exec_ends(self.container, 0, "true", **self.trusted())
        done = self.end(held)
        self.assertEqual(("", "still here\n"), (done["error"], done["stdout"]["text"]))

    def test_files_that_are_not_usable_leave_the_old_certificate_in_force(self):
        self.exec_ends(self.container, 0, "true", **self.trusted())  # loads what the test before has put back
        for name, text in (("served.crt", "no certificate"), ("served.key", ""), ("client-ca.crt", "-----BEGIN")):
            told = self.daemon.log.read_text(errors="replace").count("TLS files have changed but are not usable")
            before = (self.folder / name).read_text()
            self.put(name, text)
            self.exec_ends(self.container, 0, "true", **self.trusted())
            wait_until(lambda: self.daemon.log.read_text(errors="replace").count(  # pylint: disable=cell-var-from-loop
                "TLS files have changed but are not usable") > told, "the log says it")
            self.put(name, before)
            self.exec_ends(self.container, 0, "true", **self.trusted())

    def test_another_client_authority_lets_its_own_in_and_nobody_else(self):
        other = Authority(self.folder, "successors")
        theirs = other.sign("successor", "clientAuth")
        self.put("client-ca.crt", other.certificate.read_text())
        self.exec_ends(self.container, 0, "true", **self.trusted(*theirs))
        self.assert_refused_at_the_door("tls:", **self.trusted())
