"""Stopping: who hears which signal, who wins, and what cannot be stopped at once."""

import time

from case import NAMESPACE_NODE, NAMESPACE_POD, wait_until, pids_of
from fuse_stuck import StuckFileSystem
from images import layer_of
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

    def test_row_28_an_exec_that_cannot_be_killed_keeps_its_caller_no_longer_than_it_takes(self):
        mount = [{"host_path": self.files.folder, "container_path": "/stuck"}]
        container = self.launch(self.pod, "probed", "sleep", "1000", mounts=mount)
        reply = self.call("ExecSync", {"container_id": container, "cmd": ["cat", "/stuck/file"], "timeout": 1}, seconds=60)
        self.assertEqual("DEADLINE_EXCEEDED", reply.code, reply.text)
        self.assertIn("command timed out after 1 s", reply.text)
        self.assertEqual("fine", self.execute(container, "echo", "fine"))


class StopsDuringCreation(ApiTest):
    def test_a_pod_that_is_stopped_while_its_container_is_made_stops(self):
        image = self.add_image("voluminous", {"Volumes": {"/data": {}}}, layer_of({"data/file": "0" * 200_000_000}))
        for index, delay in enumerate((0.02, 0.1, 0.2, 0.3)):
            with self.subTest(delay=delay):
                pod = self.run_pod(f"pod-{index}")
                config = self.container_config("one", "sleep", "1000", image_name=image)
                creation = self.call.begin("CreateContainer", {"pod_sandbox_id": pod.id, "config": config}, seconds=60)
                time.sleep(delay)
                stopped = self.call("StopPodSandbox", {"pod_sandbox_id": pod.id}, seconds=60)
                self.assertEqual("OK", stopped.code, stopped.text)
                made = creation.reply()
                if made.code != "OK":
                    self.assertEqual("FAILED_PRECONDITION", made.code, made.text)
                self.crictl("rmp", pod.id)
        self.assertEqual([], self.pods())


class Prefixes(ApiTest):
    def test_the_beginning_of_several_ids_stops_and_removes_none(self):
        pod = self.run_pod()
        containers = [self.create(pod, f"c{number}", "sleep", "1000") for number in range(17)]
        first = next(digit for digit in "0123456789abcdef" if sum(c.startswith(digit) for c in containers) > 1)
        for method in ("StopContainer", "RemoveContainer", "ContainerStatus", "StartContainer"):
            reply = self.call(method, {"container_id": first})
            self.assertEqual("INVALID_ARGUMENT", reply.code, f"{method}: {reply.text}")
            self.assertIn("more than one ID", reply.text)
        self.assertEqual(17, len(self.crictl.json("ps", "-a", "-o", "json")["containers"]))
        self.assertEqual("OK", self.call("StopContainer", {"container_id": "no-such"}).code)
