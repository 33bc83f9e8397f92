"""Things break beside a pod: memory, its shim, the disk of its log, a command that hangs."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

from case import BASE, BRIDGE, GantryTest, NAMESPACE_NODE, NAMESPACE_POD, pids_of, wait_until
from crictl import Crictl
from daemon import Daemon
from leak_oracle import LeakOracle

TICKS = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done"


class Faults(GantryTest):
    def test_a_container_over_its_memory_limit_is_oom_killed(self):
        status, _ = self.run_to_end(self.run_pod(), "one", "tail", "/dev/zero",
                                    linux={"resources": {"memory_limit_in_bytes": 32 << 20}})
        self.assertEqual((137, "OOMKilled"), (status["exitCode"], status["reason"]))

    def test_a_killed_container_without_a_limit_is_not_oom_killed(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        self.crictl("stop", "--timeout", "0", container)
        status = self.status(container)
        self.assertEqual((137, "Error"), (status["exitCode"], status["reason"]))

    def test_an_exec_over_its_time_is_killed_with_its_children(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        before = self.oracle.look()
        started = time.monotonic()
        self.assert_refused("DeadlineExceeded", ["timed out"], "exec", "-s", "--timeout", "1", container,
                            "sh", "-c", "sleep 4321 & setsid sleep 4321 & sleep 4321")
        self.assertLess(time.monotonic() - started, 15)
        wait_until(lambda: not pids_of("sleep 4321"), "the exec's children are gone", 10)
        self.assert_nothing_left(before)
        self.assertEqual("CONTAINER_RUNNING", self.state(container))

    def test_row_45_an_exec_gives_its_output_when_a_child_keeps_the_pipe_open(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        started = time.monotonic()
        self.assertEqual("done", self.execute(container, "sh", "-c", "sleep 600 & echo done"))
        self.assertLess(time.monotonic() - started, 15)

    def test_a_stop_ends_processes_that_ignore_the_signal(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        self.wait_output(pod, "one", "ready")
        self.crictl("stop", "--timeout", "1", container)
        self.assertEqual(137, self.status(container)["exitCode"])

    def test_row_24_a_pod_whose_shared_pid_1_has_ended_is_not_ready(self):
        options = {"namespace_options": {"network": NAMESPACE_NODE, "pid": NAMESPACE_POD}}
        linux = {"cgroup_parent": f"/{self.daemon.cgroup}/shared", "security_context": options}
        pod = self.run_pod("shared", linux=linux)
        container = self.launch(pod, "one", "sleep", "1000", linux={"security_context": options})
        # From outside: AppArmor, where there is one, keeps a container from it.
        init, = pids_of("gantry-init")
        os.kill(init, signal.SIGKILL)
        self.assertEqual(137, self.wait_exited(container)["exitCode"])
        wait_until(lambda: self.pod_state(pod) == "SANDBOX_NOTREADY", "the pod is NOTREADY")
        self.assert_refused("FailedPrecondition", ["not ready"], "create", pod.id,
                            self.crictl.document(self.container_config("two", "true")), pod.document)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod))

    def test_row_24_a_shared_pid_1_that_ends_while_the_daemon_is_away_is_noted(self):
        options = {"namespace_options": {"network": NAMESPACE_NODE, "pid": NAMESPACE_POD}}
        pod = self.run_pod("shared", linux={"cgroup_parent": f"/{self.daemon.cgroup}/shared", "security_context": options})
        init, = pids_of("gantry-init")
        self.daemon.kill()
        os.kill(init, signal.SIGKILL)
        wait_until(lambda: not pids_of("gantry-init"), "PID 1 is gone")
        self.daemon.start()
        wait_until(lambda: self.pod_state(pod) == "SANDBOX_NOTREADY", "the pod is NOTREADY")

    def test_an_exec_that_starts_too_late_does_not_start(self):
        options = {"cgroup_parent": f"/{self.daemon.cgroup}/frozen"}
        pod = self.run_pod("frozen", linux={**options, "security_context": {"namespace_options": {"network": NAMESPACE_NODE}}})
        container = self.launch(pod, "one", "sleep", "1000")
        group = next((path for path in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.daemon.cgroup}/frozen/*{container}")
                      if (path / "cgroup.freeze").exists()), None)
        if group is None:
            self.skipTest("no cgroup2 here that could be frozen")
        (group / "cgroup.freeze").write_text("1")
        self.addCleanup(lambda: (group / "cgroup.freeze").exists() and (group / "cgroup.freeze").write_text("0"))
        for _ in range(3):
            self.assert_refused("DeadlineExceeded", ["exec in container"], "exec", "-s", "--timeout", "1", container,
                                "touch", "/tmp/late")
        (group / "cgroup.freeze").write_text("0")
        self.assertEqual("", self.execute(container, "ls", "/tmp"))
        time.sleep(1)
        self.assertEqual("", self.execute(container, "ls", "/tmp"))
        wait_until(lambda: not list(group.glob("exec-*")), "no exec is left")

    def test_a_dead_shim_ends_its_pod_and_no_other(self):
        pod, other = self.run_pod("one", network=0), self.run_pod("other")
        container = self.launch(pod, "one", "sleep", "1000")
        created = self.create(pod, "created", "sleep", "1000")
        neighbour = self.launch(other, "neighbour", "sleep", "1000")
        kill_shim(pod)
        wait_until(lambda: self.pod_state(pod) == "SANDBOX_NOTREADY", "the pod is NOTREADY")
        for ended in (container, created):
            self.assertEqual("CONTAINER_EXITED", self.wait_exited(ended)["state"])
        self.assertNotEqual(0, self.status(container)["exitCode"])
        self.assertEqual("SANDBOX_READY", self.pod_state(other))
        self.assertEqual("fine", self.execute(neighbour, "echo", "fine"))
        self.crictl("rm", container)
        self.crictl("stopp", pod.id)
        self.crictl("rmp", pod.id)
        self.crictl("stopp", other.id)
        self.crictl("rmp", other.id)
        self.assert_nothing_left()

    def test_a_shim_that_dies_while_the_daemon_is_away_is_found_dead(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        self.daemon.kill()
        kill_shim(pod)
        self.daemon.start()
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod))
        self.assertEqual("CONTAINER_EXITED", self.state(container))

    def pod_state(self, pod):
        return self.crictl.json("inspectp", "-o", "json", pod.id)["status"]["state"]

    def test_a_reopened_log_goes_on_in_a_new_file(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", TICKS)
        self.wait_output(pod, "one", "tick 3")
        rotated = pod.log("one").with_suffix(".old")
        pod.log("one").rename(rotated)
        self.crictl("logs", "--reopen", container)
        wait_until(lambda: pod.log("one").exists() and len(self.log_lines(pod.log("one"))) > 3, "lines in the new file")
        size = rotated.stat().st_size
        count = len(self.log_lines(pod.log("one")))
        wait_until(lambda: len(self.log_lines(pod.log("one"))) > count + 3, "more lines in the new file")
        self.assertEqual(size, rotated.stat().st_size)
        texts = [text for path in (rotated, pod.log("one")) for _, text in self.log_lines(path)]
        self.assertEqual([f"tick {number}" for number in range(1, len(texts) + 1)], texts)

    def test_a_line_longer_than_a_page_is_kept_whole(self):
        pod = self.run_pod()
        self.run_to_end(pod, "one", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
        texts = [text for _, text in self.log_lines(pod.log("one"))]
        self.assertEqual(["x" * 100000, "end"], texts)


class BrokenShim(GantryTest):
    """A daemon beside a gantry-shim that is another program."""

    def refuse_pod(self, script, words):
        binaries = self.daemon.folder / "binaries"
        shutil.copytree(self.lane.binaries, binaries, ignore=lambda _, names: [
            name for name in names if not name.startswith("gantry") or name == "gantry-shim"])
        (binaries / "gantry-shim").write_text(script)
        (binaries / "gantry-shim").chmod(0o755)
        daemon = Daemon(binaries, self.lane.registry.address)
        try:
            daemon.start()
            crictl = Crictl(self.lane.crictl, daemon)
            crictl("pull", BASE)
            oracle = LeakOracle(daemon, [daemon.root, daemon.state], BRIDGE)
            before = oracle.look()
            config = self.pod_config("pod")
            config["linux"]["cgroup_parent"] = f"/{daemon.cgroup}/pod"
            answer = crictl.call("runp", crictl.document(config))
            self.assertNotEqual(0, answer.status)
            self.assertRegex(answer.error, words)
            self.assertEqual("", crictl("pods", "-q"))
            self.assertEqual([], oracle.leaks(before))
        finally:
            daemon.delete(keep=False)
            shutil.rmtree(binaries)

    def test_row_35_one_that_ends_at_once_is_quoted_and_leaves_nothing(self):
        self.refuse_pod("#!/bin/sh\necho no luck today >&2\nexit 3\n", "no luck today")

    def test_row_35_one_that_says_nothing_is_killed_and_leaves_nothing(self):
        self.refuse_pod("#!/bin/sh\nexec sleep 1000\n", "(?i)greet the shim.*deadline|timed out|did not answer")


class FrozenLogDisk(GantryTest):
    """The log of one pod lies on a disk that stops answering."""

    def setUp(self):
        super().setUp()
        self.disk = self.daemon.folder / "logs" / "frozen"
        self.disk.mkdir(parents=True, exist_ok=True)
        store = self.daemon.folder / "disk"
        with open(store, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", store], check=True, stdin=subprocess.DEVNULL)
        mounted = subprocess.run(["mount", "-o", "loop", store, self.disk], capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"no loop devices here: {mounted.stderr.strip()}")
        # Cleanups run last first: thaw, then the pods go, then the disk.
        self.addCleanup(self.remove_everything)
        self.addCleanup(self.thaw)
        self.pod = self.run_pod("frozen")
        self.other = self.run_pod("other")
        self.neighbour = self.launch(self.other, "neighbour", "sh", "-c", TICKS)

    def _end(self):
        subprocess.run(["umount", self.disk], check=False, capture_output=True)
        super()._end()

    def freeze(self):
        done = subprocess.run(["fsfreeze", "--freeze", self.disk], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no freezing here: {done.stderr.strip()}")

    def thaw(self):
        subprocess.run(["fsfreeze", "--unfreeze", self.disk], capture_output=True, check=False)

    def assert_neighbour_well(self):
        count = len(self.log_lines(self.other.log("neighbour")))
        wait_until(lambda: len(self.log_lines(self.other.log("neighbour"))) > count + 3, "the neighbour's log goes on")
        self.assertEqual("fine", self.execute(self.neighbour, "echo", "fine"))

    def writer(self, script=TICKS):
        container = self.launch(self.pod, "writer", "sh", "-c", script)
        self.wait_output(self.pod, "writer", "tick 1")
        return container

    def test_row_54_exec_and_stop_of_its_pod_and_others_go_on(self):
        container = self.writer()
        self.freeze()
        self.assert_neighbour_well()
        self.assertEqual("here", self.execute(container, "echo", "here"))
        started = time.monotonic()
        self.crictl("stop", "--timeout", "1", container)
        self.assertEqual("CONTAINER_EXITED", self.state(container))
        self.assertLess(time.monotonic() - started, 30)
        self.assert_neighbour_well()

    def test_row_54_an_exit_is_told_in_time_with_its_true_code(self):
        container = self.writer("echo tick 1; sleep 3; echo last words; exit 9")
        self.freeze()
        status = self.wait_exited(container, 40)
        self.assertEqual(9, status["exitCode"])
        self.assert_neighbour_well()

    def test_row_54_nothing_is_lost_when_the_disk_answers_again(self):
        self.writer()
        self.freeze()
        self.assert_neighbour_well()
        self.thaw()
        count = len(self.log_lines(self.pod.log("writer")))
        wait_until(lambda: len(self.log_lines(self.pod.log("writer"))) > count + 10, "the log goes on")
        texts = [text for _, text in self.log_lines(self.pod.log("writer"))]
        self.assertEqual([f"tick {number}" for number in range(1, len(texts) + 1)], texts)

    def test_the_pod_can_be_removed(self):
        self.writer()
        self.freeze()
        self.crictl("stopp", self.pod.id)
        self.assert_neighbour_well()
        self.thaw()
        self.crictl("rmp", self.pod.id)


def kill_shim(pod):
    """The oldest process of the pod: those of its containers, until they start, bear its title too."""
    os.kill(pids_of(f"gantry:shim {pod.id}")[0], signal.SIGKILL)
