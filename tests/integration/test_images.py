"""Images while they are used: by many layers at once, by many callers, by containers that are being made."""

import json
import threading

from cri_call import IMAGES
from daemon import wait_until
from images import image, layer_of
from test_api import ApiTest

NAME = "docker.io/library/many:1"


class Images(ApiTest):
    def push(self, name, tag, *layers, **config):
        """The base image with `layers` over it, in the registry."""
        made = image([self.lane.base, *(layer_of(files) for files in layers)], config)
        self.lane.registry.push(f"library/{name}", tag, made)

    def pull(self, name):
        reply = self.call("PullImage", {"image": {"image": name}}, service=IMAGES)
        self.assertEqual("OK", reply.code, reply.text)
        return reply.message["image_ref"]

    def remove(self, name):
        return self.call("RemoveImage", {"image": {"image": name}}, service=IMAGES)

    def names(self):
        images = self.call("ListImages", {}, service=IMAGES).message.get("images", [])
        return {tag for found in images for tag in found.get("repo_tags", [])}

    def used(self):
        reply = self.call("ImageFsInfo", {}, service=IMAGES)
        return int(reply.message["image_filesystems"][0]["used_bytes"]["value"])

    def layers(self):
        return {folder.name for folder in (self.daemon.root / "layers").iterdir()}

    def test_row_66_layers_that_are_unpacked_at_once_give_what_one_after_the_other_gives(self):
        layers = [
            {"a/1": "one", "a/2": "two", "b/x": "x", "b/deep/y": "y", "c": "file", "e/f": "old"},
            {"a/.wh.1": "", "b/.wh..wh..opq": "", "b/z": "z", "d/q": "q"},
            {"a/1": "again", ".wh.c": "", "e/f": "new"},
            {"c/now": "a folder", "b/deep/w": "w", "d/.wh.q": ""},
            {"e/.wh..wh..opq": "", "e/g": "last"},
            {"a/2": "changed", "b/.wh.z": ""},
        ]
        expected = {"a/1": "again", "a/2": "changed", "b/deep/w": "w", "c/now": "a folder", "e/g": "last"}
        self.push("many", "1", *layers)
        self.pull(NAME)
        pod = self.run_pod()
        script = "cd /; find a b c d e -type f | sort | while read f; do echo \"$f=$(cat $f)\"; done; ls -d d b/deep/y"
        _, output = self.run_to_end(pod, "one", "sh", "-c", script, image_name=NAME)
        lines = output.splitlines()
        self.assertEqual(sorted(f"{path}={text}" for path, text in expected.items()),
                         sorted(line for line in lines if "=" in line))
        self.assertIn("d", lines)
        self.assertNotIn("b/deep/y", lines)

    def at_once(self, number, function):
        """What `number` calls in threads of their own return."""
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(function())) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def test_row_72_an_image_in_use_is_removed_by_twenty_at_once(self):
        self.push("many", "1", {"file": "content"})
        self.push("many", "2", {"file": "content"})
        identity = self.pull(NAME)
        self.assertEqual(identity, self.pull("docker.io/library/many:2"))
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000", image_name=NAME)
        for name in (NAME, identity):
            replies = self.at_once(20, lambda name=name: self.remove(name))
            self.assertEqual({"OK"}, {reply.code for reply in replies}, [reply.text for reply in replies])
            # CRI: an image goes with all of its names.
            self.assertEqual(set(), {name for name in self.names() if "many" in name})
            self.pull("docker.io/library/many:2")
        self.remove(identity)
        self.assertEqual("content", self.execute(container, "cat", "/file").strip())
        self.assertEqual("CONTAINER_RUNNING", self.state(container))

    def test_row_73_lists_and_usage_follow_a_pull_and_a_removal_at_once(self):
        self.push("many", "1", {"file": "x" * 3_000_000})
        before = self.used()
        for _ in range(3):
            identity = self.pull(NAME)
            self.assertIn(NAME, self.names())
            status = self.call("ImageStatus", {"image": {"image": NAME}}, service=IMAGES)
            self.assertEqual(identity, status.message["image"]["id"])
            self.assertGreater(self.used(), before + 2_900_000)
            self.assertEqual("OK", self.remove(NAME).code)
            self.assertNotIn(NAME, self.names())
            self.assertNotIn("image", self.call("ImageStatus", {"image": {"image": NAME}}, service=IMAGES).message)
            wait_until(lambda: self.used() <= before, "the usage is what it was")

    def test_row_74_nothing_goes_that_a_pull_or_a_container_in_the_making_needs(self):
        self.push("many", "1", {"file": "content"}, {"other": "text"})
        before = self.layers()
        pod = self.run_pod()
        ended = threading.Event()
        trouble = []

        def remove_and_pull():
            while not ended.is_set():
                for reply in (self.remove(NAME), self.call("PullImage", {"image": {"image": NAME}}, service=IMAGES)):
                    if reply.code != "OK":
                        trouble.append(reply.text)

        threads = [threading.Thread(target=remove_and_pull) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            made = self.make_containers(pod, 25)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertEqual([], trouble)
        self.assertGreater(len(made), 0, "no container was made")
        for name in made:
            self.assertEqual("content\ntext", self.output(pod, name))
        self.crictl("rm", "-a", "-f")
        self.remove(NAME)
        wait_until(lambda: self.layers() == before, "the layers are gone that nobody needs")

    def make_containers(self, pod, number):
        """The names of those that could be made; the image may be away."""
        made = []
        for index in range(number):
            config = self.container_config(f"c{index}", "sh", "-c", "cat /file; echo; cat /other", image_name=NAME)
            created = self.call("CreateContainer",
                                {"pod_sandbox_id": pod.id, "config": config, "sandbox_config": pod.config})
            if created.code == "NOT_FOUND":
                continue
            self.assertEqual("OK", created.code, created.text)
            container = created.message["container_id"]
            self.crictl("start", container)
            self.assertEqual(0, self.wait_exited(container)["exitCode"], json.dumps(self.status(container)))
            made.append(f"c{index}")
        return made
