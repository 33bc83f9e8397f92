#!/usr/bin/env python3
"""Every check finds what it is there for, and leaves alone what is right: a check that cannot fail is no check."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

import figures
import history
import lint
import manifests
import tools
import tree as house
import unity
import words

# check: [(file, bad text, good text)]
SAMPLES = {
    "function-length": [("runtime/a.cc", "void F() {\n" + "  G();\n" * 60 + "}\n", "void F() {\n" + "  G();\n" * 50 + "}\n")],
    "function-p90": [("runtime/a.cc", "void F() {\n" + "  G();\n" * 40 + "}\n", "void F() {\n" + "  G();\n" * 10 + "}\n")],
    "function-parameters": [("runtime/a.cc", "int F(int a, int b, int c, int d, int e, int f) {\n  return 1;\n}\n",
                             "int F(int a, P<int, int> b, int c, int d, int e) {\n  return 1;\n}\n")],
    "nesting": [
        ("runtime/a.cc", "void F() {\n  if (a) {\n    for (int i = 0; i < 1; ++i) {\n      while (b) {\n        if (c) {\n          G();\n        }\n      }\n    }\n  }\n}\n",
         "void F() {\n  if (a) {\n    for (;;) {\n      if (b) {\n        Call([&](int x) {\n          if (x) {\n            G();\n          }\n        });\n      } else if (c) {\n        G();\n      }\n    }\n  }\n}\n"),
    ],
    "file-length": [("cri/a.cc", "\n" * 501, "\n" * 500), ("tests/a.py", "\n" * 501, "\n" * 500)],
    "names": [("cri/pod_helper.cc", "", None), ("runtime/utils/a.h", "", None), ("cri/pod-manager.md", "", None)],
    "words": [
        ("cri/a.cc", "void F() { go" "to end; }\n", "// go" "to is a word here\nconst char* kText = \"go" "to\";\n"),
        ("cri/a.cc", "void F() { thr" "ow 1; }\n", "void Throw();\n"),
        ("cri/a.cc", "using name" "space std;\n", "namespace a = b;\n"),
        ("cri/a.cc", "auto* a = ne" "w Pod();\n", "std::unique_ptr<Pod> a(ne" "w Pod(1));\nreturn absl::WrapUnique(ne" "w Pod());\n"),
        ("cri/a.cc", "void F(P* p) { dele" "te p; }\n", "P(const P&) = dele" "te;\n"),
        ("cri/a.cc", "absl::opt" "ional<int> a;\n", "std::optional<int> a;\n"),
        ("cri/a.cc", "static Pod& Get" "Instance();\n", "Pod& pod();\n"),
    ],
    "string-view": [("shim/a.h", "void F(std::string_" "view a);\n", "void F(absl::string_view a);\n")],
    "includes": [
        ("runtime/linux/a.cc", '#include "runtime/spec/spec.h"\n', '#include "runtime/base/status.h"\n'),
        ("runtime/create.cc", '#include "shim/client.h"\n', '#include "runtime/spec/spec.h"\n'),
        ("imageservice/a.cc", '#include "cri/a.h"\n', '#include "runtime/linux/mount.h"\n'),
        ("cri/a.cc", '#include "runtime/create.h"\n', '#include "runtime/spec/spec.h"\n'),
        ("cri/a.cc", '#include "shim/reaper.h"\n', '#include "shim/client.h"\n'),
        ("shim/a.cc", "#include <grpcpp/grpcpp.h>\n", '#include "runtime/create.h"\n'),
    ],
    "cloexec": [
        ("runtime/a.cc", "int a = open(path, O_RDONLY);\n", "int a = open(path, O_RDONLY | O_CLOEXEC);\n"),
        ("runtime/a.cc", "return socket(AF_UNIX,\n  SOCK_STREAM, 0);\n", "int open(const char*, int);\nstream.open(path);\n"),
        ("runtime/a.cc", "int a = fcntl(fd, F_DUPFD, 3);\n", "int a = fcntl(fd, F_DUPFD_CLOEXEC, 3);\n"),
        ("runtime/a.cc", "int a = dup(1);\n", "constexpr int kFlags = O_PATH |\n O_CLOEXEC;\nint a = open(p, kFlags);\n"),
        ("runtime/a.cc", "if (pipe(ends) != 0) return;\n", "int a = open(p, 0);  // NOLINT(gantry-cloexec): for the child\n"),
        ("runtime/a.cc", "n = recvmsg(fd, &m, 0);\n", "n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);\n"),
    ],
    "cloexec-streams": [("runtime/a.cc", 'FILE* f = fopen(path, "r");\n', 'FILE* f = fopen(path, "re");\n')],
    "todo": [("cri/a.cc", "// TO" "DO: later\n", "// TO" "DO(limit): more than one\n"), ("cri/a.sh", "# FIX" "ME\n", "# fixed\n")],
    "top-entries": [("docs/a.md", "", None), ("notes.txt", "", None)],
    "characters": [("cri/a.md", "a\u202eb\n", "a → b\n"), ("cri/a.cc", "int \u0430 = 1;\n", "int a = 1;  // α\n")],
    "places": [("cri/a.sh", "cat ../sha" "red/x\n", "cat /run/work\n"), ("cri/a.cc", 'F("/wor' 'k/main");\n', 'F("a/work/b");\n')],
    "nolint": [("cri/a.cc", "int a;  // NOLINT\n", "int a;  // NOLINT(misc-x): the kernel's name\n"), ("cri/a.cc", "int a;  // NOLINT(misc-x)\n", "")],
    "folder-readme": [("cri/a.cc", "", None)],
    "hops": [
        ("cri/README.md", "| PodStart | `cri/a.cc` → `cri/b.cc` |\n", "no table\n"),
    ],
    "manifests-parse": [("manifests/a.json", "{", "{}"), ("manifests/a.yaml", "a: [", "a: 1")],
    "manifests-sockets": [("manifests/crictl.yaml", "a: unix:///run/other.sock\n", "a: unix:///run/gantry/gantry.sock\n")],
    "manifests-shapes": [("manifests/kubelet.yaml", "kind: KubeletConfiguration\n", None)],
    "manifests-unit": [("manifests/gantry.service", "[Service]\nType=simple\n", None)],
    "clang-format": [("cri/a.cc", "int   a;\n", "int a;\n")],
    "scripts": [("tests/a.sh", "if then\n", "true\n"), ("tests/a.py", "def\n", "a = 1\n")],
}


class Folder:
    """A git work tree with the files given."""

    def __init__(self, files):
        self.temporary = tempfile.TemporaryDirectory()
        self.root = self.temporary.name
        subprocess.run(["git", "init", "-q", self.root], check=True)
        for name, text in files.items():
            path = os.path.join(self.root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
        self.tree = house.Tree(self.root)

    def commit(self, subject):
        subprocess.run(["git", "-C", self.root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", subject],
                       check=True)


def findings(check, files):
    folder = Folder(files)
    try:
        if check == "clang-format":
            with open(os.path.join(folder.root, ".clang-format"), "w") as file:
                file.write("BasedOnStyle: Google\n")
        return list(lint.CHECKS[check](folder.tree))
    finally:
        folder.temporary.cleanup()


class Checks(unittest.TestCase):
    def test_each_sample(self):
        for check, samples in SAMPLES.items():
            for name, bad, good in samples:
                with self.subTest(check=check, bad=bad[:60]):
                    try:
                        self.assertTrue(findings(check, {name: bad}), "does not find what is wrong")
                        if good is not None:
                            self.assertEqual(findings(check, {name: good}), [], "finds what is right")
                    except tools.Skip:
                        pass

    def test_every_check_has_a_sample_or_a_test_here(self):
        self.assertEqual(set(lint.CHECKS) - set(SAMPLES), {"commits", "clang-tidy", "unity"})

    def test_commits(self):
        for subject in ("runtime: apply masked paths after pivot_root", "tests/lint: check subjects", "cri/store, shim: keep times"):
            self.assertEqual(history.commit_error(subject), "", subject)
        for subject in ("Add things", "runtime: added x", "runtime: fix", "cri: " + "x" * 80, "cri: keep the order.", "cri: Keep"):
            self.assertNotEqual(history.commit_error(subject), "", subject)
        folder = Folder({})
        self.addCleanup(folder.temporary.cleanup)
        folder.commit("no form")
        self.assertTrue(list(history.commits(folder.tree)))

    def test_clang_tidy_sees_a_changed_file(self):
        folder = Folder({"cri/a.cc": "int* F() { return 0; }\n", ".clang-tidy": "Checks: '-*,modernize-use-nullptr'\n"})
        self.addCleanup(folder.temporary.cleanup)
        folder.commit("cri: begin")
        build = os.path.join(folder.root, "build")
        os.makedirs(build)
        path = os.path.join(folder.root, "cri/a.cc")
        with open(os.path.join(build, "compile_commands.json"), "w") as file:
            file.write('[{"directory": "%s", "file": "%s", "command": "c++ -include x/cmake_pch.hxx -c %s"}]' % (build, path, path))
        try:
            found = list(tools.clang_tidy(folder.tree, build, folder.tree.changed))
        except tools.Skip:
            return
        self.assertTrue(any("nullptr" in line for line in found), found)

    def test_unity_sees_a_name_that_two_files_have(self):
        same = "namespace {\nint x = %d;\n}\nint %s() { return x; }\n"
        folder = Folder({"cri/a.cc": same % (1, "A"), "cri/b.cc": same % (2, "B"), "cri/CMakeLists.txt": "gantry_unity(t)\n"})
        self.addCleanup(folder.temporary.cleanup)
        build = os.path.join(folder.root, "build/dev")
        os.makedirs(build)
        with open(os.path.join(build, "compile_commands.json"), "w") as file:
            json.dump([{"directory": folder.root, "file": os.path.join(folder.root, name),
                        "command": f"c++ -o x/t.dir/{name}.o -c {folder.root}/{name}"} for name in ("cri/a.cc", "cri/b.cc")], file)
        found = list(unity.unity(folder.tree))
        self.assertTrue(any("redefinition" in line for line in found), found)

    def test_a_waiver_needs_its_reason(self):
        self.assertTrue(findings("cloexec", {"runtime/a.cc": "int a = open(p, 0);  // NOLINT(gantry-cloexec)\n"}))

    def test_parameters_are_counted_at_the_outermost_level(self):
        self.assertEqual(figures.parameters("(void)"), 0)
        self.assertEqual(figures.parameters("(std::map<int, int> a, void (*f)(int, int)) const"), 2)

    def test_rooms(self):
        self.assertEqual(words.room("runtime/spec/json.h"), "runtime/spec")
        self.assertEqual(words.room("runtime/create.h"), "runtime")


if __name__ == "__main__":
    unittest.main()
