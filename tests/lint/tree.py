"""The files that the checks look at: what git tracks or would track, with C++ stripped to code."""
import functools
import os
import re
import subprocess

CPP = (".h", ".cc")
PRODUCT = ("runtime/", "shim/", "imageservice/", "cri/")

# Comments, raw strings, strings and character literals, in the order in which a scanner meets them.
LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)


def blank(match):
    """Keeps line numbers and the quotes; the content goes."""
    text = match.group(0)
    if text.startswith("/"):
        return re.sub(r"[^\n]", " ", text)
    return '"' + re.sub(r"[^\n]", " ", text[1:-1]) + '"' if len(text) > 1 else text


class Tree:
    def __init__(self, root):
        self.root = os.path.abspath(root)

    def git(self, *arguments):
        return subprocess.run(["git", "-C", self.root, *arguments], capture_output=True, text=True, check=True).stdout

    @functools.cached_property
    def files(self):
        listed = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        return sorted({name for name in listed if name and os.path.isfile(os.path.join(self.root, name))})

    @functools.cached_property
    def cpp(self):
        return [name for name in self.files if name.endswith(CPP)]

    @functools.cached_property
    def product(self):
        return [name for name in self.cpp if name.startswith(PRODUCT) and not name.endswith("_test.cc")]

    @functools.cache
    def text(self, name):
        with open(os.path.join(self.root, name), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    @functools.cache
    def code(self, name):
        """The text without comments and without what stands in quotes; same lines."""
        return LITERAL.sub(blank, self.text(name))

    @functools.cached_property
    def base(self):
        """The commit where this work began: the fork point from origin, else the commit before the last; may be None."""
        head = self.git("rev-parse", "HEAD").strip()
        for upstream in ("origin/HEAD", "origin/main", "HEAD~1"):
            found = subprocess.run(["git", "-C", self.root, "merge-base", upstream, "HEAD"], capture_output=True, text=True)
            if found.returncode == 0 and found.stdout.strip() != head:
                return found.stdout.strip()
        return None

    @functools.cached_property
    def changed(self):
        if self.base is None:
            return list(self.files)
        names = self.git("diff", "--name-only", "-z", self.base).split("\0")
        names += self.git("ls-files", "-z", "--others", "--exclude-standard").split("\0")
        return sorted(set(names) & set(self.files))

    def waived(self, name, line, check):
        """A line may be excused by NOLINT(check): reason, on it or, as NOLINTNEXTLINE, before it."""
        lines = self.text(name).split("\n")
        here = lines[line - 1] if line <= len(lines) else ""
        above = lines[line - 2] if line >= 2 else ""
        return bool(re.search(rf"NOLINT\({check}\): \S", here) or re.search(rf"NOLINTNEXTLINE\({check}\): \S", above))

    def matches(self, names, pattern, check, source=None):
        """Yields "file:line: text" of each match of a pattern in the code of files, excused ones left out."""
        for name in names:
            text = (source or self.code)(name)
            for match in re.finditer(pattern, text, re.M):
                line = text.count("\n", 0, match.start()) + 1
                if not self.waived(name, line, check):
                    yield f"{name}:{line}: {match.group(0).strip()}"
