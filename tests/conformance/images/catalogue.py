"""Every image that critest 1.36 names, made of a static busybox and three small programs.

Repository paths are those of the real images; the host is dropped, since one registry mirrors all hosts.
"""

import pathlib
import subprocess

from oci import DOCKER, MACHINE, OCI, Tree, image, index

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = """\
root:x:0:
daemon:x:1:
tty:x:5:
www-data:x:33:
users:x:100:
nobody:x:65534:
"""
STAGING = "k8s-staging-cri-tools/"
SHELL = {"Cmd": ["sh"]}
# The one that critest pins by digest; run.sh puts our digest in the place of the published one.
PINNED = STAGING + "test-image-digest"


def base_layer(busybox):
    """A root file system of busybox alone. Hard links: a spec masks /bin/ls and only that may vanish."""
    tree = Tree()
    for path in ("bin", "dev", "etc", "home", "proc", "run", "sys", "usr", "usr/bin", "usr/sbin", "usr/share", "var",
                 "var/log", "var/run", "var/www"):
        tree.folder(path)
    tree.folder("root", 0o700).folder("tmp", 0o1777)
    tree.file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            tree.hard_link("bin/" + applet, "bin/busybox")
    return tree.file("etc/passwd", PASSWD).file("etc/group", GROUP).layer()


class Catalogue:
    """`names` maps repository:tag to its manifest. `programs`: folder with busybox, web, pause and euid."""

    def __init__(self, programs):
        self.names = {}
        self._programs = pathlib.Path(programs)
        self._base = base_layer(self._programs / "busybox")
        self._add_plain()
        self._add_servers()
        self._add_users()
        self._add_marked()

    def _program(self, name, path, mode=0o755):
        return Tree().file(path, (self._programs / name).read_bytes(), mode).layer()

    def _add_plain(self):
        self.names["e2e-test-images/busybox:1.29-2"] = index([self._base], SHELL)
        euid = self._program("euid", "nnp", 0o4755)
        self.names["e2e-test-images/nonewprivs:1.3"] = index([self._base, euid], {"Entrypoint": ["/nnp"]})
        pause = self._program("pause", "pause")
        for tag in ("3.9", "3.10", "3.10.1", "latest"):
            # A label makes each an image of its own: specs remove 3.9 and count its tags.
            config = {"Entrypoint": ["/pause"], "User": "65535:65535", "Labels": {"version": tag}}
            self.names["pause:" + tag] = index([pause], config)

    def _add_servers(self):
        def add(make, name, path, port, log_line, title):
            pid_file = f"/var/run/{path.rpartition('/')[2]}.pid"
            entry = ["/" + path, str(port), pid_file, log_line, title]
            config = {"Entrypoint": entry, "ExposedPorts": {f"{port}/tcp": {}}, "StopSignal": "SIGTERM"}
            self.names[name] = make([self._base, self._program("web", path)], config)

        master = "nginx: master process nginx -g daemon off;"
        add(index, "e2e-test-images/nginx:1.14-2", "usr/sbin/nginx", 80, "nginx: started", master)
        add(image, f"{STAGING}hostnet-nginx-{MACHINE}:latest", "usr/sbin/nginx", 12003, "nginx: started", master)
        add(index, "e2e-test-images/httpd:2.4.39-4", "usr/bin/httpd", 80, "httpd: started", "httpd")

    def _add_users(self):
        users = {"uid": "1002", "username": "www-data", "uid-group": "1003:1004", "username-group": "www-data:1004"}
        for name, user in users.items():
            self.names[f"{STAGING}test-image-user-{name}:latest"] = image([self._base], {**SHELL, "User": user})
        groups = Tree()
        groups.file("etc/passwd", PASSWD + "default-user:x:1000:1000::/home/default-user:/bin/sh\n")
        groups.file("etc/group", GROUP + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n")
        config = {**SHELL, "User": "1000"}
        self.names[STAGING + "test-image-predefined-group:latest"] = image([self._base, groups.layer()], config)

    def _marked(self, marker, kinds=DOCKER):
        """An image of its own, by one file more."""
        return image([self._base, Tree().file(marker, marker + "\n").layer()], SHELL, kinds)

    def _add_marked(self):
        for name in ("latest", "1", "2", "3"):
            self.names[f"{STAGING}test-image-{name}:latest"] = self._marked("test-image-" + name)
        for tag in ("test", "all"):
            self.names[f"{STAGING}test-image-tag:{tag}"] = self._marked("test-image-tag-" + tag)
        same = self._marked("test-image-tags")
        for tag in "123":
            self.names[f"{STAGING}test-image-tags:{tag}"] = same
        self.names[PINNED + ":any"] = self._marked("test-image-digest")
        for tag in ("1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"):
            self.names["docker/library/busybox:" + tag] = self._marked("busybox-" + tag, OCI)
        self.names["library/busybox:latest"] = index([self._base], SHELL, OCI)
