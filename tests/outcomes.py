#!/usr/bin/env python3
"""Turns what test runners leave behind into lines "outcome<TAB>tier<TAB>name<TAB>reason", one for each test.

  outcomes.py ctest TIER DIR                         DIR/ctest.junit, and DIR/PROGRAM.xml of GoogleTest programs
  outcomes.py node TIER DIR STATUS PROGRAM…          DIR/results ("program status") and DIR/PROGRAM.xml
  outcomes.py lane TIER NAME STATUS LOG              a program that printed "N passed, N failed, N skipped"
  outcomes.py programs BUILD LABEL TIER              test programs with a label that a tier may run, one path a line

A program that crashed, ran past its time or left no report is one failed test of its own.
"""
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

# The node runs what talks to the kernel; cri/ is tested there through integration tests.
NODE_FOLDERS = ("runtime/", "imageservice/", "shim/")


def say(outcome, tier, name, reason=""):
    print("\t".join((outcome, tier, name, " ".join(reason.split())[:300])))


def skip_reason(element):
    """GoogleTest's message starts with the place; the reason is the rest."""
    message = element.get("message") or element.text or ""
    return re.sub(r"^\S+:\d+\s+", "", message.strip())


def cases(tier, program, path):
    """Reports each case of a GoogleTest report. Returns how many failed, or None where there is no report."""
    try:
        root = xml.parse(path).getroot()
    except (OSError, xml.ParseError):
        return None
    failed = 0
    for case in root.iter("testcase"):
        name = f"{program} {case.get('classname')}.{case.get('name')}"
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            failed += 1
            say("failed", tier, name, failure.get("message") or failure.text or "")
        elif case.get("status") == "notrun":
            say("skipped", tier, name, "disabled")
        elif skipped is not None or case.get("result") == "skipped":
            say("skipped", tier, name, skip_reason(skipped) if skipped is not None else "")
        else:
            say("passed", tier, name)
    return failed


def last_lines(text, count=3):
    return " / ".join([line.strip() for line in (text or "").splitlines() if line.strip()][-count:])


def in_ci():
    return os.environ.get("CI") == "true"


def from_ctest(tier, folder):
    for entry in xml.parse(os.path.join(folder, "ctest.junit")).getroot().iter("testcase"):
        name, output = entry.get("name"), entry.findtext("system-out")
        failed = cases(tier, name, os.path.join(folder, name + ".xml"))
        if entry.get("status") == "fail":
            if not failed:
                say("failed", tier, name, entry.find("failure").get("message", "") + ": " + last_lines(output))
        elif failed is None and entry.get("status") == "run":
            say("passed", tier, name)
        elif failed is None:
            say("failed" if in_ci() else "skipped", tier, name, last_lines(output, 1) or entry.get("status"))


def from_node(tier, folder, status, programs):
    try:
        with open(os.path.join(folder, "results")) as file:
            results = dict(line.split() for line in file)
    except OSError:
        results = {}
    for name in (os.path.basename(program) for program in programs):
        failed = cases(tier, name, os.path.join(folder, name + ".xml"))
        if name not in results:
            say("failed", tier, name, f"did not end on the node (status {status} of tests/node/run.sh)")
        elif results[name] != "0" and not failed:
            say("failed", tier, name, f"ended with status {results[name]}")


def from_lane(tier, name, status, path):
    with open(path, errors="replace") as file:
        text = file.read()
    found = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", text, re.M)
    if not found:
        say("failed", tier, name, f"no count, status {status}: " + last_lines(text))
        return
    passed, failed, skipped = (int(number or 0) for number in found[-1])
    known = re.findall(r"^ok (.*?)(?: \([\d.]+ s\))?$", text, re.M)
    for number in range(passed):
        say("passed", tier, known[number] if number < len(known) else f"{name} {number + 1}")
    reasons = re.findall(r"^\s+skipped: (.*)$", text, re.M)
    for number in range(skipped):
        say("skipped", tier, name, reasons[number] if number < len(reasons) else "see its log")
    # A lane may know of failures that are expected: then it ends with 0.
    bad = re.findall(r"^(?:FAILED |passes, but |SKIPPED without |expected, but ).*$", text, re.M)
    if status != "0" and len(bad) < max(failed, 1):
        bad += [f"status {status}: " + last_lines(text)] * (max(failed, 1) - len(bad))
    for line in bad:
        say("failed" if status != "0" else "skipped", tier, name, line)


def programs(build, label, tier):
    shown = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1", "-L", f"^{label}$"],
                           capture_output=True, text=True, check=True).stdout
    for test in json.loads(shown)["tests"]:
        folder = next((p["value"] for p in test.get("properties", []) if p["name"] == "WORKING_DIRECTORY"), "")
        inside = os.path.relpath(folder, build) + "/"
        if "command" in test and (tier != "node" or inside.startswith(NODE_FOLDERS)):
            print(test["command"][0])


def main():
    commands = {"ctest": from_ctest, "lane": from_lane, "programs": programs,
                "node": lambda tier, folder, status, *rest: from_node(tier, folder, status, rest)}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
