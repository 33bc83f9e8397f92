"""crictl, as a person would use it."""

import dataclasses
import json
import subprocess


class CrictlError(AssertionError):
    """The text is what crictl printed."""


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    out: str
    error: str


class Crictl:
    def __init__(self, program, daemon):
        config = daemon.folder / "crictl.yaml"
        config.touch()
        self.command = [program, "--config", str(config), "--runtime-endpoint", f"unix://{daemon.socket}",
                         "--image-endpoint", f"unix://{daemon.socket}", "--timeout", "90s"]
        self._folder = daemon.folder
        self._documents = 0

    def call(self, *arguments, seconds=120):
        """Never fails; see `status`."""
        done = subprocess.run(self.command + [str(word) for word in arguments], capture_output=True, text=True,
                              errors="replace", stdin=subprocess.DEVNULL, timeout=seconds, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments, seconds=120):
        """What it prints to standard output, without blanks at the ends."""
        answer = self.call(*arguments, seconds=seconds)
        if answer.status != 0:
            raise CrictlError(f"crictl {' '.join(map(str, arguments))}: {answer.error.strip()}")
        return answer.out.strip()

    def json(self, *arguments):
        return json.loads(self(*arguments))

    def document(self, value):
        """A file with `value` as JSON, for runp and create."""
        self._documents += 1
        path = self._folder / f"document-{self._documents}.json"
        path.write_text(json.dumps(value))
        return path
