#!/usr/bin/env python3
"""Compares a JSON report of critest with what is expected of this tree, and says what differs.

expected.txt: one spec that must pass on each line. skipped.txt: `spec | reason`, specs that the machine may be unable to
run. missing.txt: `spec | reason`, specs of what gantry does not have yet: they count as skipped while they fail, and have
to leave the list once they pass. Ends with 1 when another spec failed, when one passed that is not expected, when an
expected one did not run, or when one was skipped without a reason.
"""

import argparse
import json
import sys


def lines(path):
    with open(path) as file:
        stripped = (line.strip() for line in file)
        return [line for line in stripped if line and not line.startswith("#")]


def pairs(path):
    return dict(line.split(" | ", 1) for line in lines(path))


def name(spec):
    return " / ".join([*(spec.get("ContainerHierarchyTexts") or []), spec["LeafNodeText"]])


def message(spec):
    return " ".join((spec.get("Failure") or {}).get("Message", "").split())[:300]


def sort_out(suites):
    """Returns passed names, failed {name: why} and skipped {name: why}. What was not selected counts as nothing."""
    passed, failed, skipped = set(), {}, {}
    for suite in suites:
        for spec in suite.get("SpecReports") or []:
            if spec["LeafNodeType"] != "It":
                if spec["State"] not in ("passed", "skipped", ""):
                    failed[f"{spec['LeafNodeType']} {name(spec)}"] = message(spec)
            elif spec["State"] == "passed":
                passed.add(name(spec))
            elif spec["State"] != "skipped":
                failed[name(spec)] = message(spec)
            elif message(spec):
                skipped[name(spec)] = message(spec)
    return passed, failed, skipped


def set_apart(outcome, missing):
    """What is missing by the list is skipped, with that reason, however critest ends it."""
    passed, failed, skipped = outcome
    absent = {spec: reason for spec, reason in missing.items() if spec in failed or spec in skipped}
    return (passed, {spec: why for spec, why in failed.items() if spec not in absent},
            {**{spec: why for spec, why in skipped.items() if spec not in absent}, **absent})


def differences(outcome, expected, allowed, partial):
    passed, failed, skipped = outcome
    for spec in sorted(failed):
        yield f"FAILED {spec}\n    {failed[spec]}"
    for spec in sorted(passed - expected - set(allowed)):
        yield f"passes, but is not in expected.txt: {spec}"
    for spec in sorted(set(skipped) - set(allowed)):
        yield f"SKIPPED without a reason in skipped.txt: {spec}\n    {skipped[spec]}"
    if not partial:
        for spec in sorted(expected - passed - set(failed) - set(skipped)):
            yield f"expected, but did not run: {spec}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report")
    parser.add_argument("--expected", required=True)
    parser.add_argument("--skipped", required=True)
    parser.add_argument("--missing")
    parser.add_argument("--partial", action="store_true", help="only some specs were selected")
    parser.add_argument("--update", action="store_true", help="write what passed into the file of expected specs")
    options = parser.parse_args()
    try:
        with open(options.report) as file:
            suites = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"report.py: critest left no report: {error}")
    missing = pairs(options.missing) if options.missing else {}
    outcome = set_apart(sort_out(suites), missing)
    passed, failed, skipped = outcome
    if options.update:
        specs = passed | (set(lines(options.expected)) if options.partial else set())
        with open(options.expected, "w") as file:
            file.write("# Specs of critest that pass. Written by run.sh --update.\n")
            file.writelines(spec + "\n" for spec in sorted(specs))
    allowed = {**pairs(options.skipped), **{spec: why for spec, why in missing.items() if spec not in passed}}
    found = list(differences(outcome, set(lines(options.expected)), allowed, options.partial))
    print("\n".join(found), end="\n" if found else "")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    for spec in sorted(set(skipped) & set(allowed)):
        print(f"    skipped: {spec} ({allowed[spec]})")
    sys.exit(1 if found or not passed else 0)


main()
