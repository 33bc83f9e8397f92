#!/usr/bin/env python3
"""Builds the images of the conformance lane and pushes them into a registry by the distribution API.

usage: push.py PROGRAMS HOST:PORT     (PROGRAMS: folder with busybox, web, pause, euid)

Prints the digest of the image that critest pins, in hex.
"""

import http.client
import sys

from catalogue import PINNED, Catalogue
from oci import digest_of


class Registry:
    """A client for pushing. One connection; blobs that another repository has are mounted from there."""

    def __init__(self, address):
        self._connection = http.client.HTTPConnection(address, timeout=30)
        self._home_of = {}  # digest of a blob -> a repository that has it

    def _call(self, method, path, body=None, headers=None, expected=(201,)):
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in expected:
            sys.exit(f"push.py: {method} {path}: {answer.status} {text.decode(errors='replace')}")
        return answer

    def push_blob(self, repository, data):
        digest = digest_of(data)
        path = f"/v2/{repository}/blobs/uploads/"
        if digest in self._home_of:
            path += f"?mount={digest}&from={self._home_of[digest]}"
        answer = self._call("POST", path, b"", expected=(201, 202))
        if answer.status == 202:
            location = answer.headers["Location"]
            joint = "&" if "?" in location else "?"
            self._call("PUT", f"{location}{joint}digest={digest}", data, {"Content-Type": "application/octet-stream"})
        self._home_of[digest] = repository

    def push_manifest(self, repository, reference, manifest):
        for blob in manifest.blobs:
            self.push_blob(repository, blob)
        for child in manifest.children:
            self.push_manifest(repository, child.digest, child)
        self._call("PUT", f"/v2/{repository}/manifests/{reference}", manifest.data, {"Content-Type": manifest.kind})


def main():
    programs, address = sys.argv[1:]
    catalogue = Catalogue(programs)
    registry = Registry(address)
    for name, manifest in sorted(catalogue.names.items()):
        repository, _, tag = name.rpartition(":")
        registry.push_manifest(repository, tag, manifest)
    print(catalogue.names[PINNED + ":any"].digest.partition(":")[2])


if __name__ == "__main__":
    main()
