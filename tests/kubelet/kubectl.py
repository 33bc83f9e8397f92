"""kubectl, as a person would use it."""

import json
import os
import subprocess

from crictl import Answer
from terminal import Terminal

# What kubectl takes for exec, attach and port-forward: WebSocket unless told otherwise.
TRANSPORTS = {"websocket": {}, "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false",
                                        "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}}


class KubectlError(AssertionError):
    """The text is what kubectl printed."""


class Kubectl:
    """`configuration`: its kubeconfig file. `folder`: where it may keep what it has learnt."""

    def __init__(self, program, configuration, folder):
        self._command = [str(program), f"--kubeconfig={configuration}", f"--cache-dir={folder}/kubectl-cache"]

    def call(self, *arguments, data="", transport="websocket", seconds=90):
        """Never fails; see `status`. `data`: its standard input, text or bytes."""
        given = data if isinstance(data, bytes) else data.encode()
        done = subprocess.run(self._command + [str(word) for word in arguments], capture_output=True, input=given,
                              timeout=seconds, check=False, env={**os.environ, **TRANSPORTS[transport]})
        return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def __call__(self, *arguments, **more):
        """What it prints to standard output."""
        answer = self.call(*arguments, **more)
        if answer.status != 0:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {answer.error.strip()} {answer.out[-500:]}")
        return answer.out

    def json(self, *arguments):
        return json.loads(self(*arguments, "-o", "json"))

    def raw(self, path):
        """What the API server answers at a path."""
        return self("get", "--raw", path)

    def apply(self, *objects):
        self("apply", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def start(self, *arguments, transport="websocket"):
        """A process with pipes of text, unbuffered to us."""
        return subprocess.Popen(self._command + [str(word) for word in arguments], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
                                env={**os.environ, **TRANSPORTS[transport]})

    def in_terminal(self, *arguments, transport="websocket"):
        settings = [f"{name}={value}" for name, value in TRANSPORTS[transport].items()]
        return Terminal(["/usr/bin/env", *settings, *self._command, *arguments])
