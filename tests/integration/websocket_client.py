"""A WebSocket client (RFC 6455) that can be rude: frames as they are, and no answer to pings."""

import base64
import os
import socket
import struct
import urllib.parse

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocketClient:
    """Connected and upgraded, to one of `protocols`. `context`: of ssl, for https."""

    def __init__(self, url, *protocols, context=None, seconds=60):
        place = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port), timeout=seconds)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname=place.hostname)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\n"
                             f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                             f"Sec-WebSocket-Protocol: {', '.join(protocols)}\r\n\r\n").encode())
        self._input = b""
        while b"\r\n\r\n" not in self._input:
            self._receive()
        self.head, _, self._input = self._input.partition(b"\r\n\r\n")
        if not self.head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(self.head.decode(errors="replace"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._input += data

    def _take(self, size):
        while len(self._input) < size:
            self._receive()
        data, self._input = self._input[:size], self._input[size:]
        return data

    @staticmethod
    def frame(opcode, data=b""):
        size = (bytes([0x80 | len(data)]) if len(data) < 126 else
                struct.pack("!BH", 0x80 | 126, len(data)) if len(data) < 65536 else
                struct.pack("!BQ", 0x80 | 127, len(data)))
        # A mask of zeros leaves the data as it is.
        return bytes([0x80 | opcode]) + size + bytes(4) + data

    def send(self, opcode, data=b""):
        self.socket.sendall(self.frame(opcode, data))

    def receive(self):
        """(opcode, data) of the next frame; EOFError when the server has closed the connection."""
        head = self._take(2)
        size = head[1] & 0x7f
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return head[0] & 0x0f, self._take(size)

    def messages(self):
        """All that comes until the server's close, which is answered; the last one is (CLOSE, its code)."""
        while True:
            opcode, data = self.receive()
            if opcode == CLOSE:
                self.send(CLOSE, data)
                yield opcode, int.from_bytes(data[:2], "big")
                return
            yield opcode, data
