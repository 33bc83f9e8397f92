"""Volumes made of images and artifacts (KEP-4639)."""

import hashlib

from case import BASE, GantryTest, NAMESPACE_NODE
from images import Tree, artifact, image, layer_of

SCRIPT = "#!/bin/sh\necho it runs\n"


class ImageVolumes(GantryTest):
    def one_layer(self, name="single"):
        tree = Tree().folder("data").folder("data/deep").file("data/file", "content").file("run", SCRIPT, 0o755)
        tree.file("data/deep/inner", "inner")
        tree.soft_link("data/out", "../../etc")
        self.lane.registry.push(f"library/{name}", "1", image([tree.layer()], {}))
        reference = f"docker.io/library/{name}:1"
        self.crictl("pull", reference)
        return reference

    def volume(self, reference, path="/volume", **more):
        return [{"container_path": path, "image": {"image": reference}, "readonly": True, **more}]

    def refuse(self, pod, code, words, mounts):
        before = self.oracle.look()
        config = self.container_config("refused", "true", mounts=mounts)
        error = self.assert_refused(code, words, "create", pod.id, self.crictl.document(config), pod.document)
        self.assert_nothing_left(before)
        return error

    def test_row_77_the_content_is_there_read_only_and_can_be_run(self):
        layered = self.add_image("layered", {}, layer_of({"data/file": "content"}),
                                 layer_of({"data/file": "newer", "run": SCRIPT}))
        pod = self.run_pod()
        for name, reference, text in (("one", self.one_layer(), "content"), ("two", layered, "newer")):
            script = ("cat /volume/data/file; echo; sh /volume/run; touch /volume/x 2>&1 | grep -o 'Read-only.*';"
                      "grep ' /volume ' /proc/self/mountinfo | grep -c noexec")
            _, output = self.run_to_end(pod, name, "sh", "-c", script, mounts=self.volume(reference))
            self.assertEqual([text, "it runs", "Read-only file system", "0"], output.splitlines())
        _, output = self.run_to_end(pod, "three", "/volume/run", mounts=self.volume(self.one_layer()))
        self.assertEqual("it runs", output)

    def test_row_77_a_sub_path_is_part_of_it(self):
        pod = self.run_pod()
        reference = self.one_layer()
        _, output = self.run_to_end(pod, "one", "cat", "/volume/inner",
                                    mounts=self.volume(reference, image_sub_path="data/deep"))
        self.assertEqual("inner", output)
        _, output = self.run_to_end(pod, "two", "cat", "/volume",
                                    mounts=self.volume(reference, image_sub_path="data/file"))
        self.assertEqual("content", output)

    def test_row_77_cve_2022_23648_a_sub_path_that_is_missing_or_leads_out_is_refused(self):
        pod = self.run_pod()
        reference = self.one_layer()
        for path, words in (("data/none", "not in the image"), ("data/file/more", "not in the image"),
                            ("data/out", "leads out"), ("../..", "leads out"), ("/etc", "leads out"),
                            ("data/out/passwd", "leads out")):
            with self.subTest(path=path):
                self.refuse(pod, "InvalidArgument", ["desc = ImageVolumeMountFailed: ", words],
                            self.volume(reference, image_sub_path=path))

    def test_row_77_what_cannot_be_a_volume_is_refused(self):
        pod = self.run_pod()
        reference = self.one_layer()
        self.refuse(pod, "NotFound", ["desc = ImageVolumeMountFailed: ", "never-pulled:1", "pull it first"],
                    self.volume("docker.io/library/never-pulled:1"))
        self.refuse(pod, "InvalidArgument", ["must be readonly"], self.volume(reference, readonly=False))
        self.refuse(pod, "InvalidArgument", ["both host_path and image"], self.volume(reference, host_path="/srv"))
        self.refuse(pod, "InvalidArgument", ["neither host_path nor image"], [{"container_path": "/volume"}])
        self.refuse(pod, "InvalidArgument", ["image_sub_path needs an image"],
                    [{"container_path": "/volume", "host_path": "/srv", "image_sub_path": "x"}])

    def test_the_status_names_the_image(self):
        reference = self.one_layer()
        container = self.launch(self.run_pod(), "one", "sleep", "1000", mounts=self.volume(reference))
        mount = self.status(container)["mounts"][0]
        self.assertEqual(reference, mount["image"]["image"])
        # As critest 1.37 has it: what PullImage said.
        pulled = self.crictl.json("inspecti", "-o", "json", reference)["status"]["id"]
        self.assertEqual(pulled, mount["image"]["imageRef"])
        self.assertTrue(mount["readonly"])

    def test_row_77_an_image_that_is_removed_stays_for_the_container(self):
        reference = self.one_layer()
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000", mounts=self.volume(reference))
        self.crictl("rmi", reference)
        self.assertNotIn("single", self.crictl("images", "-o", "json"))
        self.assertEqual("content", self.execute(container, "cat", "/volume/data/file"))
        layers = len(list((self.daemon.root / "layers").iterdir()))
        self.assertEqual(2, layers)  # the base's and the volume's; what is left in the end is counted by the oracle

    def test_row_77_it_survives_a_restart(self):
        reference = self.one_layer()
        container = self.launch(self.run_pod(), "one", "sleep", "1000", mounts=self.volume(reference))
        expected = self.status(container)["mounts"]
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(expected, self.status(container)["mounts"])
        self.crictl("rmi", reference)
        self.assertEqual("content", self.execute(container, "cat", "/volume/data/file"))

    def test_row_77_owners_in_it_are_mapped_with_a_user_namespace(self):
        config = self.pod_config("mapped", NAMESPACE_NODE)
        ids = [{"container_id": 0, "host_id": 100000, "length": 65536}]
        config["linux"]["security_context"]["namespace_options"]["userns_options"] = {"mode": 0, "uids": ids, "gids": ids}
        pod = self.run_pod(**{"name": "mapped", **config})
        layered = self.add_image("layered", {}, layer_of({"data/file": "content"}))
        for name, reference in (("one", self.one_layer()), ("two", layered)):
            _, output = self.run_to_end(pod, name, "stat", "-c", "%u", "/volume/data/file",
                                        mounts=self.volume(reference))
            self.assertEqual("0", output)

    def test_the_image_of_a_container_can_be_its_volume_too(self):
        _, output = self.run_to_end(self.run_pod(), "one", "ls", "/volume/bin/busybox", mounts=self.volume(BASE))
        self.assertEqual("/volume/bin/busybox", output)

    def test_an_artifact_is_a_folder_of_its_files(self):
        config, weights = b'{"layers": 2}', bytes(range(256)) * 4096
        tree = Tree().folder("tokens").file("tokens/vocabulary", "a b c").layer()
        made = artifact([("application/json", "config.json", config),
                         ("application/vnd.acme.weights", "shards/weights-1.bin", weights),
                         ("application/vnd.oci.image.layer.v1.tar+gzip", "tokens", tree.packed)])
        self.lane.registry.push("library/model", "1", made)
        reference = "docker.io/library/model:1"
        self.crictl("pull", reference)
        pod = self.run_pod()
        script = "cd /volume; cat config.json tokens/vocabulary; echo; sha256sum shards/*; touch x || stat -c %a,%u config.json"
        _, output = self.run_to_end(pod, "one", "sh", "-c", script, mounts=self.volume(reference))
        digest = hashlib.sha256(weights).hexdigest()
        self.assertEqual(['{"layers": 2}a b c', f"{digest}  shards/weights-1.bin"], output.splitlines()[:2])
        self.assertEqual("644,0", output.splitlines()[-1], "anybody can read it, nobody can write")
        _, output = self.run_to_end(pod, "two", "sha256sum", "/weights",
                                    mounts=self.volume(reference, "/weights", image_sub_path="shards/weights-1.bin"))
        self.assertEqual(digest, output.split()[0])

    def test_an_artifact_cannot_be_run(self):
        self.lane.registry.push("library/text", "1", artifact([("text/plain", "text", b"x")]))
        self.crictl("pull", "docker.io/library/text:1")
        pod = self.run_pod()
        config = self.container_config("refused", image_name="docker.io/library/text:1")
        self.assert_refused("InvalidArgument", ["no command"], "create", pod.id, self.crictl.document(config), pod.document)
