"""The daemon is killed while pods run."""

import contextlib
import os
import pathlib
import signal
import sqlite3
import subprocess

from case import GantryTest, NAMESPACE_NODE, NAMESPACE_POD, pids_of, wait_until

TICKS = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done"
KEPT = ("id", "metadata", "createdAt", "startedAt", "state", "imageId", "labels", "annotations", "logPath")


class Restart(GantryTest):
    def restart(self):
        self.daemon.kill()
        self.daemon.start()

    def facts(self, container):
        status = self.status(container)
        return {key: status.get(key) for key in KEPT}

    def test_pods_and_containers_are_the_same_after_it_was_killed(self):
        pod = self.run_pod(labels={"app": "one"}, annotations={"note": "two"})
        stopped = self.run_pod("stopped")
        self.crictl("stopp", stopped.id)
        running = self.launch(pod, "running", "sleep", "1000", labels={"part": "x"})
        created = self.create(pod, "created", "sleep", "1000")
        ended = self.wait_exited(self.launch(pod, "ended", "sh", "-c", "exit 3"))["id"]
        containers = (running, created, ended)
        before = [self.facts(container) for container in containers]
        pods_before = self.crictl.json("pods", "-o", "json")
        pids_before = pids_of("gantry:shim")
        self.assertGreater(len(pids_before), 1)
        self.restart()
        self.assertEqual(before, [self.facts(container) for container in containers])
        self.assertEqual(pods_before, self.crictl.json("pods", "-o", "json"))
        self.assertEqual(pids_before, pids_of("gantry:shim"))
        self.assertEqual(3, self.status(ended)["exitCode"])
        self.crictl("start", created)
        self.assertEqual("CONTAINER_RUNNING", self.state(created))

    def test_logs_go_on_while_it_is_away(self):
        pod = self.run_pod()
        self.launch(pod, "one", "sh", "-c", TICKS)
        self.wait_output(pod, "one", "tick 3")
        self.daemon.kill()
        count = len(self.log_lines(pod.log("one")))
        wait_until(lambda: len(self.log_lines(pod.log("one"))) > count + 5, "lines written without a daemon")
        self.daemon.start()
        count = len(self.log_lines(pod.log("one")))
        wait_until(lambda: len(self.log_lines(pod.log("one"))) > count + 5, "lines written after the restart")
        texts = [text for _, text in self.log_lines(pod.log("one"))]
        self.assertEqual([f"tick {number}" for number in range(1, len(texts) + 1)], texts)

    def test_an_exit_code_of_meanwhile_is_true(self):
        signals = self.daemon.folder / "signals"
        signals.mkdir(exist_ok=True)
        pod = self.run_pod()
        script = "while [ ! -e /signals/go ]; do sleep 0.1; done; echo bye; exit 7"
        container = self.launch(pod, "one", "sh", "-c", script,
                                mounts=[{"host_path": str(signals), "container_path": "/signals"}])
        pid = pids_of("signals/go")
        self.daemon.kill()
        (signals / "go").touch()
        wait_until(lambda: not set(pid) & set(pids_of("signals/go")), "the container ends without a daemon")
        self.daemon.start()
        status = self.wait_exited(container, 10)
        self.assertEqual((7, "Error"), (status["exitCode"], status["reason"]))
        self.assertEqual("bye", self.output(pod, "one"))

    def test_exec_stop_and_remove_work_after_it(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        self.restart()
        self.assertEqual("still here", self.execute(container, "echo", "still here"))
        self.crictl("stop", container)
        self.crictl("rm", container)
        self.crictl("stopp", pod.id)
        self.crictl("rmp", pod.id)
        self.assert_nothing_left()

    def test_names_are_still_taken_after_it(self):
        pod = self.run_pod()
        self.restart()
        self.assert_refused("AlreadyExists", ["pod"], "runp", pod.document)

    def test_it_ends_at_once_when_asked_and_its_pods_stay(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        self.assertEqual(0, self.daemon.stop())
        self.daemon.start()
        self.assertEqual("CONTAINER_RUNNING", self.state(container))

    def test_killed_in_the_middle_of_making_pods_it_leaves_none_that_cannot_be_removed(self):
        for delay in (0.05, 0.15, 0.3):
            with self.subTest(delay=delay):
                self.kill_while_making_pods(delay)

    def kill_while_making_pods(self, delay):
        document = self.crictl.document(self.pod_config(f"cut-{delay}", network=0))
        client = subprocess.Popen([*self.crictl.command, "runp", document], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            client.wait(delay)
        except subprocess.TimeoutExpired:
            pass
        self.daemon.kill()
        client.wait(60)
        self.daemon.start()
        self.remove_everything()
        self.assert_nothing_left()


class LostRecords(GantryTest):
    """What runs and is in no record: nobody sees it, and the kubelet starts its like beside it."""

    def restart_without(self, *statements):
        self.daemon.kill()
        with contextlib.closing(sqlite3.connect(self.daemon.root / "gantry.db")) as database, database:
            for statement in statements:
                database.execute(statement)
        self.daemon.start()

    def test_pods_without_a_record_are_ended(self):
        for name, pid in (("one", NAMESPACE_NODE), ("two", NAMESPACE_POD)):
            options = {"namespace_options": {"network": NAMESPACE_POD, "pid": pid}}
            pod = self.run_pod(name, linux={"cgroup_parent": f"/{self.daemon.cgroup}/{name}", "security_context": options},
                               annotations={"io.gantry/network": "none"})
            self.launch(pod, name, "sh", "-c", "sleep 4329 & sleep 4329", linux={"security_context": options})
        wait_until(lambda: len(pids_of("sleep 4329")) >= 4, "all sleep")
        self.restart_without("DELETE FROM sandboxes", "DELETE FROM containers")
        self.assertEqual([], self.pods())
        wait_until(lambda: not pids_of("sleep 4329") and not pids_of("gantry:shim"), "all have ended")
        self.assertEqual([], list((self.daemon.state / "pods").iterdir()))
        self.assertEqual([], list((self.daemon.state / "netns").iterdir()))
        self.assertIn("a pod that is in no record is ended", self.daemon.log.read_text())
        # Whose the pods' own groups were stood in the records; a kubelet removes its own.
        top = pathlib.Path("/sys/fs/cgroup")
        for group in [*top.glob(f"*/{self.daemon.cgroup}/*/"), *top.glob(f"{self.daemon.cgroup}/*/")]:
            self.assertEqual([], [path for path in group.iterdir() if path.is_dir()])
            group.rmdir()

    def test_a_container_without_a_record_is_ended_and_its_pod_goes_on(self):
        pod = self.run_pod()
        lost = self.launch(pod, "lost", "sleep", "4330")
        kept = self.launch(pod, "kept", "sleep", "4331")
        self.restart_without(f"DELETE FROM containers WHERE id = '{lost}'")
        wait_until(lambda: not pids_of("sleep 4330"), "it has ended")
        self.assertEqual("CONTAINER_RUNNING", self.state(kept))
        self.assertEqual([kept], [entry["id"] for entry in self.crictl.json("ps", "-o", "json")["containers"]])
        again = self.launch(pod, "lost", "sleep", "4332")
        self.assertEqual("fine", self.execute(again, "echo", "fine"))

    def test_a_shim_that_does_not_answer_is_ended_with_its_pod(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "4333")
        shim = pids_of(f"gantry:shim {pod.id}")[0]
        os.kill(shim, signal.SIGSTOP)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual("CONTAINER_EXITED", self.state(container))
        wait_until(lambda: not pids_of("gantry:shim") and not pids_of("sleep 4333"), "nothing is left of it")
        self.crictl("stopp", pod.id)
        self.crictl("rmp", pod.id)
        self.assert_nothing_left()
