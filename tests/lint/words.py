"""Names and words that the house does without, and what may stand where."""
import os
import re

EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "impl"}
TOP = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "CONTRIBUTING.md", "SECURITY.md",
       "cri", "imageservice", "manifests", "runtime", "shim", "tests"}

# Which rooms a room may include; a path's room is the longest that is listed.
ROOMS = {
    "runtime/base": set(),
    "runtime/linux": {"runtime/base"},
    "runtime/seccomp": {"runtime/linux", "runtime/base"},
    "runtime/spec": {"runtime/linux", "runtime/base"},
    "runtime/cdi": {"runtime/spec", "runtime/linux", "runtime/base"},
    "runtime/gpu": {"runtime/spec", "runtime/cdi", "runtime/linux", "runtime/base"},
    "runtime": {"runtime/base", "runtime/linux", "runtime/seccomp", "runtime/spec", "runtime/cdi", "runtime/gpu"},
    "imageservice": {"runtime/seccomp", "runtime/linux", "runtime/base"},
    "shim": {"runtime", "runtime/spec", "runtime/cdi", "runtime/gpu", "runtime/seccomp", "runtime/linux", "runtime/base"},
    "cri": {"shim", "imageservice", "runtime/spec", "runtime/cdi", "runtime/gpu", "runtime/seccomp", "runtime/linux",
            "runtime/base"},
}
# What gantryd may see of the shim: its own side of the wire.
SHIM_FOR_CRI = re.compile(r"shim/(client|launch|journal|shim\.pb)\.h$")

# Single headers that lie in a room which is closed otherwise: limits are written by who places the process, and
# layers are mapped where they are mounted.
OPEN_HEADERS = {("cri", "runtime/cgroup_limits.h"), ("cri", "runtime/id_maps.h")}

# Calls that make a descriptor, and what their arguments must hold.
BORN_OPEN = re.compile(
    r"(?<![\w.>:])(?:::)?(open|openat|open64|socket|socketpair|accept4|pipe2|epoll_create1|memfd_create|inotify_init1|eventfd|"
    r"signalfd|timerfd_create|fsopen|fsmount|open_tree|fspick|fanotify_init|dup3|recvmsg|userfaultfd)\(")
NEVER = re.compile(r"(?<![\w.>:])(?:::)?(dup|pipe|accept|epoll_create|inotify_init|creat)\(|\bF_DUPFD\b(?!_)")


def names(tree):
    for name in tree.files:
        words = set(re.split(r"[_.\-/]", name.lower()))
        for word in sorted(EMPTY_NAMES & words):
            yield f"{name}: \"{word}\" says nothing"


def words(tree):
    patterns = (
        r"\bgoto\b", r"\bthrow\b", r"\busing\s+namespace\b", r"(?<!operator )\bdelete\b(?!\s*;)",
        r"\babsl::(?:optional|variant|any)\b", r"\bstatic\s+[\w:]+\s*[&*]\s*(?:Get)?Instance\s*\(")
    for pattern in patterns:
        yield from tree.matches(tree.cpp, pattern, "gantry-words")
    yield from naked_new(tree)


def naked_new(tree):
    """What `new` makes is owned at once: a private constructor, in a unique_ptr's own parentheses."""
    for name in tree.cpp:
        code = tree.code(name)
        for match in re.finditer(r"(?<!operator )\bnew\s+[\w:(]", code):
            line = code.count("\n", 0, match.start()) + 1
            owned = re.search(r"(?:unique_ptr<[^;{}]*>(?:\s*\w+)?|WrapUnique)\s*[({]\s*$", code[max(0, match.start() - 200):match.start()])
            if not owned and not tree.waived(name, line, "gantry-words"):
                yield f"{name}:{line}: naked new"


def string_view(tree):
    headers = [name for name in tree.product if name.endswith(".h")]
    yield from tree.matches(headers, r"\bstd::string_view\b", "gantry-string-view")


def room(path):
    parts = path.split("/")
    two = "/".join(parts[:2])
    return two if len(parts) > 2 and two in ROOMS else parts[0]


def include_error(name, target):
    here, there = room(name), room(target)
    if here == there or there not in ROOMS or (here, target) in OPEN_HEADERS:
        return ""
    if there not in ROOMS[here]:
        return f"{here} may not include {there}"
    if here == "cri" and there == "shim" and not SHIM_FOR_CRI.match(target):
        return "cri sees the shim through shim/client.h alone"
    return ""


