"""gantry image explain: the decisions of a pull, on the real daemon."""

import subprocess

from case import GantryTest
from images import image, layer_of


class ImageExplain(GantryTest):
    def explain(self, reference):
        binary = self.lane.binaries / "gantry"
        if not binary.exists():
            self.skipTest("the command gantry is not built")
        return subprocess.run([binary, "--socket", f"unix://{self.daemon.socket}", "image", "explain", reference],
                              capture_output=True, text=True, check=False, timeout=120)

    def test_the_decisions_are_told_before_and_after_a_pull(self):
        made = image([layer_of({"file": "explained"})], {})
        self.lane.registry.push("library/explained", "1", made)
        before = self.explain("explained:1")
        self.assertEqual(0, before.returncode, before.stderr)
        for words in (r"reference +docker.io/library/explained:1", r"hosts +.*hosts.toml", r"endpoint 1 +http://127",
                      r"login 1 +nobody is logged in", r"platform +linux/", r"digest +sha256:[0-9a-f]{64} from http",
                      r"policy +allows it", r"kind +container image", r"layer 1 +sha256:.*, to be fetched"):
            self.assertRegex(before.stdout, words)
        self.crictl("pull", "docker.io/library/explained:1")
        self.assertRegex(self.explain("explained:1").stdout, r"layer 1 +sha256:.*, is here")

    def test_row_64_what_a_pull_would_end_with_is_told(self):
        missing = self.explain("docker.io/library/none:1")
        self.assertEqual(125, missing.returncode)
        self.assertRegex(missing.stdout, r"reference +docker.io/library/none:1")
        self.assertRegex(missing.stderr, "a pull would fail: .*HTTP 404.*nobody is logged in")
