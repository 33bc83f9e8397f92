"""Memory limits: who is killed and what is told of it, and limits that cannot hold."""

from case import wait_until
from test_api import ApiTest

LIMIT = 32 << 20


class Memory(ApiTest):
    def test_row_79_each_of_eighty_containers_over_their_limit_is_told_as_oom_killed(self):
        pods = [self.run_pod(f"pod-{i}") for i in range(8)]
        for turn in range(10):
            containers = []
            for pod in pods:
                config = self.container_config(f"c{turn}", "tail", "/dev/zero",
                                               linux={"resources": {"memory_limit_in_bytes": LIMIT}})
                made = self.call("CreateContainer", {"pod_sandbox_id": pod.id, "config": config,
                                                     "sandbox_config": pod.config})
                self.assertEqual("OK", made.code, made.text)
                containers.append(made.message["container_id"])
            starts = [self.call.begin("StartContainer", {"container_id": container}) for container in containers]
            self.assertEqual({"OK"}, {start.reply().code for start in starts})
            for container in containers:
                status = self.wait_exited(container)
                self.assertEqual((137, "OOMKilled"), (status["exitCode"], status["reason"]))

    def test_row_82_a_limit_below_the_use_is_refused_and_the_old_one_stays(self):
        container = self.launch(self.run_pod(), "one", "sh", "-c",
                                "dd if=/dev/zero of=/dev/shm/full bs=1M count=24 2>/dev/null; sleep 1000",
                                linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
        self.wait_used(container)
        update = {"container_id": container, "linux": {"memory_limit_in_bytes": 4 << 20}}
        reply = self.call("UpdateContainerResources", update)
        self.assertNotEqual("OK", reply.code)
        self.assertRegex(reply.text, "memory")
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        self.assertEqual(str(64 << 20), self.status(container)["resources"]["linux"]["memoryLimitInBytes"])

    def test_row_82_limits_of_memory_and_swap_together_are_applied(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000",
                                linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
        for size in (128 << 20, 48 << 20):  # up, and down again: the two limits need another order each
            reply = self.call("UpdateContainerResources", {
                "container_id": container,
                "linux": {"memory_limit_in_bytes": size, "memory_swap_limit_in_bytes": size}})
            self.assertEqual("OK", reply.code, reply.text)
            shown = self.status(container)["resources"]["linux"]
            self.assertEqual((str(size), str(size)), (shown["memoryLimitInBytes"], shown["memorySwapLimitInBytes"]))

    def test_a_negative_limit_is_an_invalid_argument(self):
        container = self.launch(self.run_pod(), "one", "sleep", "1000")
        for limit in ({"memory_limit_in_bytes": -5}, {"cpu_period": -1}, {"cpu_shares": -1}):
            reply = self.call("UpdateContainerResources", {"container_id": container, "linux": limit})
            self.assertEqual("INVALID_ARGUMENT", reply.code, f"{limit}: {reply.text}")

    def wait_used(self, container):
        wait_until(lambda: self.execute(container, "sh", "-c", "wc -c </dev/shm/full || echo 0") == str(24 << 20),
                   "the memory is in use")
