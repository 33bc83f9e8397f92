"""What the API server is told of the node and its use, and limits that change in a running pod."""

import json

from cluster_case import NODE, SLEEP, ClusterCase, container, of, wait_until

BUSY = ("sh", "-c", "x=$(head -c 20000000 /dev/zero | tr '\\0' a); while :; do :; done")
PROXY = f"/api/v1/nodes/{NODE}/proxy"


class ClusterNode(ClusterCase):
    def test_the_node_tells_of_its_runtime(self):
        status = self.node()["status"]
        conditions = {one["type"]: one["status"] for one in status["conditions"]}
        self.assertEqual({"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"},
                         conditions)
        self.assertRegex(status["nodeInfo"]["containerRuntimeVersion"], r"^gantry://\d+\.\d+")
        self.assertTrue(status["features"]["supplementalGroupsPolicy"], status)
        handlers = {one.get("name", ""): one["features"] for one in status["runtimeHandlers"]}
        self.assertEqual({"recursiveReadOnlyMounts": True, "userNamespaces": True}, handlers[""])
        wait_until(lambda: [one for one in self.node()["status"].get("images", [])
                            if "docker.io/library/base:1" in one["names"] and one["sizeBytes"] > 500_000],
                   "the image", 90)
        self.assertIn("Ready", self.kubectl("get", "node", NODE))

    def test_numbers_of_a_pod_come_through_the_api_server(self):
        self.run_ready("busy", container("one", *BUSY, resources={"limits": {"cpu": "200m"}}))

        def summary():
            found = json.loads(self.cluster.get(f"{PROXY}/stats/summary"))["pods"]
            return next((one for one in found if one["podRef"]["name"] == "busy"), {})

        wait_until(lambda: summary().get("cpu", {}).get("usageNanoCores"), "the summary knows the pod", 60)
        wait_until(lambda: summary()["containers"][0]["memory"]["workingSetBytes"] > 10_000_000, "its memory", 60)
        self.assertIn("network", summary())
        for page, family in (("metrics/cadvisor", "container_memory_working_set_bytes"),
                             ("metrics/resource", "container_cpu_usage_seconds_total"),
                             ("metrics/resource", "pod_memory_working_set_bytes")):
            wait_until(lambda page=page, family=family: [
                line for line in self.cluster.get(f"{PROXY}/{page}").splitlines()
                if line.startswith(family) and 'pod="busy"' in line], f"{family} in {page}", 60)

    def test_the_log_of_the_node_is_reached(self):
        self.run_ready("plain", container("one", "sh", "-c", "echo hello; exec sleep 100000"))
        self.assertIn("hello\n", self.kubectl.raw(f"{PROXY}/containerLogs/default/plain/one"))
        self.assertIn("plain", self.kubectl.raw(f"{PROXY}/pods"))


class ClusterResize(ClusterCase):
    def _limits(self, name):
        """Shares of a CPU and bytes of memory that the container is held to."""
        text = self.inside(name, "sh", "-c", "cd /sys/fs/cgroup; cat cpu.max memory.max 2>/dev/null || "
                            "cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes")
        quota, period, memory = text.split()
        return int(quota) / int(period), int(memory)

    def _resize(self, name, cpu, memory):
        values = {"cpu": cpu, "memory": memory}
        self.kubectl("patch", "pod", name, "--subresource", "resize", "--patch", json.dumps(
            {"spec": {"containers": [{"name": "one", "resources": {"limits": values, "requests": values}}]}}))

    def _told(self, status):
        return of(status, "one").get("resources", {}).get("limits", {})

    def _run(self, name, *policy):
        values = {"cpu": "100m", "memory": "64Mi"}
        return self.run_ready(name, container("one", *SLEEP, resources={"limits": values, "requests": values},
                                              resizePolicy=list(policy)))

    def test_limits_change_while_it_runs(self):
        before = of(self._run("grown"), "one")
        self.assertEqual((0.1, 64 << 20), self._limits("grown"))
        for cpu, memory, share, size in (("300m", "128Mi", 0.3, 128 << 20), ("50m", "48Mi", 0.05, 48 << 20)):
            self._resize("grown", cpu, memory)
            status = self.run_until("grown", lambda now, wanted={"cpu": cpu, "memory": memory}: self._told(now) == wanted,
                                    "told of its new limits", 120)
            self.assertEqual((share, size), self._limits("grown"))
            self.run_until("grown", lambda now: not [one for one in now["conditions"] if "Resize" in one["type"]],
                           "done with the change", 60)
            self.assertEqual((before["containerID"], 0), (of(status, "one")["containerID"], of(status, "one")["restartCount"]))

    def test_a_container_that_asks_for_it_starts_again(self):
        self._run("restarted", {"resourceName": "memory", "restartPolicy": "RestartContainer"})
        self._resize("restarted", "100m", "96Mi")
        self.run_until("restarted", lambda now: of(now, "one")["restartCount"] == 1 and
                       self._told(now).get("memory") == "96Mi", "started again", 120)
        self.assertEqual((0.1, 96 << 20), self._limits("restarted"))

    def test_a_change_waits_for_room_on_the_node(self):
        most = {"cpu": f"{int(self.node()['status']['allocatable']['cpu']) * 1000 - 400}m"}
        self.run_ready("first", container("one", *SLEEP, resources={"requests": most}))
        self._run("second")
        self._resize("second", "500m", "64Mi")
        self.run_until("second", lambda now: [one for one in now["conditions"] if one["type"] == "PodResizePending" and
                                              one["reason"] == "Deferred"], "told to wait", 60)
        self.assertEqual((0.1, 64 << 20), self._limits("second"))
        self.kubectl("delete", "pod", "first")
        self.run_until("second", lambda now: self._told(now) == {"cpu": "500m", "memory": "64Mi"}, "changed", 120)
        self.assertEqual((0.5, 64 << 20), self._limits("second"))

    def test_limits_of_the_pod_as_a_whole(self):
        self.run_ready("whole", container("one", *SLEEP), container("two", *SLEEP),
                       resources={"limits": {"cpu": "200m", "memory": "64Mi"}})
        for name in ("one", "two"):
            eater = "x=$(head -c 100000000 /dev/zero | tr '\\0' a); echo $x | wc -c"
            self.assertNotEqual(0, self.kubectl.call("exec", "whole", "-c", name, "--", "sh", "-c", eater).status)

    def test_the_use_of_files_over_the_limit_ends_a_pod(self):
        """Ephemeral storage: the kubelet counts what the runtime tells."""
        writer = "dd if=/dev/zero of=/tmp/big bs=1M count=40; exec sleep 100000"
        self.put("full", container("one", "sh", "-c", writer, resources={"limits": {"ephemeral-storage": "10Mi"}}))
        status = self.run_until("full", lambda now: now.get("phase") == "Failed", "evicted", 180)
        self.assertEqual("Evicted", status["reason"])
        self.assertIn("ephemeral", status["message"])
