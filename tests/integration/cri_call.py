"""gantry-cri-call: requests that crictl has no words for."""

import dataclasses
import json
import subprocess

RUNTIME = "runtime.v1.RuntimeService"
IMAGES = "runtime.v1.ImageService"


@dataclasses.dataclass(frozen=True)
class Reply:
    """`code` is gRPC's, "OK" included; `messages` are the answers, one unless it was a stream."""

    code: str
    text: str
    messages: list

    @property
    def message(self):
        return self.messages[0]


class PendingCall:
    """A call under way in a process of its own."""

    def __init__(self, command, request):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)
        self._request = json.dumps(request)

    def send(self):
        self._process.stdin.write(self._request)
        self._process.stdin.close()
        self._process.stdin = None
        return self

    def cancel(self):
        self._process.kill()
        self._process.communicate()

    def reply(self, seconds=120):
        out, error = self._process.communicate(timeout=seconds)
        if self._process.returncode not in (0, 1):
            raise AssertionError(f"gantry-cri-call: {error.strip()}")
        code, _, text = error.strip().partition(": ")
        return Reply(code if self._process.returncode else "OK", text, [json.loads(line) for line in out.splitlines()])


class CriCall:
    def __init__(self, binaries, daemon):
        self._program = str(binaries / "gantry-cri-call")
        self._socket = str(daemon.socket)

    def begin(self, method, request=None, seconds=60, service=RUNTIME):
        command = [self._program, self._socket, f"{service}/{method}", str(seconds)]
        return PendingCall(command, request or {}).send()

    def __call__(self, method, request=None, seconds=60, service=RUNTIME):
        return self.begin(method, request, seconds, service).reply()
