"""What release builds compile several files at a time (gantry_unity in CMakeLists.txt) must have no name twice."""
import json
import os
import re
import subprocess
import tempfile

import tools


def targets(tree):
    """Each target with gantry_unity."""
    for name in tree.files:
        if os.path.basename(name) == "CMakeLists.txt":
            for target in re.findall(r"^gantry_unity\((\w+)\)", tree.text(name), re.M):
                yield target


def commands(tree):
    build = os.path.join(tree.root, os.environ.get("LINT_BUILD", "build/dev"))
    try:
        with open(os.path.join(build, "compile_commands.json")) as file:
            return json.load(file)
    except OSError:
        raise tools.Skip(f"no compile_commands.json in {build}: build first") from None


def parse(sources, entry):
    """The errors of the compiler about these files as one, by the command of the first of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".cc") as unit:
        unit.write("".join(f'#include "{source}"\n' for source in sources))
        unit.flush()
        command = re.sub(r" -o \S+| -MD| -MT \S+| -MF \S+| -W\S+", "", entry["command"])
        command = command.replace(f"-c {entry['file']}", f"-fsyntax-only {unit.name}")
        done = subprocess.run(command, shell=True, cwd=entry["directory"], capture_output=True, text=True,
                              env={**os.environ, "CCACHE_DISABLE": "1"})
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    return errors or ([done.stderr[-200:]] if done.returncode else [])


def unity(tree):
    """Files that may be compiled together compile together: all of a target at once, since who meets whom may change."""
    entries = [entry for entry in commands(tree) if not os.path.basename(entry["file"]).startswith("cmake_pch")]
    for target in targets(tree):
        own = [entry for entry in entries if f"/{target}.dir/" in entry["command"]]
        if not own:
            yield f"{target}: has gantry_unity, but compiles nothing"
            continue
        for error in parse([entry["file"] for entry in own], own[0]):
            yield error.replace(tree.root + "/", "")


CHECKS = {"unity": unity}