def includes(tree):
    for name in (name for name in tree.cpp if room(name) in ROOMS):
        for match in re.finditer(r'^\s*#\s*include\s*["<]([^">]+)[">]', tree.text(name), re.M):
            target = match.group(1)
            line = tree.text(name).count("\n", 0, match.start()) + 1
            reason = include_error(name, target)
            if re.match(r"grpc(pp)?/", target) and room(name) != "cri":
                reason = "gRPC belongs to cri/ alone"
            if reason:
                yield f"{name}:{line}: {target}: {reason}"


def arguments(code, start):
    """The text from an opening parenthesis to its partner."""
    depth = 0
    for at in range(start, min(len(code), start + 2000)):
        depth += (code[at] == "(") - (code[at] == ")")
        if depth == 0:
            return code[start:at + 1]
    return code[start:]


def is_declaration(code, at):
    """`int open(…)` declares; `return open(…)`, `= open(…)`, `(open(…)` call."""
    before = re.search(r"([\w*&>]+)\s+$", code[max(0, at - 40):at])
    return bool(before) and before.group(1) not in ("return", "else", "do", "case", "co_return")


def close_on_exec_names(tree):
    """Constants and variables that are given a value with a CLOEXEC flag, in any file."""
    found = set()
    for name in tree.cpp:
        found.update(re.findall(r"\b(\w+)\s*=[^;]*CLOEXEC", tree.code(name)))
    return found


def cloexec(tree):
    flags = close_on_exec_names(tree)
    for name in tree.cpp:
        code = tree.code(name)
        for match in BORN_OPEN.finditer(code):
            given = arguments(code, match.end() - 1)
            if "CLOEXEC" in given or flags & set(re.findall(r"\w+", given)) or is_declaration(code, match.start()):
                continue
            if not any_line_waived(tree, name, match.start(), given):
                yield f"{name}:{line_of(code, match.start())}: {match.group(1)}() without close-on-exec"
        for match in NEVER.finditer(code):
            if not is_declaration(code, match.start()) and not any_line_waived(tree, name, match.start(), match.group(0)):
                yield f"{name}:{line_of(code, match.start())}: {match.group(0).rstrip('(')} cannot be close-on-exec from birth"


def line_of(code, at):
    return code.count("\n", 0, at) + 1


def any_line_waived(tree, name, at, text):
    first = line_of(tree.code(name), at)
    return any(tree.waived(name, line, "(?:gantry|android)-cloexec[a-z0-9-]*") for line in range(first, first + text.count("\n") + 1))


def fopen(tree):
    text = tree.text
    yield from tree.matches(tree.cpp, r'\bfopen\([^;]*,\s*"[^"e]*"\)', "gantry-cloexec", text)


def todo(tree):
    kind = "TO" "DO"
    for name in tree.files:
        for number, line in enumerate(tree.text(name).split("\n"), 1):
            if re.search(rf"\b{kind}\b(?!\([a-z][a-z-]*\): \S)|\bFIX" r"ME\b|\bX" r"XX\b(?!X)", line):
                yield f"{name}:{number}: {line.strip()[:80]}"


def top_entries(tree):
    for entry in sorted({name.split("/")[0] for name in tree.files}):
        if entry not in TOP and not entry.startswith("."):
            yield f"{entry}: not one of the top-level entries"


def characters(tree):
    """Direction marks and zero-width characters nowhere; C++ and scripts outside of comments and texts are ASCII."""
    hidden = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
    for name in tree.files:
        for number, line in enumerate(tree.text(name).split("\n"), 1):
            if hidden.search(line):
                yield f"{name}:{number}: a hidden character"
    yield from tree.matches(tree.cpp, r"[^\x00-\x7f]+", "gantry-characters")


def places(tree):
    """Nothing in the repository names a place of the machine where it was written."""
    pattern = r"\.\./" r"shared\b|(?<![\w/.$}])/wor" r"k/\w+"
    yield from tree.matches(tree.files, pattern, "gantry-places", tree.text)


def nolint(tree):
    for name in tree.cpp:
        for number, line in enumerate(tree.text(name).split("\n"), 1):
            if re.search(r"NOLINT(?!(?:NEXTLINE|BEGIN)?\([\w.,\- *]+\): \S)(?!END)", line):
                yield f"{name}:{number}: NOLINT without a check or a reason"


def folders(tree):
    """A README in each top folder, and in each folder of tests/."""
    for top in sorted({name.split("/")[0] for name in tree.files if "/" in name and not name.startswith(".")}):
        if not os.path.exists(os.path.join(tree.root, top, "README.md")):
            yield f"{top}/README.md is missing"


CHECKS = {
    "names": names,
    "words": words,
    "string-view": string_view,
    "includes": includes,
    "cloexec": cloexec,
    "cloexec-streams": fopen,
    "todo": todo,
    "top-entries": top_entries,
    "characters": characters,
    "places": places,
    "nolint": nolint,
    "folder-readme": folders,
}
