"""Stopping: who hears which signal, who wins, and what cannot be stopped at once."""

import time

from case import NAMESPACE_NODE, NAMESPACE_POD, wait_until, pids_of
from fuse_stuck import StuckFileSystem
from test_api import ApiTest

LOOP = "echo ready; while :; do sleep 0.1; done"


class Stops(ApiTest):
    def stop_begin(self, container, seconds):
        return self.call.begin("StopContainer", {"container_id": container, "timeout": seconds})

    def test_row_27_children_in_the_host_s_or_pod_s_pid_namespace_end_with_the_container(self):
        for name, pid in (("host", NAMESPACE_NODE), ("shared", NAMESPACE_POD)):
            options = {"namespace_options": {"network": NAMESPACE_NODE, "pid": pid}}
            pod = self.run_pod(name, linux={"cgroup_parent": f"/{self.daemon.cgroup}/{name}", "security_context": options})
            container = self.launch(pod, name, "sh", "-c",
                                    "sleep 4327 & setsid sleep 4327 & (setsid sleep 4327 &) ; echo ready; wait",
                                    linux={"security_context": options})
            self.wait_output(pod, name, "ready")
            wait_until(lambda: len(pids_of("sleep 4327")) >= 3, "three children run")
            self.crictl("stop", "--timeout", "1", container)
            wait_until(lambda: not pids_of("sleep 4327"), "all children are gone", 10)

    def test_row_30_of_150_stops_the_shortest_wins_and_all_are_answered(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "trap 'echo signalled' TERM; " + LOOP)
        self.wait_output(pod, "one", "ready")
        stops = [self.stop_begin(container, 300) for _ in range(149)]
        self.wait_output(pod, "one", "signalled")
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        stops.append(self.stop_begin(container, 1))
        self.assertEqual({"OK"}, {stop.reply().code for stop in stops})
        self.assertEqual(["ready", "signalled"], self.output(pod, "one").split())
        self.assertEqual(137, self.status(container)["exitCode"])

    def test_row_31_the_container_s_stop_signal_is_what_it_gets_and_what_its_status_shows(self):
        pod = self.run_pod()
        for name in ("TERM", "INT", "HUP", "USR1", "USR2"):
            with self.subTest(signal=name):
                made = self.call("CreateContainer", {
                    "pod_sandbox_id": pod.id, "sandbox_config": pod.config,
                    "config": self.container_config(name, "sh", "-c", f"trap 'echo got {name}; exit 9' {name}; {LOOP}",
                                                    stop_signal=f"SIGNAL_SIG{name}")})
                self.assertEqual("OK", made.code, made.text)
                container = made.message["container_id"]
                self.assertEqual("OK", self.call("StartContainer", {"container_id": container}).code)
                self.wait_output(pod, name, "ready")
                self.crictl("stop", "--timeout", "20", container)
                self.assertEqual((9, f"ready\ngot {name}"), (self.status(container)["exitCode"], self.output(pod, name)))
                status = self.call("ContainerStatus", {"container_id": container}).message["status"]
                self.assertEqual(f"SIGNAL_SIG{name}", status["stop_signal"])


class Uninterruptible(ApiTest):
    """A process of one container sleeps in a file system that does not answer: not even SIGKILL ends it."""

    def setUp(self):
        super().setUp()
        folder = self.daemon.folder / "stuck"
        folder.mkdir(exist_ok=True)
        try:
            self.files = StuckFileSystem(folder)
        except OSError as error:
            self.skipTest(f"no FUSE here: {error}")
        self.closed = False
        # Cleanups run last first: the sleeper wakes up before its pod is removed.
        self.addCleanup(self.wake)
        self.pod = self.run_pod("stuck")
        self.stuck = self.launch(self.pod, "stuck", "sh", "-c", "exec cat /stuck/file",
                                 mounts=[{"host_path": str(folder), "container_path": "/stuck"}])
        self.assertTrue(self.files.stuck.wait(20), "nobody has looked up the file")

    def wake(self):
        if not self.closed:
            self.files.close()
        self.closed = True

    def test_row_28_one_that_cannot_be_killed_holds_up_nobody_and_is_stopped_once_it_can(self):
        other = self.run_pod("other")
        neighbour = self.launch(other, "neighbour", "sleep", "1000")
        stop = self.call.begin("StopContainer", {"container_id": self.stuck}, seconds=90)
        gone = self.call("StopContainer", {"container_id": self.stuck}, seconds=1.5)
        self.assertEqual("DEADLINE_EXCEEDED", gone.code, gone.text)
        self.assertEqual("CONTAINER_RUNNING", self.state(self.stuck))
        # Its own pod and others are served meanwhile.
        beside = self.launch(self.pod, "beside", "sleep", "1000")
        for container in (neighbour, beside):
            self.assertEqual("fine", self.execute(container, "echo", "fine"))
            self.crictl("stop", "--timeout", "1", container)
            self.crictl("rm", container)
        self.crictl("stopp", other.id)
        self.crictl("rmp", other.id)
        self.assertEqual("OK", self.call("ListContainers").code)
        started = time.monotonic()
        self.wake()
        self.assertEqual("OK", stop.reply().code)
        self.assertLess(time.monotonic() - started, 30)
        self.assertEqual("CONTAINER_EXITED", self.state(self.stuck))

    def test_row_28_a_pod_with_such_a_process_is_removed_once_it_ends(self):
        gone = self.call("StopPodSandbox", {"pod_sandbox_id": self.pod.id}, seconds=2)
        self.assertEqual("DEADLINE_EXCEEDED", gone.code, gone.text)
        self.wake()
        self.crictl("stopp", self.pod.id)
        self.crictl("rmp", self.pod.id)
        self.assertEqual([], self.pods())
