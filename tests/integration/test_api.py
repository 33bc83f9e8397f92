"""What only another client than crictl can ask: requests with holes, short deadlines, calls in parallel."""

import pathlib
import time

from case import GantryTest, wait_until
from cri_call import IMAGES, CriCall

LATER = ["CheckpointContainer", "CheckpointPod", "RestorePod"]


class ApiTest(GantryTest):
    def setUp(self):
        super().setUp()
        self.call = CriCall(self.lane.binaries, self.daemon)

    def refuse(self, code, words, method, request, **options):
        reply = self.call(method, request, **options)
        self.assertEqual(code, reply.code, reply.text)
        for word in words:
            self.assertRegex(reply.text, word)
        self.assert_nothing_left()


class Holes(ApiTest):
    def test_row_44_a_pod_without_metadata_is_an_invalid_argument(self):
        self.refuse("INVALID_ARGUMENT", ["metadata"], "RunPodSandbox", {})
        self.refuse("INVALID_ARGUMENT", ["metadata"], "RunPodSandbox", {"config": {}})
        for hole in ("name", "namespace", "uid"):
            config = self.pod_config("pod")
            config["metadata"][hole] = ""
            self.refuse("INVALID_ARGUMENT", ["name, namespace and uid"], "RunPodSandbox", {"config": config})

    def test_row_44_a_container_without_metadata_image_or_pod_is_an_invalid_argument(self):
        pod = self.run_pod()
        before = self.oracle.look()
        good = self.container_config("one", "true")
        for request, words in (
                ({}, "pod_sandbox_id"),
                ({"pod_sandbox_id": pod.id}, "metadata"),
                ({"pod_sandbox_id": pod.id, "config": {**good, "metadata": {}}}, "metadata.name"),
                ({"pod_sandbox_id": pod.id, "config": {**good, "image": {}}}, "image"),
                ({"config": good}, "pod_sandbox_id")):
            reply = self.call("CreateContainer", request)
            self.assertEqual("INVALID_ARGUMENT", reply.code, reply.text)
            self.assertIn(words, reply.text)
        self.assert_nothing_left(before)

    def test_a_pod_may_leave_out_all_that_is_not_its_name(self):
        config = {"metadata": {"name": "bare", "namespace": "test", "uid": "u"},
                  "annotations": {"io.gantry/network": "none"}}
        reply = self.call("RunPodSandbox", {"config": config})
        self.assertEqual("OK", reply.code, reply.text)
        pod = reply.message["pod_sandbox_id"]
        made = self.call("CreateContainer", {"pod_sandbox_id": pod, "config": {
            "metadata": {"name": "one"}, "image": {"image": "base:1"}, "command": ["sleep", "1000"]}})
        self.assertEqual("OK", made.code, made.text)
        container = made.message["container_id"]
        self.assertEqual("OK", self.call("StartContainer", {"container_id": container}).code)
        self.assertEqual("CONTAINER_RUNNING", self.state(container))

    def test_row_32_what_names_nothing_is_not_found_and_stopping_it_is_fine(self):
        for method, request in (("PodSandboxStatus", "pod_sandbox_id"), ("ContainerStatus", "container_id"),
                                ("StartContainer", "container_id"), ("UpdateContainerResources", "container_id"),
                                ("ReopenContainerLog", "container_id")):
            self.refuse("NOT_FOUND", ["nothing-like-it"], method, {request: "nothing-like-it"})
        self.refuse("NOT_FOUND", ["nothing-like-it"], "ExecSync", {"container_id": "nothing-like-it", "cmd": ["true"]})
        for method, request in (("StopPodSandbox", "pod_sandbox_id"), ("RemovePodSandbox", "pod_sandbox_id"),
                                ("StopContainer", "container_id"), ("RemoveContainer", "container_id")):
            self.assertEqual("OK", self.call(method, {request: "nothing-like-it"}).code)

    def test_an_exec_without_a_command_is_an_invalid_argument(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        reply = self.call("ExecSync", {"container_id": container})
        self.assertEqual("INVALID_ARGUMENT", reply.code, reply.text)

    def test_what_is_not_there_yet_says_so_by_its_name(self):
        for method in LATER:
            reply = self.call(method)
            self.assertEqual(("UNIMPLEMENTED", True), (reply.code, method in reply.text), reply.text)

    def test_an_image_without_a_name_is_an_invalid_argument(self):
        self.refuse("INVALID_ARGUMENT", ["(?i)image"], "PullImage", {}, service=IMAGES)
        self.refuse("INVALID_ARGUMENT", ["(?i)image"], "RemoveImage", {}, service=IMAGES)


class Retries(ApiTest):
    def slow_network(self, seconds):
        """ADD takes that long from now on."""
        plugin = self.daemon.plugins / "slow"
        plugin.write_text('#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || sleep %s\n'
                          'echo \'{"cniVersion": "1.0.0", "ips": [{"address": "10.83.0.9/24"}]}\'\n' % seconds)
        plugin.chmod(0o755)
        config = self.daemon.folder / "net.d" / "10-test.conflist"
        text = config.read_text()
        # The plugin stays: DEL is owed to it.
        self.addCleanup(self.daemon.use_network, text)
        self.daemon.use_network('{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "slow"}]}')

    def test_row_41_a_pod_whose_caller_has_gone_is_what_the_retry_gets(self):
        self.slow_network(2)
        request = {"config": self.pod_config("pod", network=0)}
        gone = self.call("RunPodSandbox", request, seconds=0.3)
        self.assertEqual("DEADLINE_EXCEEDED", gone.code)
        self.assertEqual([], self.pods(), "what nobody has claimed is not shown")
        one, two = self.call.begin("RunPodSandbox", request), self.call.begin("RunPodSandbox", request)
        pod = one.reply().message["pod_sandbox_id"]
        self.assertEqual([pod], self.pods())
        second = two.reply()  # joined, or came a moment too late
        self.assertIn((second.code, pod[:12] in str(second.messages) + second.text),
                      [("OK", True), ("ALREADY_EXISTS", True)])

    def test_row_41_a_pod_that_was_ready_before_the_retry_keeps_its_id(self):
        self.slow_network(1)
        request = {"config": self.pod_config("pod", network=0)}
        self.assertEqual("DEADLINE_EXCEEDED", self.call("RunPodSandbox", request, seconds=0.3).code)
        time.sleep(2)
        self.assertEqual([], self.pods())
        reply = self.call("RunPodSandbox", request)
        self.assertEqual("OK", reply.code, reply.text)
        self.assertEqual([reply.message["pod_sandbox_id"]], self.pods())

    def test_row_41_a_container_whose_caller_has_gone_is_what_the_retry_gets(self):
        pod = self.run_pod()
        request = {"pod_sandbox_id": pod.id, "config": self.container_config("one", "sleep", "1000"),
                   "sandbox_config": pod.config}
        caller = self.call.begin("CreateContainer", request)
        time.sleep(0.01)
        caller.cancel()
        first = self.call("CreateContainer", request)
        # It was claimed before the caller was gone, or not: then the retry has it.
        self.assertIn(first.code, ("OK", "ALREADY_EXISTS"), first.text)
        self.assertEqual(1, len(self.containers()))

    def test_row_30_the_shorter_of_two_stops_wins_and_the_signal_is_sent_once(self):
        pod = self.run_pod()
        script = "trap 'echo signalled' TERM; echo ready; while :; do sleep 0.1; done"
        container = self.launch(pod, "one", "sh", "-c", script)
        self.wait_output(pod, "one", "ready")
        started = time.monotonic()
        long = self.call.begin("StopContainer", {"container_id": container, "timeout": 60})
        self.wait_output(pod, "one", "signalled")
        short = self.call.begin("StopContainer", {"container_id": container, "timeout": 1})
        self.assertEqual(("OK", "OK"), (short.reply().code, long.reply().code))
        self.assertLess(time.monotonic() - started, 20)
        self.assertEqual(["ready", "signalled"], self.output(pod, "one").split())
        self.assertEqual(137, self.status(container)["exitCode"])

    def test_row_29_a_stop_that_its_caller_gives_up_leaves_the_container_running(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        self.wait_output(pod, "one", "ready")
        gone = self.call("StopContainer", {"container_id": container, "timeout": 60}, seconds=0.5)
        self.assertEqual("DEADLINE_EXCEEDED", gone.code)
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        self.assertEqual("OK", self.call("StopContainer", {"container_id": container}).code)
        self.assertEqual("CONTAINER_EXITED", self.state(container))


class Updates(ApiTest):
    def memory_limit(self, container):
        relative = pathlib.Path(f"{self.daemon.cgroup}/pod/gantry-{container}")
        for top, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
            path = pathlib.Path("/sys/fs/cgroup") / top / relative / name
            if path.exists():
                return int(path.read_text())
        raise AssertionError(f"no memory cgroup {relative}")

    def update(self, container, **linux):
        return self.call("UpdateContainerResources", {"container_id": container, "linux": linux})

    def resources(self, container):
        return self.status(container)["resources"]["linux"]

    def test_new_limits_hold_and_are_shown(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000",
                                linux={"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512}})
        self.assertEqual(64 << 20, self.memory_limit(container))
        reply = self.update(container, memory_limit_in_bytes=96 << 20)
        self.assertEqual("OK", reply.code, reply.text)
        self.assertEqual(96 << 20, self.memory_limit(container))
        shown = self.resources(container)
        self.assertEqual((str(96 << 20), "512"), (shown["memoryLimitInBytes"], shown["cpuShares"]))

    def test_a_limit_that_cannot_hold_changes_nothing(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000",
                                linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
        for bad in ({"memory_limit_in_bytes": 96 << 20, "cpuset_cpus": "9999"}, {"cpuset_cpus": "no-list"}):
            reply = self.update(container, **bad)
            self.assertNotEqual("OK", reply.code)
            self.assertIn(bad["cpuset_cpus"], reply.text)
            self.assertEqual(64 << 20, self.memory_limit(container))
            self.assertEqual(str(64 << 20), self.resources(container)["memoryLimitInBytes"])

    def test_an_ended_container_has_no_limits_to_change(self):
        container = self.wait_exited(self.launch(self.run_pod(), "one", "true"))["id"]
        reply = self.update(container, cpu_shares=100)
        self.assertEqual("FAILED_PRECONDITION", reply.code, reply.text)


class PodUpdates(ApiTest):
    def test_what_the_kubelet_has_given_the_pod_is_kept(self):
        pod = self.run_pod()
        reply = self.call("UpdatePodSandboxResources", {
            "pod_sandbox_id": pod.id, "overhead": {"memory_limit_in_bytes": 1 << 20},
            "resources": {"memory_limit_in_bytes": 96 << 20, "cpu_shares": 512}})
        self.assertEqual("OK", reply.code, reply.text)
        for _ in range(2):
            info = self.crictl.json("inspectp", "-o", "json", pod.id)["info"]
            self.assertEqual((96 << 20, 512),
                             (info["resources"]["memoryLimitInBytes"], info["resources"]["cpuShares"]))
            self.assertEqual(1 << 20, info["overhead"]["memoryLimitInBytes"])
            self.daemon.kill()
            self.daemon.start()

    def test_a_pod_that_is_not_there_or_stopped_is_refused(self):
        reply = self.call("UpdatePodSandboxResources", {"pod_sandbox_id": "nothing-like-it"})
        self.assertEqual("NOT_FOUND", reply.code, reply.text)
        pod = self.run_pod()
        self.crictl("stopp", pod.id)
        reply = self.call("UpdatePodSandboxResources", {"pod_sandbox_id": pod.id})
        self.assertEqual("FAILED_PRECONDITION", reply.code, reply.text)


class Lists(ApiTest):
    def test_a_streamed_list_is_the_list(self):
        pod = self.run_pod()
        containers = {self.create(pod, name, "true") for name in ("one", "two", "three")}
        pods = self.call("StreamPodSandboxes").messages
        self.assertEqual([pod.id], [item["id"] for message in pods for item in message["pod_sandboxes"]])
        listed = self.call("StreamContainers", {"filter": {"pod_sandbox_id": pod.id}}).messages
        self.assertEqual(containers, {item["id"] for message in listed for item in message["containers"]})
        images = self.call("StreamImages", service=IMAGES).messages
        self.assertEqual(1, sum(len(message["images"]) for message in images))
        none = self.call("StreamContainers", {"filter": {"id": "nothing-like-it"}})
        self.assertEqual(("OK", []), (none.code, none.messages))

    def test_a_list_is_the_and_of_its_filters(self):
        pod = self.run_pod(labels={"app": "web", "tier": "front"})
        self.run_pod("other", labels={"app": "web"})
        def listed(**given):
            return [item["id"] for item in self.call("ListPodSandbox", {"filter": given}).message["items"]]
        self.assertEqual(2, len(listed(label_selector={"app": "web"})))
        self.assertEqual([pod.id], listed(label_selector={"app": "web", "tier": "front"}))
        self.assertEqual([pod.id], listed(id=pod.id[:12], state={"state": "SANDBOX_READY"}))
        self.assertEqual([], listed(id=pod.id, state={"state": "SANDBOX_NOTREADY"}))
        self.assertEqual([], listed(label_selector={"app": "other"}))


class Pins(ApiTest):
    @classmethod
    def prepare(cls, daemon):
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("[image]\n", '[image]\npinned_images = ["base:1"]\n', 1))

    def test_row_78_a_pinned_image_is_told_in_lists_and_by_itself(self):
        self.add_image("other", {})
        images = self.crictl.json("images", "-o", "json")["images"]
        told = {tag: image["pinned"] for image in images for tag in image["repoTags"]}
        self.assertEqual({"docker.io/library/base:1": True, "docker.io/library/other:1": False}, told)
        self.assertTrue(self.crictl.json("inspecti", "-o", "json", "base:1")["status"]["pinned"])
