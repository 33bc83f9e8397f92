#!/usr/bin/env python3
"""Asks gantry-probe what this very process knows better. Usage: probe_test.py PROBE"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROBE = os.path.abspath(sys.argv.pop(1))


def ask(*arguments, **options):
    done = subprocess.run([PROBE, *arguments], capture_output=True, check=True, **options)
    return json.loads(done.stdout)


class Probe(unittest.TestCase):
    def test_reports_itself(self):
        with tempfile.TemporaryDirectory() as folder:
            report = ask(cwd=folder, env={"A": "b=c", "ODD": b"\xff\n\""}, stdin=subprocess.DEVNULL)
            self.assertEqual(report["cwd"], os.path.realpath(folder))
        self.assertEqual(report["ppid"], os.getpid())
        self.assertEqual(report["uid"], os.getuid())
        self.assertEqual(report["env"], {"A": "b=c", "ODD": "\xff\n\""})
        self.assertEqual(sorted(report["fds"]), ["0", "1", "2"])
        self.assertEqual(report["fds"]["0"], "/dev/null")
        self.assertEqual(report["namespaces"]["mnt"], os.readlink("/proc/self/ns/mnt"))
        self.assertIn("CapEff", report["status"])
        self.assertEqual(report["hostname"], os.uname().nodename)
        self.assertEqual(len(report["rlimits"]), 16)

    def test_an_inherited_descriptor_is_seen(self):
        with open("/dev/null") as extra:
            self.assertIn(str(extra.fileno()), ask(pass_fds=[extra.fileno()])["fds"])

    def test_stat_names_type_and_error(self):
        null, missing = ask("stat", "/dev/null", "/nowhere")
        self.assertEqual((null["type"], null["rdev"], null["error"]), ("char", "1:3", ""))
        self.assertEqual(missing["error"], "ENOENT")

    def test_write_tells_a_writable_from_a_missing_folder_and_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = ask("write", folder, folder + "/new", folder + "/no/new")
            self.assertEqual([answer["error"] for answer in outcome], ["", "", "ENOENT"])
            self.assertEqual(os.listdir(folder), [])

    def test_read_and_list(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/file", "w") as file:
                file.write("one\ntwo")
            self.assertEqual(ask("read", folder + "/file")[0]["text"], "one\ntwo")
            self.assertEqual(ask("list", folder)[0]["names"], ["file"])

    def test_calls_are_answered_by_the_kernel(self):
        outcome = {answer["call"]: answer["error"] for answer in ask("call", "setns", "nonsense")}
        self.assertEqual(outcome["nonsense"], "unknown")
        self.assertIn(outcome["setns"], ("EBADF", "EPERM"))

    def test_acts(self):
        self.assertEqual(subprocess.run([PROBE, "exit", "42"]).returncode, 42)
        self.assertEqual(subprocess.run([PROBE, "nonsense"], stderr=subprocess.DEVNULL).returncode, 2)
        self.assertEqual(subprocess.run([PROBE, "echo"], input=b"abc", capture_output=True).stdout, b"abc")
        lines = subprocess.run([PROBE, "lines", "5"], capture_output=True)
        self.assertEqual((lines.stdout.count(b"\n"), lines.stderr.count(b"\n")), (3, 2))

    def test_signals_are_named(self):
        with subprocess.Popen([PROBE, "signals", "1"], stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            process.terminate()
            self.assertEqual(process.stdout.readline(), "signal 15\n")


unittest.main()
