"""The verbs of kubectl that reach into a container: logs, exec, attach, cp, port-forward."""

import os

from cluster_case import NODE, SLEEP, ClusterCase, container, is_ready, of, pids_of, wait_until
from kubectl import TRANSPORTS

MIB = 1 << 20


class ClusterCommands(ClusterCase):
    def test_a_pod_is_run_shown_and_deleted(self):
        self.kubectl("run", "shown", "--image=docker.io/library/base:1", "--labels=app=shown",
                     f'--overrides={{"spec":{{"nodeName":"{NODE}"}}}}', "--command", "--", *SLEEP)
        self.kubectl("wait", "--for=condition=Ready", "pod/shown", "--timeout=60s")
        line = self.kubectl("get", "pods", "-o", "wide", "--no-headers").split()
        self.assertEqual(["shown", "1/1", "Running", "0"], line[:4])
        self.assertRegex(" ".join(line), r" 10\.83\.0\.\d+ node ")
        described = self.kubectl("describe", "pod", "shown")
        for words in (r"Container ID: +gantry://[0-9a-f]{64}\n", r"Image ID: +\S*sha256:", r"Ready +True", r"Started .*kubelet"):
            self.assertRegex(described, words)
        self.kubectl("delete", "pod", "shown", "--grace-period=5")
        self.assertNotIn("shown", self.kubectl("get", "pods"))

    def test_logs_are_read_followed_and_cut(self):
        loop = "i=0; while :; do echo out $i; echo err $i >&2; i=$((i + 1)); sleep 0.2; done"
        self.run_ready("talking", container("one", "sh", "-c", loop), container("two", *SLEEP))
        wait_until(lambda: "out 5\n" in self.kubectl("logs", "talking", "-c", "one"), "lines of the log")
        self.assertTrue(self.kubectl("logs", "talking", "-c", "one").startswith("out 0\nerr 0\n"))
        self.assertEqual(2, len(self.kubectl("logs", "talking", "-c", "one", "--tail=2").splitlines()))
        self.assertRegex(self.kubectl("logs", "talking", "-c", "one", "--timestamps", "--tail=1"),
                         r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z (out|err) \d+\n$")
        self.assertEqual("", self.kubectl("logs", "talking", "-c", "two"))
        self.assertIn("[one] out 0\n", self.kubectl("logs", "talking", "--all-containers", "--prefix").replace(
            "pod/talking/one", "one"))
        follower = self.kubectl.start("logs", "-f", "talking", "-c", "one")
        self.addCleanup(follower.stdout.close)
        seen = [follower.stdout.readline() for _ in range(40)]
        self.assertEqual([f"out {n}\n" for n in range(20)], seen[::2])
        self.kubectl("delete", "pod", "talking", "--grace-period=0", "--force")
        follower.communicate(timeout=60)
        self.assertEqual(0, follower.returncode, "the follower ends with the container")

    def test_a_log_is_followed_over_its_rotations(self):
        writer = "i=0; while :; do echo $i $(printf %0200d 0); i=$((i + 1)); [ $((i % 100)) = 0 ] && sleep 0.1; done"
        self.run_ready("rotated", container("one", "sh", "-c", writer))
        follower = self.kubectl.start("logs", "-f", "rotated")
        self.addCleanup(follower.stdout.close)
        rotated, number = [], 0
        while len(rotated) < 2:
            for _ in range(500):
                self.assertEqual(f"{number} ", follower.stdout.readline()[:len(str(number)) + 1], f"rotated: {rotated}")
                number += 1
            rotated = list(self.kubelet.pod_logs.glob("default_rotated_*/one/0.log.*"))
        follower.kill()
        follower.wait()

    def test_the_log_of_the_life_before_is_kept(self):
        # The second life stays: of two dead containers the kubelet keeps one.
        lives = "echo life of $(cat /proc/sys/kernel/random/uuid); [ -e /kept/once ] && exec sleep 100000; touch /kept/once; exit 7"
        self.put("crashing", container("one", "sh", "-c", lives, volumeMounts=[{"name": "kept", "mountPath": "/kept"}]),
                 volumes=[{"name": "kept", "emptyDir": {}}])
        status = self.run_until("crashing", lambda now: of(now, "one")["restartCount"] == 1 and is_ready(now),
                                "started again", 90)
        self.assertEqual(7, of(status, "one")["lastState"]["terminated"]["exitCode"])
        before = self.kubectl("logs", "crashing", "--previous")
        self.assertRegex(before, r"^life of \S+\n$")
        self.assertNotEqual(before, self.kubectl("logs", "crashing"))

    def test_exec_takes_input_and_gives_output_and_exit_code(self):
        self.run_ready("commands", container("one", *SLEEP))
        data = os.urandom(3 * MIB).hex()
        for transport in TRANSPORTS:
            with self.subTest(transport):
                done = self.kubectl.call("exec", "commands", "--", "sh", "-c", "echo out; echo err >&2; exit 5",
                                         transport=transport)
                self.assertEqual((5, "out\n"), (done.status, done.out), done)
                self.assertIn("err\n", done.error)
                done = self.kubectl.call("exec", "-i", "commands", "--", "cat", data=data, transport=transport)
                self.assertEqual((0, len(data)), (done.status, len(done.out)), done.error)
                self.assertTrue(data == done.out, "the bytes differ")

    def test_a_program_that_is_not_there_is_told_by_exec(self):
        self.run_ready("commands", container("one", *SLEEP))
        for transport in TRANSPORTS:
            with self.subTest(transport):
                done = self.kubectl.call("exec", "commands", "--", "/no/such", transport=transport)
                self.assertNotEqual(0, done.status)
                self.assertIn("/no/such", done.error)

    def test_a_shell_in_a_terminal(self):
        self.run_ready("commands", container("one", *SLEEP))
        for transport in TRANSPORTS:
            with self.subTest(transport):
                shell = self.kubectl.in_terminal("exec", "-it", "commands", "--", "sh", transport=transport)
                self.addCleanup(shell.close)
                shell.wait_for("/ # ")
                shell.type("echo $((40 + 2)); stty size\n")
                shell.wait_for(r"42\r\n24 80\r\n")
                shell.resize(43, 132)
                shell.type("sleep 0.5; stty size\n")
                shell.wait_for(r"43 132\r\n")
                shell.type("sleep 4711\n")
                wait_until(lambda: pids_of("sleep 4711"), "the command runs")
                shell.type("\x03")
                shell.wait_for(r"\^C(.|\n|\r)*/ # ")
                shell.type("exit 7\n")
                self.assertEqual(7, shell.status(), shell.text)

    def test_a_running_container_is_attached_to(self):
        self.run_ready("attached", container("one", "sh", stdin=True, tty=True))
        for transport in TRANSPORTS:
            with self.subTest(transport):
                first = self.kubectl.in_terminal("attach", "-it", "attached", transport=transport)
                self.addCleanup(first.close)
                first.type("echo $((40 + 2))\n")
                first.wait_for(r"42\r\n")
                first.kill()
        self.assertEqual(0, of(self.statuses()["attached"], "one")["restartCount"])

    def test_a_pod_of_one_command_with_its_input(self):
        overrides = f'--overrides={{"spec":{{"nodeName":"{NODE}"}}}}'
        done = self.kubectl("run", "counted", "-i", "--rm", "--restart=Never", "--image=docker.io/library/base:1",
                            overrides, "--command", "--", "sh", "-c", "wc -c; sleep 1", data="x" * 1000)
        self.assertIn("1000\n", done)
        self.assertNotIn("counted", self.kubectl("get", "pods"))

    def test_files_are_copied_in_and_out(self):
        self.run_ready("files", container("one", *SLEEP))
        there, back = self.daemon.folder / "there", self.daemon.folder / "back"
        data = os.urandom(5 * MIB)
        there.write_bytes(data)
        self.kubectl("cp", there, "files:/tmp/file")
        self.assertEqual(f"{len(data)}\n", self.inside("files", "stat", "-c", "%s", "/tmp/file"))
        self.kubectl("cp", "files:/tmp/file", back)
        self.assertTrue(back.read_bytes() == data, "the bytes differ")
