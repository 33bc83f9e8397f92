"""clang-format, clang-tidy and the syntax of scripts."""
import concurrent.futures
import json
import os
import re
import subprocess
import tempfile

# The format and the checks are those of this release: others print other results.
CLANG = 14


class Skip(Exception):
    """The check cannot run here; its text is the reason."""


def major(program):
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"version (\d+)", text)
    return int(found.group(1)) if found else None


def tool(name):
    for program in (name, f"{name}-{CLANG}"):
        if major(program) == CLANG:
            return program
    raise Skip(f"no {name} {CLANG}")


def clang_format(tree):
    if not tree.cpp:
        return
    done = subprocess.run([tool("clang-format"), "--dry-run", "-Werror", "--ferror-limit=1", *tree.cpp], cwd=tree.root,
                          capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if "error:" in line:
            yield line


def without_precompiled(command):
    """The compiler's precompiled header is of no use to another compiler."""
    command = re.sub(r"-include \S*cmake_pch\.hxx\b", "", command)
    return command.replace("-Winvalid-pch", "")


def database(build, folder):
    """Writes a compile_commands.json that clang reads; returns the files in it."""
    try:
        with open(os.path.join(build, "compile_commands.json")) as file:
            entries = json.load(file)
    except OSError:
        raise Skip(f"no compile_commands.json in {build}: build first") from None
    for entry in entries:
        entry["command"] = without_precompiled(entry["command"])
    with open(os.path.join(folder, "compile_commands.json"), "w") as file:
        json.dump(entries, file)
    return {os.path.realpath(entry["file"]) for entry in entries}


def clang_tidy(tree, build, files):
    program = tool("clang-tidy")
    with tempfile.TemporaryDirectory() as folder:
        known = database(build, folder)
        paths = [os.path.join(tree.root, name) for name in files if name.endswith(".cc")]
        paths = [path for path in paths if os.path.realpath(path) in known]

        def look(path):
            # The analyzer walks every path of every assertion: a minute for a test, and nothing found. And a test is to
            # be read easily, not to save an allocation.
            less = ["--checks=-clang-analyzer-*,-performance-inefficient-*"] if path.endswith("_test.cc") else []
            done = subprocess.run([program, "--quiet", "-p", folder, *less, path], cwd=tree.root, capture_output=True, text=True)
            found = [line for line in done.stdout.splitlines() if re.search(r": (?:warning|error): ", line)]
            if done.returncode != 0 and not found:
                found = [f"{path}: clang-tidy ended with {done.returncode}: {done.stderr.strip()[-200:]}"]
            return found

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            findings = {line for lines in pool.map(look, paths) for line in lines}
    yield from sorted(line.replace(tree.root + "/", "") for line in findings)


def scripts(tree):
    """Shell scripts parse, Python compiles, and what has a first line with #! may be executed."""
    for name in tree.files:
        text, path = tree.text(name), os.path.join(tree.root, name)
        first = text.split("\n", 1)[0]
        if first.startswith("#!") and not os.access(path, os.X_OK):
            yield f"{name}: has {first} and is not executable"
        if re.match(r"#!.*\b(?:ba)?sh\b", first) or name.endswith(".sh"):
            shell = "sh" if re.match(r"#!\s*/bin/sh\b", first) else "bash"
            done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
            if done.returncode != 0:
                yield f"{name}: {done.stderr.strip()}"
        if name.endswith(".py") or re.match(r"#!.*\bpython3?\b", first):
            try:
                compile(text, name, "exec")
            except SyntaxError as error:
                yield f"{name}:{error.lineno}: {error.msg}"


CHECKS = {"clang-format": clang_format, "scripts": scripts}
