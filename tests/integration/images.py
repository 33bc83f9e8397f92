"""Images of a static busybox, in archives and in a registry."""

import gzip
import io
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "conformance" / "images"))
from oci import OCI, Manifest, Tree, digest_of, image  # noqa: E402  pylint: disable=wrong-import-position
from push import Registry as Pusher  # noqa: E402  pylint: disable=wrong-import-position

from daemon import wait_until  # noqa: E402  pylint: disable=wrong-import-position

BUSYBOX = pathlib.Path("/bin/busybox")
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1000:\nextra:x:2000:app\nother:x:3000:\n"


def base_layer():
    tree = Tree()
    for path in ("bin", "dev", "etc", "home", "home/app", "proc", "sys", "tmp", "var"):
        tree.folder(path)
    tree.file("bin/busybox", BUSYBOX.read_bytes(), 0o755)
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            tree.hard_link("bin/" + applet, "bin/busybox")
    return tree.file("etc/passwd", PASSWD).file("etc/group", GROUP).layer()


def layer_of(files):
    """One layer with `files`: path -> text, its folders before it."""
    tree = Tree()
    for path, content in files.items():
        for parent in reversed(pathlib.PurePosixPath(path).parents[:-1]):
            tree.folder(str(parent))
        tree.file(path, content)
    return tree.layer()


def artifact(files, kind="application/vnd.acme.model"):
    """What `oras push` makes of `files`: a list of media type, title and content."""
    empty = b"{}"
    layers = [{"mediaType": media_type, "digest": digest_of(content), "size": len(content),
               "annotations": {"org.opencontainers.image.title": title}} for media_type, title, content in files]
    document = {"schemaVersion": 2, "mediaType": OCI.manifest, "artifactType": kind, "layers": layers,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(empty), "size": 2}}
    return Manifest(json.dumps(document).encode(), OCI.manifest, (empty, *(content for _, _, content in files)))


def write_archive(path, name, manifest):
    """What `docker save` writes for one image."""
    settings, *layers = manifest.blobs
    config = digest_of(settings).partition(":")[2] + ".json"
    members = {config: settings}
    for number, layer in enumerate(layers):
        members[f"{number}/layer.tar"] = gzip.decompress(layer)
    members["manifest.json"] = json.dumps(
        [{"Config": config, "RepoTags": [name], "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}]).encode()
    with tarfile.open(path, "w") as archive:
        for member, content in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


class Registry:
    """Debian's docker-registry on loopback, with storage of its own, or with `store_of` another one.

    `password_file`: in the format of htpasswd with bcrypt; nobody else is let in, to pull or to push.
    """

    def __init__(self, folder, store_of=None, password_file=None):
        self._folder = pathlib.Path(folder)
        self.store = store_of.store if store_of else self._folder / "store"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        settings = self._folder / "registry.yml"
        door = f"auth: {{htpasswd: {{realm: tests, path: {password_file}}}}}\n" if password_file else ""
        settings.write_text(
            "version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n" + door +
            f"storage: {{filesystem: {{rootdirectory: {self.store}}}}}\nhttp: {{addr: {self.address}}}\n")
        with open(self._folder / "registry.log", "wb") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", settings], stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none",
                                                                          "PATH": "/usr/bin:/bin"})
        wait_until(self._answers, "the registry answers")

    @staticmethod
    def missing():
        return not shutil.which("docker-registry")

    def _answers(self):
        host, _, port = self.address.partition(":")
        with socket.socket() as client:
            return client.connect_ex((host, int(port))) == 0

    def push(self, repository, tag, manifest):
        Pusher(self.address).push_manifest(repository, tag, manifest)
        return f"{self.address}/{repository}:{tag}"

    def blob_path(self, digest):
        kind, _, name = digest.partition(":")
        return self.store / "docker/registry/v2/blobs" / kind / name[:2] / name / "data"

    def stop(self):
        self._process.kill()
        self._process.wait()


__all__ = ["Registry", "Tree", "base_layer", "digest_of", "image", "layer_of", "write_archive"]
