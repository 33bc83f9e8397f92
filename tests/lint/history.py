"""Commit subjects, and the table of the way of each call."""
import os
import re
import subprocess

SUBJECT = re.compile(r"^[a-z0-9_.][\w./-]*(, [\w./-]+)*: [a-z0-9`\"'].*[^.]$")
NOT_IMPERATIVE = re.compile(r": (?:adds|added|adding|fixes|fixed|fixing|changes|changed|updates|updated|updating|makes|made|removes|removed|uses|used)\b")
EMPTY_SUBJECT = re.compile(r": (?:fix|fixes|refactor|misc|cleanup|wip|update)$")
LONGEST = 72

# From a call to its system call; two are allowed one more file.
MOST_FILES = 6
LONG_WAY = {"CreateContainer", "PullImage"}


def commit_error(subject):
    if len(subject) > LONGEST:
        return f"{len(subject)} characters, more than {LONGEST}"
    if not SUBJECT.match(subject):
        return "not of the form \"folder: imperative\" without a full stop"
    if NOT_IMPERATIVE.search(subject):
        return "not imperative"
    if EMPTY_SUBJECT.search(subject):
        return "says nothing"
    return ""


def commits(tree):
    """Of this work's commits: what came before can no longer be changed."""
    log = tree.git("log", "--no-merges", "--format=%h %s", f"{tree.base}..HEAD" if tree.base else "HEAD")
    for line in log.splitlines():
        commit, _, subject = line.partition(" ")
        reason = commit_error(subject)
        if reason:
            yield f"{commit} \"{subject}\": {reason}"


def hops(tree):
    """Each row of the table in cri/README.md names files that exist, and not too many."""
    path = os.path.join(tree.root, "cri/README.md")
    if not os.path.exists(path):
        return
    for line in tree.text("cri/README.md").split("\n"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        files = set(re.findall(r"`([\w./-]+\.cc)`", line))
        if not line.startswith("|") or len(files) < 2:
            continue
        for name in sorted(files):
            if not os.path.exists(os.path.join(tree.root, name)):
                yield f"cri/README.md: {cells[0]}: there is no {name}"
        allowed = MOST_FILES + (cells[0] in LONG_WAY)
        if len(files) > allowed:
            yield f"cri/README.md: {cells[0]}: {len(files)} files, more than {allowed}"


CHECKS = {"commits": commits, "hops": hops}
