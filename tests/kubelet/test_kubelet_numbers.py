"""What a kubelet tells of its pods: /stats/summary, /metrics/resource, /metrics/cadvisor."""

import json

from kubelet_case import KubeletCase, container, wait_until

BUSY = ("sh", "-c", "x=$(head -c 20000000 /dev/zero | tr '\\0' a); while :; do :; done")


class KubeletNumbers(KubeletCase):
    def setUp(self):
        super().setUp()
        self.run_ready("busy", container("one", *BUSY, resources={"limits": {"cpu": "200m"}}))

    def _summary(self):
        found = json.loads(self.kubelet.get("/stats/summary"))["pods"]
        return next((one for one in found if one["podRef"]["name"] == "busy-node"), None)

    def test_the_summary_has_cpu_memory_network_and_files(self):
        wait_until(lambda: (self._summary() or {}).get("cpu", {}).get("usageNanoCores"), "the summary knows the pod", 60)
        wait_until(lambda: self._summary()["containers"][0]["memory"]["workingSetBytes"] > 10_000_000, "its memory", 60)
        summary = self._summary()
        one = summary["containers"][0]
        self.assertEqual("one", one["name"])
        self.assertGreater(one["cpu"]["usageCoreNanoSeconds"], 1_000_000)
        self.assertGreater(summary["network"]["rxBytes"], 0)
        self.assertGreaterEqual(one["rootfs"]["usedBytes"], 0)
        self.assertGreaterEqual(summary["process_stats"]["process_count"], 1)

    def test_prometheus_finds_the_container_in_both_places(self):
        labels = 'container="one"'

        def lines(path, family):
            return [line for line in self.kubelet.get(path).splitlines()
                    if line.startswith(family) and labels in line and "busy-node" in line]

        wait_until(lambda: lines("/metrics/resource", "container_memory_working_set_bytes"), "/metrics/resource", 60)
        wait_until(lambda: lines("/metrics/resource", "container_cpu_usage_seconds_total"), "CPU time", 60)
        for family in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_processes",
                       "container_fs_usage_bytes"):
            wait_until(lambda family=family: lines("/metrics/cadvisor", family), f"{family} in /metrics/cadvisor", 60)
