#!/usr/bin/env python3
"""Checks the house rules. Usage: lint.py [--root DIR] [--outcomes FILE] [CHECK…]

Each check is one test; without names all run. LINT_ALL=1 shows clang-tidy all files, not only the changed ones;
LINT_BUILD is the build folder with compile_commands.json (default build/dev). FILE receives a line
"outcome<TAB>lint<TAB>check<TAB>reason" for each check. Exit status 0 clean, 1 findings, 2 a wrong call.
A line that is right all the same says so: NOLINT(check): reason.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True

import figures
import history
import manifests
import tools
import tree as house
import unity
import words

SHOWN = 40


def tidy(tree):
    build = os.path.join(tree.root, os.environ.get("LINT_BUILD", "build/dev"))
    return tools.clang_tidy(tree, build, tree.files if os.environ.get("LINT_ALL") else tree.changed)


CHECKS = {**figures.CHECKS, **words.CHECKS, **history.CHECKS, **manifests.CHECKS, **tools.CHECKS, **unity.CHECKS, "clang-tidy": tidy}


def run(name, tree):
    """Returns outcome, reason and findings."""
    try:
        findings = list(CHECKS[name](tree))
    except tools.Skip as skip:
        return "failed" if os.environ.get("CI") == "true" else "skipped", str(skip), []
    except FileNotFoundError as missing:
        return "failed", f"cannot run: {missing}", []
    reason = f"{findings[0]}" + (f" (and {len(findings) - 1} more)" if len(findings) > 1 else "") if findings else ""
    return "failed" if findings else "passed", reason, findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    parser.add_argument("--outcomes", default=os.devnull)
    parser.add_argument("checks", nargs="*", metavar="CHECK")
    options = parser.parse_args()
    unknown = [name for name in options.checks if name not in CHECKS]
    if unknown:
        parser.error(f"no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    tree = house.Tree(options.root)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with open(options.outcomes, "w") as outcomes:
        for name in options.checks or CHECKS:
            outcome, reason, findings = run(name, tree)
            counts[outcome] += 1
            print(f"{outcome:8}{name}" + (f": {reason}" if reason and not findings else ""), flush=True)
            for finding in findings[:SHOWN]:
                print(f"    {finding}")
            if len(findings) > SHOWN:
                print(f"    … and {len(findings) - SHOWN} more")
            print("\t".join((outcome, "lint", name, " ".join(reason.split())[:300])), file=outcomes)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
