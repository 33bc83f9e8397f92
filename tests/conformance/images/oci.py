"""Images as values: layers, configs, manifests and indexes as bytes, addressed by their digests."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import tarfile

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
OTHER_MACHINE = {"amd64": "arm64", "arm64": "amd64"}[MACHINE]
EPOCH = 1700000000  # every time in an image, so that the same input gives the same digests
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Kinds:
    """The media types of one of the two families of manifests."""

    index: str
    manifest: str
    config: str
    layer: str


DOCKER = Kinds(
    index="application/vnd.docker.distribution.manifest.list.v2+json",
    manifest="application/vnd.docker.distribution.manifest.v2+json",
    config="application/vnd.docker.container.image.v1+json",
    layer="application/vnd.docker.image.rootfs.diff.tar.gzip",
)
OCI = Kinds(
    index="application/vnd.oci.image.index.v1+json",
    manifest="application/vnd.oci.image.manifest.v1+json",
    config="application/vnd.oci.image.config.v1+json",
    layer="application/vnd.oci.image.layer.v1.tar+gzip",
)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclasses.dataclass(frozen=True)
class Layer:
    packed: bytes
    diff_id: str


class Tree:
    """A layer in the making: entries in the order in which they are added."""

    def __init__(self):
        self._raw = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._raw, mode="w", format=tarfile.PAX_FORMAT)

    def _add(self, path, kind, mode, content=b"", target=""):
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.mtime, entry.size, entry.linkname = kind, mode, EPOCH, len(content), target
        self._tar.addfile(entry, io.BytesIO(content))
        return self

    def folder(self, path, mode=0o755):
        return self._add(path, tarfile.DIRTYPE, mode)

    def file(self, path, content, mode=0o644):
        return self._add(path, tarfile.REGTYPE, mode, content if isinstance(content, bytes) else content.encode())

    def hard_link(self, path, target):
        return self._add(path, tarfile.LNKTYPE, 0o755, target=target)

    def soft_link(self, path, target):
        return self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def fifo(self, path):
        return self._add(path, tarfile.FIFOTYPE, 0o644)

    def layer(self):
        self._tar.close()
        raw = self._raw.getvalue()
        return Layer(gzip.compress(raw, 6, mtime=0), digest_of(raw))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a registry holds under one digest, with the blobs and manifests that it leads to."""

    data: bytes
    kind: str
    blobs: tuple = ()
    children: tuple = ()

    @property
    def digest(self):
        return digest_of(self.data)


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def image(layers, config, kinds=DOCKER, machine=MACHINE):
    created = "2024-01-01T00:00:00Z"
    settings = _json({
        "architecture": machine,
        "os": "linux",
        "created": created,
        "config": {"Env": [SEARCH_PATH], **config},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": "tests/conformance/images"} for _ in layers],
    })
    data = _json({
        "schemaVersion": 2,
        "mediaType": kinds.manifest,
        "config": {"mediaType": kinds.config, "size": len(settings), "digest": digest_of(settings)},
        "layers": [
            {"mediaType": kinds.layer, "size": len(layer.packed), "digest": digest_of(layer.packed)} for layer in layers
        ],
    })
    return Manifest(data, kinds.manifest, (settings, *(layer.packed for layer in layers)))


def index(layers, config, kinds=DOCKER):
    """The image for this machine, behind one for another: the right one has to be chosen."""
    variants = [(machine, image(layers, config, kinds, machine)) for machine in (OTHER_MACHINE, MACHINE)]
    data = _json({
        "schemaVersion": 2,
        "mediaType": kinds.index,
        "manifests": [
            {
                "mediaType": kinds.manifest,
                "size": len(variant.data),
                "digest": variant.digest,
                "platform": {"architecture": machine, "os": "linux"},
            }
            for machine, variant in variants
        ],
    })
    return Manifest(data, kinds.index, children=tuple(variant for _, variant in variants))
