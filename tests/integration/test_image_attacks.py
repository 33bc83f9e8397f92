"""Images whose files stand where the runtime itself writes, mounts or reads."""

import os
import pathlib

from case import GantryTest
from images import Tree

WRITTEN = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
KEPT = "of the node\nvictim:x:4242:4242::/:/bin/sh\n"


class ImageAttacks(GantryTest):
    def setUp(self):
        super().setUp()
        self.victim = self.daemon.folder / "victim"
        self.victim.mkdir()
        self.addCleanup(self.victim.rmdir)
        (self.victim / "kept").write_text(KEPT)
        self.addCleanup((self.victim / "kept").unlink)

    def assert_victim_untouched(self):
        self.assertEqual(["kept"], os.listdir(self.victim))
        self.assertEqual(KEPT, (self.victim / "kept").read_text())
        self.assertNotIn(str(self.victim), pathlib.Path("/proc/self/mountinfo").read_text())

    def outwards(self, name):
        """Ways to say where a file of the node lies, for a link in /etc or /dev."""
        path = str(self.victim / name)
        return (path, "../" * 20 + path[1:], "/proc/1/root" + path)

    def image_of_links(self, name, target):
        tree = Tree()
        for path in WRITTEN:
            tree.soft_link(path, target)
        return self.add_image(name, {}, tree.soft_link("dev/shm", str(self.victim)).layer())

    def test_cve_2024_5154_links_in_places_that_the_runtime_fills_stay_inside(self):
        # What is written in the container goes through the same links, where they still are.
        script = "; ".join(f"echo bad >>/{path}" for path in WRITTEN) + "; echo bad >/dev/shm/bad; echo ran"
        for name in ("kept", "new"):
            for number, target in enumerate(self.outwards(name)[:2]):
                with self.subTest(target=target):
                    reference = self.image_of_links(f"{name}-{number}", target)
                    pod = self.run_pod(f"{name}-{number}")
                    status, text = self.run_to_end(pod, "one", "sh", "-c", script, image_name=reference)
                    self.assertEqual((0, "ran"), (status["exitCode"], text.splitlines()[-1]))
                    self.assert_victim_untouched()

    def test_cve_2024_5154_links_through_proc_are_refused(self):
        pod = self.run_pod()
        for name in ("kept", "new"):
            reference = self.image_of_links(name, self.outwards(name)[2])
            document = self.crictl.document(self.container_config(name, "true", image_name=reference))
            self.assert_refused("Internal", ["mount", "Too many levels of symbolic links"],
                                "create", pod.id, document, pod.document)
            self.assert_victim_untouched()
        self.assertEqual([], self.containers())

    def test_cve_2024_9676_a_user_is_looked_up_in_a_file_of_the_image(self):
        fifo = self.victim / "fifo"  # who opens it to read waits
        os.mkfifo(fifo)
        self.addCleanup(fifo.unlink, missing_ok=True)
        trees = {f"{kind}-{number}": Tree().soft_link("etc/passwd", target)
                 for kind in ("kept", "fifo") for number, target in enumerate(self.outwards(kind))}
        trees["pipe"] = Tree().fifo("etc/passwd")
        trees["endless"] = Tree().soft_link("etc/passwd", "/dev/zero")
        trees["circle"] = Tree().soft_link("etc/passwd", "passwd")
        pod = self.run_pod()
        for name, tree in trees.items():
            with self.subTest(name=name):
                reference = self.add_image(name, {"User": "victim"}, tree.layer())
                document = self.crictl.document(self.container_config(name, "true", image_name=reference))
                self.assert_refused("InvalidArgument", ["victim.* is not in the image's /etc/passwd"],
                                    "create", pod.id, document, pod.document)
        self.assertEqual([], self.containers())
        fifo.unlink()
        self.assert_victim_untouched()

    def test_cve_2024_9676_a_file_of_users_has_a_bound(self):
        image_name = self.add_image("huge", {"User": "victim"}, Tree().file("etc/passwd", "#" * (11 << 20)).layer())
        pod = self.run_pod()
        document = self.crictl.document(self.container_config("one", "true", image_name=image_name))
        self.assert_refused("OutOfRange", ["/etc/passwd: longer than"], "create", pod.id, document, pod.document)
        self.assertEqual([], self.containers())
