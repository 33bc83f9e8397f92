"""A pod's whole life with the host's network."""

import datetime

from case import BASE, GantryTest
from images import image


class ThinLine(GantryTest):
    def test_an_image_is_pulled_by_its_registry_address_and_through_a_mirror(self):
        direct = self.lane.registry.push("direct", "1", image([self.lane.base], {"Cmd": ["direct"]}))
        self.crictl("pull", direct)
        tags = [tag for found in self.crictl.json("images", "-o", "json")["images"] for tag in found["repoTags"]]
        self.assertEqual(sorted([direct, BASE]), sorted(set(tags)))
        shown = self.crictl.json("inspecti", "-o", "json", BASE)["status"]
        self.assertEqual([BASE], shown["repoTags"])
        self.assertRegex(shown["id"], "^sha256:[0-9a-f]{64}$")
        self.assertRegex(shown["repoDigests"][0], "^docker.io/library/base@sha256:[0-9a-f]{64}$")
        self.assertGreater(int(shown["size"]), 100000)

    def test_one_image_under_two_names_is_removed_with_both(self):
        made = image([self.lane.base], {"Cmd": ["named twice"]})
        names = [self.lane.registry.push(name, "1", made) for name in ("first", "second")]
        for name in names:
            self.crictl("pull", name)
        self.assertEqual(names, sorted(self.crictl.json("inspecti", "-o", "json", names[0])["status"]["repoTags"]))
        self.crictl("rmi", names[0])
        self.assertNotEqual(0, self.crictl.call("inspecti", names[1]).status)

    def test_a_removed_image_is_unknown(self):
        name = self.lane.registry.push("removed", "1", image([self.lane.base], {"Cmd": ["removed"]}))
        self.crictl("pull", name)
        self.crictl("rmi", name)
        self.assertNotIn(name, self.crictl("images", "-o", "json"))
        self.assert_nothing_left()

    def test_a_container_goes_from_created_over_running_to_exited(self):
        pod = self.run_pod()
        self.assertEqual([pod.id], self.pods())
        container = self.create(pod, "one", "sh", "-c", "echo to stdout; echo to stderr >&2; trap 'exit 5' TERM;"
                                " while :; do sleep 0.1; done")
        self.assertEqual("CONTAINER_CREATED", self.state(container))
        self.crictl("start", container)
        running = self.status(container)
        self.assertEqual("CONTAINER_RUNNING", running["state"])
        self.assertLessEqual(moment(running["createdAt"]), moment(running["startedAt"]))
        self.wait_output(pod, "one", "to stderr")
        self.assertEqual([("stderr", "to stderr"), ("stdout", "to stdout")], sorted(self.log_lines(pod.log("one"))))
        self.assertIn("to stdout", self.crictl("logs", container))
        self.assertEqual(container, self.crictl("ps", "-q"))
        self.crictl("stop", "--timeout", "20", container)
        exited = self.status(container)
        self.assertEqual(("CONTAINER_EXITED", 5, "Error"), (exited["state"], exited["exitCode"], exited["reason"]))
        self.assertLessEqual(moment(running["startedAt"]), moment(exited["finishedAt"]))
        self.crictl("rm", container)
        self.assertEqual([], self.containers())

    def test_exec_gives_output_and_the_exit_status(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        self.assertEqual("here", self.execute(container, "sh", "-c", "echo here"))
        answer = self.crictl.call("exec", "-s", container, "sh", "-c", "echo no >&2; exit 3")
        self.assertNotEqual(0, answer.status)
        self.assertRegex(answer.error, "no(.|\n)*3")

    def test_a_stopped_pod_is_not_ready_and_its_container_has_ended(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        self.crictl("stopp", pod.id)
        self.assertEqual("SANDBOX_NOTREADY", self.crictl.json("inspectp", "-o", "json", pod.id)["status"]["state"])
        self.assertEqual("CONTAINER_EXITED", self.state(container))
        self.crictl("rmp", pod.id)
        self.assertEqual(([], []), (self.pods(), self.containers()))
        self.assert_nothing_left()

    def test_row_32_stop_and_remove_may_be_asked_for_twice(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        for command in (("stop", container), ("stop", container), ("rm", container), ("stopp", pod.id),
                        ("stopp", pod.id), ("rmp", pod.id)):
            self.crictl(*command)

    def test_a_pod_without_a_cgroup_parent_has_a_cgroup_of_its_own(self):
        config = self.pod_config("own")
        del config["linux"]["cgroup_parent"]
        pod = self.crictl("runp", self.crictl.document(config))
        self.crictl("stopp", pod)
        self.crictl("rmp", pod)


def moment(text):
    return datetime.datetime.fromisoformat(text[:19])
