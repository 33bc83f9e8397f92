"""The daemon is killed while pods run."""

import subprocess

from case import GantryTest, pids_of, wait_until

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
        pids_before = pids_of("gantry-shim")
        self.restart()
        self.assertEqual(before, [self.facts(container) for container in containers])
        self.assertEqual(pods_before, self.crictl.json("pods", "-o", "json"))
        self.assertEqual(pids_before, pids_of("gantry-shim"))
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
