"""ExecSync under load: much output, many at once."""

import os
import pathlib

from case import wait_until, pids_of
from leak_oracle import processes
from test_api import ApiTest

LARGEST_ANSWER = 16 << 20  # what clients accept in one message


def memory_of(pid):
    """Resident bytes."""
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


class ExecSync(ApiTest):
    def setUp(self):
        super().setUp()
        self.container = self.launch(self.run_pod(), "one", "sleep", "1000")

    def exec(self, *command, timeout=60):
        return self.call("ExecSync", {"container_id": self.container, "cmd": list(command), "timeout": timeout})

    def test_row_46_output_over_the_limit_is_dropped_and_the_rest_is_given(self):
        reply = self.exec("sh", "-c", "yes 0123456789abcde | head -c 50000000; echo end >&2")
        self.assertEqual("OK", reply.code, reply.text)
        # Base64 in the JSON: four characters are three bytes.
        size = len(reply.message["stdout"]) * 3 // 4
        self.assertLess(size, LARGEST_ANSWER)
        self.assertGreater(size, 8 << 20)
        self.assertEqual("ZW5kCg==", reply.message["stderr"])
        self.assertEqual(0, reply.message["exit_code"])

    def test_row_46_endless_output_ends_with_its_time_and_costs_no_memory(self):
        self.exec("true")
        before = memory_of(self.daemon.pid)
        reply = self.exec("yes", timeout=3)
        self.assertEqual("DEADLINE_EXCEEDED", reply.code, reply.text)
        self.assertLess(memory_of(self.daemon.pid) - before, 3 * LARGEST_ANSWER)
        wait_until(lambda: pids_of("yes") == [], "yes has ended")

    def test_row_46_endless_output_ends_with_the_container(self):
        endless = self.call.begin("ExecSync", {"container_id": self.container, "cmd": ["yes"]})
        wait_until(lambda: pids_of("yes"), "yes runs")
        self.crictl("stop", "--timeout", "0", self.container)
        reply = endless.reply()
        self.assertEqual(("OK", 137), (reply.code, reply.message["exit_code"]))

    def test_row_51_a_storm_of_execs_is_answered_and_leaves_no_zombies(self):
        pod = self.run_pod("storm")
        containers = [self.launch(pod, f"c{i}", "sleep", "1000") for i in range(10)]
        for _ in range(6):
            storm = [self.call.begin("ExecSync", {"container_id": container, "cmd": ["sh", "-c", f"echo {i}; exit {i}"]})
                     for container in containers for i in range(5)]
            for index, call in enumerate(storm):
                reply = call.reply()
                self.assertEqual(("OK", index % 5), (reply.code, reply.message["exit_code"]), reply.text)
        wait_until(lambda: not [text for text in processes().values() if " Z: " in text], "no zombies are left")

    def pipes_read_by_the_daemon(self):
        """Inode and flags of each."""
        process, found = pathlib.Path(f"/proc/{self.daemon.pid}"), {}
        for link in (process / "fd").iterdir():
            try:
                target = os.readlink(link)
                flags = int((process / "fdinfo" / link.name).read_text().split("flags:")[1].split()[0], 8)
            except FileNotFoundError:
                continue
            if target.startswith("pipe:") and flags & os.O_ACCMODE == os.O_RDONLY:
                found[target] = flags
        return found

    def test_reading_its_output_never_blocks(self):
        # Who has the other end can open this one too (/proc/self/fd), and take what was there to be read.
        before = self.pipes_read_by_the_daemon()
        call = self.call.begin("ExecSync", {"container_id": self.container, "cmd": ["sleep", "4328"], "timeout": 3})
        wait_until(lambda: pids_of("sleep 4328"), "it runs")
        mine = {pipe: flags for pipe, flags in self.pipes_read_by_the_daemon().items() if pipe not in before}
        self.assertEqual(2, len(mine))
        self.assertTrue(all(flags & os.O_NONBLOCK for flags in mine.values()), mine)
        self.assertEqual("DEADLINE_EXCEEDED", call.reply().code)
