"""gantry image check, verify and export: what lies on disk is what was pulled, and the way out of it."""

import json
import os
import subprocess
import tarfile

from case import BASE, GantryTest
from daemon import wait_until
from images import image, layer_of


class ImageOnDisk(GantryTest):
    def gantry(self, *arguments):
        binary = self.lane.binaries / "gantry"
        return subprocess.run([binary, "--socket", f"unix://{self.daemon.socket}", "image", *arguments],
                              capture_output=True, text=True, check=False, timeout=120)

    def pull(self, name, content):
        """Returns the folder of the image's only layer."""
        made = image([layer_of({"file": content})], {})
        self.lane.registry.push(f"library/{name}", "1", made)
        before = set(os.listdir(self.daemon.root / "layers"))
        self.crictl("pull", f"docker.io/library/{name}:1")
        (new,) = set(os.listdir(self.daemon.root / "layers")) - before
        return self.daemon.root / "layers" / new

    def erofs(self):
        info = self.crictl.json("info", "-o", "json")
        layers = json.loads(info["config"])["layers"] if isinstance(info["config"], str) else info["config"]["layers"]
        if layers["erofs"] == "none":
            self.skipTest(f"no EROFS on this kernel: {layers['reason']}")

    def damage(self, folder, name, at):
        with open(folder / name, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))

    def test_status_tells_the_form_of_layers(self):
        info = self.crictl.json("info", "-o", "json")
        self.assertIn("layers", json.dumps(info["config"]))
        self.assertRegex(json.dumps(info["config"]), r'erofs\\*": *\\*"(file|loop|none)')

    def test_row_70_a_changed_layer_is_found_and_pulled_again(self):
        self.erofs()
        folder = self.pull("changed", "c" * 100_000)
        healthy = self.gantry("check", "--deep")
        self.assertEqual((0, "all layers are as they were written\n"), (healthy.returncode, healthy.stdout), healthy.stderr)
        self.assertEqual(0, self.gantry("verify", "changed:1").returncode)
        self.damage(folder, "data", 50_000)
        self.assertEqual(0, self.gantry("check").returncode, "the first look does not read contents")
        unproved = self.gantry("verify", "changed:1")
        self.assertEqual(1, unproved.returncode)
        self.assertRegex(unproved.stdout, "has the digest sha256:.*, not sha256:")
        found = self.gantry("check", "--deep")
        self.assertEqual(1, found.returncode)
        self.assertIn(folder.name.replace("sha256-", "sha256:"), found.stdout)
        repaired = self.gantry("check", "--deep", "--repair")
        self.assertEqual(0, repaired.returncode, repaired.stdout + repaired.stderr)
        self.assertRegex(repaired.stdout, "pulled again as docker.io/library/changed@sha256:")
        self.assertEqual(0, self.gantry("verify", "changed:1").returncode)
        self.assertRegex(self.crictl("images"), r"docker.io/library/changed +1 ")  # its tag too

    def test_row_69_a_boot_finds_what_the_disk_lost(self):
        self.erofs()
        folder = self.pull("lost", "l" * 100_000)
        self.daemon.stop()
        os.truncate(folder / "data", 4096)
        (self.daemon.root / "checked-boot").write_text("another boot")
        self.daemon.start()
        wait_until(lambda: "docker.io/library/lost " in self.crictl("images"), "the image is pulled again")
        self.assertEqual(0, self.gantry("check", "--deep").returncode)
        self.assertIn(BASE.rsplit(":", 1)[0], self.crictl("images"))

    def test_a_running_container_survives_its_layers_repair(self):
        self.erofs()
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        layer = max((self.daemon.root / "layers").iterdir(), key=lambda path: (path / "data").stat().st_size)
        self.damage(layer, "data", 1)
        self.assertEqual(0, self.gantry("check", "--deep", "--repair").returncode)
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        self.assertEqual("x", self.execute(container, "echo", "x").strip())
        self.launch(pod, "two", "sleep", "1000")

    def test_an_exported_image_comes_back(self):
        self.erofs()
        self.pull("exported", "e" * 100_000)
        image_id = self.crictl.json("inspecti", "-o", "json", "exported:1")["status"]["id"]
        archive = self.daemon.folder / "exported.tar"
        done = self.gantry("export", "-o", str(archive), "exported:1")
        self.assertEqual(0, done.returncode, done.stderr)
        with tarfile.open(archive) as tar:
            self.assertEqual({"oci-layout", "index.json", "manifest.json"},
                             {name for name in tar.getnames() if "/" not in name})
        self.crictl("rmi", "exported:1")
        imported = self.gantry("import", str(archive))
        self.assertEqual(0, imported.returncode, imported.stderr)
        self.assertIn(image_id, imported.stdout)
        pod = self.run_pod()
        self.launch(pod, "one", "sleep", "1000")
        archive.unlink()

    def test_errors_name_the_image(self):
        for command in (("verify", "nothing:1"), ("export", "-o", str(self.daemon.folder / "none.tar"), "nothing:1")):
            failed = self.gantry(*command)
            self.assertEqual(125, failed.returncode)
            self.assertIn('no image "nothing:1"', failed.stderr)
        self.assertFalse((self.daemon.folder / "none.tar").exists())
