"""Runs test_*.py of this folder. Called by run.sh, inside namespaces of its own.

usage: main.py --bin FOLDER --crictl PROGRAM --streamclient PROGRAM [--tests FOLDER] [WORD…]

With words: only tests whose names have one of them. With --tests: those of another folder that start from the same things.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
import unittest

import case
import images

HERE = pathlib.Path(__file__).parent


class Outcomes(unittest.TestResult):
    """One line for each test; a test that failed twice, say in itself and in what it left, has failed once."""

    def __init__(self):
        super().__init__()
        self.failed, self.passed, self.skipped_tests = {}, 0, 0
        self._skip = self._started = None

    def startTest(self, test):
        super().startTest(test)
        self._started, self._skip = time.monotonic(), None

    def _fail(self, test, error):
        text = f"{error[0].__name__}: {error[1]}"
        first = test.id() not in self.failed
        self.failed.setdefault(test.id(), text)
        print(f"FAILED {test.id()}: {text}" if first else f"    and: {text}")
        trace, place = error[2], ""
        while trace:
            if pathlib.Path(trace.tb_frame.f_code.co_filename).is_relative_to(HERE.parent):
                place += f" {pathlib.Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
            trace = trace.tb_next
        print(f"    at:{place}", flush=True)

    def addError(self, test, err):
        self._fail(test, err)

    def addFailure(self, test, err):
        self._fail(test, err)

    def addSubTest(self, test, subtest, err):
        if err:
            self._fail(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._skip = reason

    def stopTest(self, test):
        super().stopTest(test)
        took = time.monotonic() - self._started
        if self._skip is not None:
            self.skipped_tests += 1
            print(f"  skipped: {test.id()}: {self._skip}", flush=True)
        elif test.id() not in self.failed:
            self.passed += 1
            print(f"ok {test.id()} ({took:.1f} s)", flush=True)


def selected(suite, words):
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from selected(entry, words)
        elif not words or any(word in entry.id() for word in words):
            yield entry


def cannot_run(binaries):
    for name in ("gantryd", "gantry-shim", "gantry-init", "gantry-puller", "gantry-unpacker", "gantry-cri-call"):
        if not os.access(binaries / name, os.X_OK):
            return f"there is no {binaries}/{name}"
    if images.Registry.missing():
        return "no docker-registry in PATH (Debian package docker-registry)"
    return None if images.BUSYBOX.exists() else f"no {images.BUSYBOX} (Debian package busybox-static)"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--bin", type=pathlib.Path, required=True)
    arguments.add_argument("--crictl", required=True)
    arguments.add_argument("--streamclient", required=True)
    arguments.add_argument("--tests", type=pathlib.Path, default=HERE)
    arguments.add_argument("words", nargs="*")
    given = arguments.parse_args()
    reason = cannot_run(given.bin)
    if reason:
        print(f"SKIPPED: {reason}")
        return 77
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory(prefix="gantry-test-registry.", dir="/var/tmp") as folder:
        case.GantryTest.lane = case.Lane(folder, given, bool(os.environ.get("KEEP")))
        try:
            found = unittest.defaultTestLoader.discover(str(given.tests))
            unittest.TestSuite(selected(found, given.words)).run(outcomes)
        finally:
            case.GantryTest.lane.registry.stop()
    print(f"{outcomes.passed} passed, {len(outcomes.failed)} failed, {outcomes.skipped_tests} skipped")
    return 1 if outcomes.failed else 0


sys.exit(main())
