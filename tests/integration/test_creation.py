"""Making pods and containers: twice at once, half, and with what cannot be."""

import collections

from case import pids_of, wait_until
from leak_oracle import descriptors
from test_api import ApiTest


class Creation(ApiTest):
    def test_row_40_the_same_pod_asked_for_by_many_is_made_once(self):
        request = {"config": self.pod_config("pod")}
        calls = [self.call.begin("RunPodSandbox", request) for _ in range(8)]
        replies = [call.reply() for call in calls]
        made = {reply.message["pod_sandbox_id"] for reply in replies if reply.code == "OK"}
        self.assertEqual(1, len(made))
        for reply in replies:  # joined, or came a moment too late
            self.assertIn(reply.code, ("OK", "ALREADY_EXISTS"), reply.text)
        self.assertEqual(sorted(made), self.pods())

    def test_row_42_a_container_that_fails_late_leaves_its_name_and_nothing_else(self):
        pod = self.run_pod()
        folder = self.daemon.folder / "late"
        folder.write_text("no folder")
        before = self.oracle.look()
        mounts = [{"host_path": str(folder / "missing"), "container_path": "/data"}]
        for _ in range(3):
            reply = self.call("CreateContainer", {"pod_sandbox_id": pod.id, "sandbox_config": pod.config,
                                                  "config": self.container_config("one", "true", mounts=mounts)})
            self.assertNotEqual("OK", reply.code)
            self.assertRegex(reply.text, "late/missing")
        self.assert_nothing_left(before)
        self.assertFalse(pod.log("one").exists())
        self.launch(pod, "one", "true")

    def test_row_44_a_device_a_sysctl_and_a_filter_that_cannot_be_are_invalid_arguments(self):
        pod = self.run_pod()
        before = self.oracle.look()
        good = self.container_config("one", "true")
        for more, word in (
                ({"devices": [{"host_path": "/dev/no-such-device", "container_path": "/dev/x", "permissions": "rwm"}]},
                 "no-such-device"),
                ({"devices": [{"host_path": "/dev/null", "container_path": "/dev/x", "permissions": "everything"}]},
                 "permissions"),
                ({"linux": {"security_context": {"seccomp": {"profile_type": "Localhost",
                                                             "localhost_ref": "/no/such/profile.json"}}}}, "profile.json"),
                ({"linux": {"security_context": {"apparmor": {"profile_type": "Localhost", "localhost_ref": "none-such"}}}},
                 "(?i)apparmor")):
            with self.subTest(word=word):
                reply = self.call("CreateContainer", {"pod_sandbox_id": pod.id, "config": {**good, **more},
                                                      "sandbox_config": pod.config})
                self.assertEqual("INVALID_ARGUMENT", reply.code, reply.text)
                self.assertRegex(reply.text, word)
        self.assert_nothing_left(before)
        config = self.pod_config("bad")
        config["linux"]["sysctls"] = {"kernel.no_such_thing": "1"}
        reply = self.call("RunPodSandbox", {"config": config})
        self.assertEqual("INVALID_ARGUMENT", reply.code, reply.text)
        self.assertRegex(reply.text, "no_such_thing")


class Descriptors(ApiTest):
    """What the helpers of a pod hold: the oracle looks at the daemon's alone."""

    def held(self, pod):
        found = collections.Counter()
        for pid in pids_of(f"gantry:shim {pod.id}")[:1] + pids_of(f"gantry:pump {pod.id}"):
            found.update(descriptors(pid))
        return found

    def assert_as_before(self, pod, before):
        wait_until(lambda: not self.held(pod) - before, f"what is held more is given back: {self.held(pod) - before}", 10)

    def cycle(self, pod, name, *command, start_fails=False):
        container = self.create(pod, name, *command)
        self.assertEqual(start_fails, self.crictl.call("start", container).status != 0)
        if not start_fails:
            self.execute(container, "true")
            self.crictl("stop", "--timeout", "0", container)
        self.crictl("rm", container)

    def test_row_48_a_missing_binary_leaves_no_pipe(self):
        pod = self.run_pod()
        self.cycle(pod, "warm", "/no/such/program", start_fails=True)
        before = self.held(pod)
        for i in range(10):
            self.cycle(pod, f"c{i}", "/no/such/program", start_fails=True)
        self.assert_as_before(pod, before)

    def test_row_49_a_full_cycle_leaves_no_descriptor(self):
        pod = self.run_pod()
        self.cycle(pod, "warm", "sleep", "1000")
        before = self.held(pod)
        for i in range(10):
            self.cycle(pod, f"c{i}", "sleep", "1000")
        self.assert_as_before(pod, before)


class Crowd(ApiTest):
    def test_row_84_a_thousand_containers_are_listed_at_once_and_in_parts(self):
        """Created and not started: what a thousand workloads cost this machine is not what is tested."""
        made = collections.Counter()
        for number in range(10):
            pod = self.run_pod(f"pod-{number}")
            for first in range(0, 100, 5):
                calls = [self.call.begin("CreateContainer", {
                    "pod_sandbox_id": pod.id, "sandbox_config": pod.config,
                    "config": self.container_config(f"c{i}", "true", annotations={"long": "x" * 2000})})
                         for i in range(first, first + 5)]
                for reply in [call.reply() for call in calls]:
                    self.assertEqual("OK", reply.code, reply.text)
                    made[reply.message["container_id"]] += 1
        self.assertEqual(1000, len(made))
        for method in ("ListContainers", "StreamContainers"):
            reply = self.call(method)
            self.assertEqual("OK", reply.code, reply.text)
            listed = [one for message in reply.messages for one in message["containers"]]
            self.assertEqual(made, collections.Counter(one["id"] for one in listed), method)
            for one in listed:
                self.assertEqual(("CONTAINER_CREATED", 2000), (one["state"], len(one["annotations"]["long"])))
