"""A container's log: every byte once, in CRI's format, whatever happens to the file."""

import re

from case import pids_of, wait_until
from test_api import ApiTest
from test_exec_sync import memory_of

LINE = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z (stdout|stderr) [PF] ")
PIECE = 16384


class Logs(ApiTest):
    def pieces(self, path):
        """(tag, text) of each line, as they stand in the file."""
        lines = path.read_bytes().split(b"\n")
        self.assertEqual(b"", lines.pop(), "the file ends with a line feed")
        for line in lines:
            self.assertRegex(line[:60], LINE)
        return [tuple(line.split(b" ", 3)[2:]) for line in lines]

    def test_row_52_lines_around_the_limit_are_cut_where_the_kubelet_expects(self):
        pod = self.run_pod()
        for size in (PIECE - 1, PIECE, PIECE + 1):
            name = f"n{size}"
            self.run_to_end(pod, name, "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x; echo; echo end")
            pieces = self.pieces(pod.log(name))
            self.assertEqual((b"F", b"end"), pieces.pop())
            self.assertEqual(b"x" * size, b"".join(text for _, text in pieces))
            self.assertEqual([b"P"] * (len(pieces) - 1) + [b"F"], [tag for tag, _ in pieces])
            self.assertLessEqual(max(len(text) for _, text in pieces), PIECE)

    def test_row_52_what_has_no_line_feed_and_what_is_no_text_is_kept(self):
        pod = self.run_pod()
        self.run_to_end(pod, "open", "printf", "no end")
        self.assertEqual([(b"P", b"no end")], self.pieces(pod.log("open")))
        self.run_to_end(pod, "binary", "printf", "\\000\\377\\r\\n\\033[1m\\n")
        self.assertEqual([(b"F", b"\x00\xff\r"), (b"F", b"\x1b[1m")], self.pieces(pod.log("binary")))

    def test_row_53_rotation_under_a_flood_loses_and_splits_nothing(self):
        pod = self.run_pod()
        count = 1500000
        container = self.launch(pod, "one", "sh", "-c", f"seq 1 {count}; echo over; sleep 1000")
        rotated = []
        def ended():
            files = [pod.log("one"), *(path for path, _ in rotated[-1:])]
            return any(path.exists() and path.read_bytes().endswith(b"over\n") for path in files)
        wait_until(lambda: pod.log("one").exists(), "a log")
        while not ended():
            old = pod.log("one").with_suffix(f".{len(rotated)}")
            pod.log("one").rename(old)
            self.assertEqual("OK", self.call("ReopenContainerLog", {"container_id": container}).code)
            rotated.append((old, old.stat().st_size))
        self.assertGreater(len(rotated), 2)
        texts = [text for path, _ in rotated for _, text in self.pieces(path)]
        texts += [text for _, text in self.pieces(pod.log("one"))]
        self.assertEqual([str(number).encode() for number in range(1, count + 1)] + [b"over"], texts)
        for path, size in rotated:
            self.assertEqual(size, path.stat().st_size, f"{path} has grown after the rotation")

    def test_row_53_a_reopening_during_the_stop_is_answered_and_the_last_words_are_kept(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "trap 'sleep 1; echo bye; exit 0' TERM; echo ready;"
                                " while :; do sleep 0.1; done")
        self.wait_output(pod, "one", "ready")
        stop = self.call.begin("StopContainer", {"container_id": container, "timeout": 20})
        old = pod.log("one").with_suffix(".old")
        pod.log("one").rename(old)
        self.assertEqual("OK", self.call("ReopenContainerLog", {"container_id": container}).code)
        self.assertEqual("OK", stop.reply().code)
        self.assertEqual(([(b"F", b"ready")], [(b"F", b"bye")]), (self.pieces(old), self.pieces(pod.log("one"))))
        refused = self.call("ReopenContainerLog", {"container_id": container})
        self.assertEqual("FAILED_PRECONDITION", refused.code, refused.text)

    def test_row_55_a_flood_of_one_container_hurts_no_other_and_costs_no_memory(self):
        flood = self.run_pod("flood")
        container = self.launch(flood, "flood", "sh", "-c", "exec yes 0123456789012345678901234567890123456789")
        wait_until(lambda: flood.log("flood").exists() and flood.log("flood").stat().st_size > 20_000_000, "a flood")
        helpers = pids_of(f"gantry:shim {flood.id}") + [self.daemon.pid]
        before = [memory_of(pid) for pid in helpers]
        pod = self.run_pod("other")
        other = self.launch(pod, "other", "sh", "-c", "echo here; sleep 1000")
        self.wait_output(pod, "other", "here")
        self.assertEqual("fine", self.execute(other, "echo", "fine"))
        size = flood.log("flood").stat().st_size
        wait_until(lambda: flood.log("flood").stat().st_size > size + 20_000_000, "the flood goes on")
        for pid, was in zip(helpers, before):
            self.assertLess(memory_of(pid) - was, 8 << 20, f"of process {pid}")
        self.crictl("stop", "--timeout", "0", container)

    def test_crictl_follows_a_log_to_the_container_s_end(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done")
        self.assertEqual("line 1\nline 2\nline 3", self.crictl("logs", "-f", container))
        self.assertEqual("line 3", self.crictl("logs", "--tail", "1", container))
