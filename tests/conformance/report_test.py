#!/usr/bin/env python3
"""Each reason for which the lane fails is found by report.py, and nothing else is."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPORT = pathlib.Path(__file__).with_name("report.py")


def spec(name, state, message="", kind="It"):
    return {"ContainerHierarchyTexts": ["Pod"], "LeafNodeText": name, "LeafNodeType": kind, "State": state,
            "Failure": {"Message": message}}


class Report(unittest.TestCase):
    def verdict(self, specs, expected="", skipped="", *options):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "report.json").write_text(json.dumps([{"SpecReports": specs}]))
            (folder / "expected").write_text(expected)
            (folder / "skipped").write_text(skipped)
            done = subprocess.run([sys.executable, REPORT, folder / "report.json", "--expected", folder / "expected",
                                   "--skipped", folder / "skipped", *options], capture_output=True, text=True)
            self.left = (folder / "expected").read_text()
            return done.returncode, done.stdout

    def test_as_expected(self):
        specs = [spec("runs", "passed"), spec("guards", "skipped", "no AppArmor"), spec("benchmark", "skipped")]
        self.assertEqual(self.verdict(specs, "# list\nPod / runs\n", "Pod / guards | the kernel has no AppArmor\n"),
                         (0, "1 passed, 0 failed, 1 skipped\n    skipped: Pod / guards (the kernel has no AppArmor)\n"))

    def test_what_is_missing_counts_as_skipped_until_it_passes(self):
        with tempfile.NamedTemporaryFile("w") as missing:
            missing.write("Pod / streams | not yet\n")
            missing.flush()
            failing = [spec("runs", "passed"), spec("streams", "failed", "Unimplemented")]
            code, text = self.verdict(failing, "Pod / runs\n", "", "--missing", missing.name)
            self.assertEqual((code, text), (0, "1 passed, 0 failed, 1 skipped\n    skipped: Pod / streams (not yet)\n"))
            passing = [spec("runs", "passed"), spec("streams", "passed")]
            self.assertEqual(self.verdict(passing, "Pod / runs\n", "", "--missing", missing.name)[0], 1)
            other = [spec("runs", "failed", "why")]
            self.assertEqual(self.verdict(other, "Pod / runs\n", "", "--missing", missing.name)[0], 1)

    def test_what_may_be_skipped_may_pass(self):
        self.assertEqual(self.verdict([spec("guards", "passed")], "", "Pod / guards | reason\n")[0], 0)

    def test_each_difference_fails(self):
        runs = spec("runs", "passed")
        for what, specs, expected, says in (
            ("a failure", [runs, spec("stops", "failed", "no answer")], "Pod / runs\nPod / stops\n", "FAILED Pod / stops\n    no answer"),
            ("a panic", [runs, spec("stops", "panicked")], "Pod / runs\nPod / stops\n", "FAILED Pod / stops"),
            ("a failed set-up", [runs, spec("", "failed", "no socket", "BeforeSuite")], "Pod / runs\n", "no socket"),
            ("an unlisted pass", [runs], "", "not in expected.txt: Pod / runs"),
            ("an unlisted skip", [runs, spec("x", "skipped", "why")], "Pod / runs\n", "SKIPPED without a reason"),
            ("a spec that did not run", [runs], "Pod / runs\nPod / stops\n", "did not run: Pod / stops"),
            ("nothing at all", [], "", "0 passed"),
        ):
            with self.subTest(what):
                code, text = self.verdict(specs, expected)
                self.assertEqual(code, 1)
                self.assertIn(says, text)

    def test_a_part_says_nothing_of_the_rest(self):
        self.assertEqual(self.verdict([spec("runs", "passed")], "Pod / runs\nPod / stops\n", "", "--partial")[0], 0)

    def test_update_keeps_what_was_not_selected(self):
        self.verdict([spec("runs", "passed")], "Pod / stops\n", "", "--partial", "--update")
        self.assertEqual(self.left.splitlines()[1:], ["Pod / runs", "Pod / stops"])


unittest.main()
