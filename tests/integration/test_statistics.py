"""Statistics and metrics of containers and pods."""

import collections
import http.client
import itertools
import json
import os
import pathlib
import socket
import threading

from case import BASE, NAMESPACE_POD, GantryTest, wait_until
from cri_call import CriCall

MEGABYTE = 1 << 20
SECOND = 1_000_000_000
# Not sleep alone at the end: the shell would become it, without what it holds.
EATER = "x=$(head -c {0} /dev/zero | tr '\\0' a); echo ready; sleep 1000; true"


def count(message, *path):
    """The number at the end of a path of fields; None when it is not there."""
    for name in path:
        message = (message or {}).get(name)
    return None if message is None else int(message["value"] if isinstance(message, dict) else message)


class StatisticsTest(GantryTest):
    def setUp(self):
        super().setUp()
        self.call = CriCall(self.lane.binaries, self.daemon)

    def ask(self, method, **request):
        reply = self.call(method, request)
        self.assertEqual("OK", reply.code, reply.text)
        return reply

    def list(self, **wanted):
        """Statistics by container id; a filter only when there is something to filter by."""
        request = {"filter": wanted} if wanted else {}
        return {one["attributes"]["id"]: one for one in self.ask("ListContainerStats", **request).message["stats"]}

    def stats(self, container):
        return self.ask("ContainerStats", container_id=container).message["stats"]

    def pods_by_id(self, **wanted):
        request = {"filter": wanted} if wanted else {}
        return {one["attributes"]["id"]: one for one in self.ask("ListPodSandboxStats", **request).message["stats"]}

    def samples(self, pod, container=None):
        """Samples of a pod, or of a container of it: (name, labels) -> value."""
        keys = {one["name"]: one["label_keys"] for one in self.ask("ListMetricDescriptors").message["descriptors"]}
        found = {}
        for one in self.ask("ListPodSandboxMetrics").message["pod_metrics"]:
            if one["pod_sandbox_id"] != pod.id:
                continue
            metrics = one["metrics"] if container is None else [
                sample for inner in one["container_metrics"] if inner["container_id"] == container
                for sample in inner["metrics"]]
            for sample in metrics:
                self.assertEqual(len(keys[sample["name"]]), len(sample["label_values"]), sample)
                labels = dict(zip(keys[sample["name"]], sample["label_values"]))
                key = (sample["name"], tuple(sorted(labels.items())))
                self.assertNotIn(key, found, "Prometheus refuses two samples with the same labels")
                found[key] = count(sample, "value")
        return found

    @staticmethod
    def value(samples, name, **labels):
        values = [number for (family, pairs), number in samples.items()
                  if family == name and set(labels.items()) <= set(pairs)]
        return values[0] if values else None


class Lists(StatisticsTest):
    def test_row_81_created_running_and_exited_containers_by_every_filter(self):
        pod, other = self.run_pod("one"), self.run_pod("two")
        created = self.create(pod, "created", "sleep", "1000")
        running = self.launch(pod, "running", "sleep", "1000", labels={"app": "web"}, annotations={"a": "b"})
        exited = self.launch(pod, "exited", "true")
        self.wait_exited(exited)
        elsewhere = self.launch(other, "elsewhere", "sleep", "1000", labels={"app": "db"})
        self.assertEqual({running, elsewhere}, set(self.list()))
        self.assertEqual({running}, set(self.list(id=running)))
        self.assertEqual({running}, set(self.list(id=running[:20])))
        self.assertEqual({elsewhere}, set(self.list(pod_sandbox_id=other.id)))
        self.assertEqual({running}, set(self.list(label_selector={"app": "web"})))
        self.assertEqual(set(), set(self.list(label_selector={"app": "none"})))
        self.assertEqual(set(), set(self.list(id=exited)))
        attributes = self.list()[running]["attributes"]
        self.assertEqual(("running", {"app": "web"}, {"a": "b"}),
                         (attributes["metadata"]["name"], attributes["labels"], attributes["annotations"]))
        # One by one they have values or none, and never an error.
        for container in (created, running, exited):
            self.assertGreater(count(self.stats(container), "writable_layer", "timestamp"), 0)
        self.assertIsNone(count(self.stats(exited), "cpu", "usage_core_nano_seconds"))
        self.assertEqual("NOT_FOUND", self.call("ContainerStats", {"container_id": "none"}).code)

    def test_three_started_containers_without_a_filter(self):
        pod = self.run_pod()
        three = {self.launch(pod, f"c{i}", "sleep", "1000") for i in range(3)}
        stats = self.list()
        self.assertEqual(three, set(stats))
        for one in stats.values():
            self.assertGreater(count(one, "cpu", "timestamp"), 0)
            self.assertGreater(count(one, "memory", "timestamp"), 0)
            self.assertGreater(count(one, "memory", "working_set_bytes"), 0)
            self.assertGreater(count(one, "writable_layer", "used_bytes"), 0)
            self.assertEqual(str(self.daemon.root), one["writable_layer"]["fs_id"]["mountpoint"])

    def test_row_81_pods_by_every_filter(self):
        pod = self.run_pod("one", labels={"app": "web"})
        stopped = self.run_pod("two")
        self.crictl("stopp", stopped.id)
        self.assertEqual({pod.id}, set(self.pods_by_id()))
        self.assertEqual({pod.id}, set(self.pods_by_id(id=pod.id)))
        self.assertEqual({pod.id}, set(self.pods_by_id(label_selector={"app": "web"})))
        self.assertEqual(set(), set(self.pods_by_id(label_selector={"app": "db"})))
        single = self.ask("PodSandboxStats", pod_sandbox_id=stopped.id).message["stats"]
        self.assertEqual("two", single["attributes"]["metadata"]["name"])
        # What the kubelet asks at its start: UNIMPLEMENTED would mean "use cAdvisor".
        for unknown in ("", "none"):
            self.assertEqual("NOT_FOUND", self.call("PodSandboxStats", {"pod_sandbox_id": unknown}).code)

    def test_row_84_many_containers_unary_and_streamed(self):
        # 100 and not 1,000: what a thousand processes cost this machine is not what is tested.
        pod = self.run_pod()
        all_of_them = {self.launch(pod, f"c{i}", "sleep", "1000") for i in range(100)}
        held = self.descriptors()
        self.assertEqual(all_of_them, set(self.list()))
        self.assertGreater(self.descriptors(), held)
        streamed = [one["attributes"]["id"] for message in self.ask("StreamContainerStats").messages
                    for one in message["container_stats"]]
        self.assertEqual(sorted(all_of_them), sorted(streamed))
        stats = self.ask("StreamPodSandboxStats").messages
        self.assertEqual([100], [len(one["linux"]["containers"]) for one in stats[0]["pod_sandbox_stats"]])
        metrics = self.ask("StreamPodSandboxMetrics").messages
        self.assertEqual([100], [len(one["container_metrics"]) for one in metrics[0]["pod_sandbox_metrics"]])
        self.remove_everything()
        wait_until(lambda: self.descriptors() <= held, "the descriptors of the pods are closed")
        for method in ("StreamContainerStats", "StreamPodSandboxStats", "StreamPodSandboxMetrics"):
            self.assertEqual([], self.ask(method).messages)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def test_containers_that_come_and_go_fail_no_list(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        stays = self.launch(pod, "stays", "sleep", "1000")
        ended = threading.Event()

        def churn():
            for i in itertools.count():
                if ended.is_set():
                    return
                self.crictl("rm", "-f", self.launch(pod, f"short-{i}", "sleep", "1000"))

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(20):
                self.assertIn(stays, self.list())
                self.assertIn(pod.id, self.pods_by_id())
                self.ask("ListPodSandboxMetrics")
        finally:
            ended.set()
            thread.join()

    def test_a_pod_without_its_cgroup_fails_no_list(self):
        bad, good = self.run_pod("bad"), self.run_pod("good")
        self.launch(good, "one", "sleep", "1000")
        for group in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.daemon.cgroup}/bad"):
            group.rmdir()
        stats = self.pods_by_id()
        self.assertEqual({bad.id, good.id}, set(stats))
        self.assertIsNone(stats[bad.id]["linux"].get("cpu"))
        self.assertGreater(count(stats[good.id]["linux"], "memory", "usage_bytes"), 0)
        self.ask("ListPodSandboxMetrics")

    def test_statistics_go_on_after_a_restart_of_the_daemon(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        container = self.launch(pod, "one", "sleep", "1000")
        before = count(self.stats(container), "cpu", "usage_core_nano_seconds")
        self.daemon.kill()
        self.daemon.start()
        self.assertGreaterEqual(count(self.list()[container], "cpu", "usage_core_nano_seconds"), before)
        self.assertEqual("eth0", self.pods_by_id()[pod.id]["linux"]["network"]["default_interface"]["name"])


class Values(StatisticsTest):
    def test_cpu_memory_and_files_are_counted(self):
        pod = self.run_pod()
        limits = {"linux": {"resources": {"memory_limit_in_bytes": 256 * MEGABYTE}}}
        container = self.launch(pod, "one", "sh", "-c", EATER.format(20 * MEGABYTE), **limits)
        self.wait_output(pod, "one", "ready")
        idle = self.stats(container)
        self.assertGreater(count(idle, "memory", "rss_bytes"), 20 * MEGABYTE)
        self.assertGreaterEqual(count(idle, "memory", "usage_bytes"), count(idle, "memory", "working_set_bytes"))
        self.assertGreater(count(idle, "memory", "working_set_bytes"), 20 * MEGABYTE)
        self.assertEqual(256 * MEGABYTE, count(idle, "memory", "working_set_bytes") +
                         count(idle, "memory", "available_bytes"))
        self.assertGreater(count(idle, "memory", "page_faults"), 0)
        self.assertEqual(0, count(idle, "swap", "swap_usage_bytes"))

        self.crictl.call("exec", "-s", container, "timeout", "1", "sh", "-c", "while :; do :; done")
        busy = self.stats(container)
        used = count(busy, "cpu", "usage_core_nano_seconds") - count(idle, "cpu", "usage_core_nano_seconds")
        self.assertGreater(used, SECOND / 10)
        self.assertGreater(count(busy, "cpu", "usage_nano_cores"), SECOND / 50)

        self.execute(container, "dd", "if=/dev/zero", "of=/written", f"bs={MEGABYTE}", "count=5")
        files = count(idle, "writable_layer", "inodes_used")
        wait_until(lambda: count(self.stats(container), "writable_layer", "used_bytes") >= 5 * MEGABYTE,
                   "the file is counted")
        self.assertEqual(files + 1, count(self.stats(container), "writable_layer", "inodes_used"))
        self.execute(container, "rm", "/written")
        wait_until(lambda: count(self.stats(container), "writable_layer", "used_bytes") < MEGABYTE,
                   "the file is no more counted")

    def test_pressure_is_told_where_the_kernel_knows_it(self):
        if not pathlib.Path("/proc/pressure/cpu").exists():
            self.skipTest("this kernel has no PSI")
        pod = self.run_pod()
        stats = self.stats(self.launch(pod, "one", "sleep", "1000"))
        for kind in ("cpu", "memory", "io"):
            for line in ("Some", "Full"):
                self.assertIn("Total", stats[kind]["psi"][line])
        self.assertIn("io", self.pods_by_id()[pod.id]["linux"])

    def test_a_pod_is_the_sum_of_its_containers(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        first = self.launch(pod, "first", "sh", "-c", EATER.format(10 * MEGABYTE))
        second = self.launch(pod, "second", "sh", "-c", EATER.format(10 * MEGABYTE))
        for name in ("first", "second"):
            self.wait_output(pod, name, "ready")
        stats = self.pods_by_id()[pod.id]
        self.assertEqual("pod", stats["attributes"]["metadata"]["name"])
        linux = stats["linux"]
        self.assertEqual({first, second}, {one["attributes"]["id"] for one in linux["containers"]})
        self.assertGreater(count(linux, "memory", "rss_bytes"), 20 * MEGABYTE)
        self.assertGreater(count(linux, "cpu", "usage_core_nano_seconds"), 0)
        self.assertEqual(4, count(linux, "process", "process_count"))  # two shells, two sleeps
        address = self.crictl.json("inspectp", "-o", "json", pod.id)["status"]["network"]["ip"]
        before = count(linux, "network", "default_interface", "rx_bytes")
        self.execute(first, "ping", "-c", "3", "-W", "2", address.rpartition(".")[0] + ".1")
        linux = self.pods_by_id()[pod.id]["linux"]
        self.assertEqual("eth0", linux["network"]["default_interface"]["name"])
        self.assertGreater(count(linux, "network", "default_interface", "rx_bytes"), before)
        self.assertEqual([], linux["network"].get("interfaces", []))
        self.assertEqual(0, count(linux, "network", "default_interface", "rx_errors"))

    def test_a_pod_on_the_hosts_network_has_none_of_its_own(self):
        pod = self.run_pod()
        self.assertIsNone(self.pods_by_id()[pod.id]["linux"].get("network"))

    def test_row_80_only_an_exec_is_killed_for_lack_of_memory(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sleep", "1000",
                                linux={"resources": {"memory_limit_in_bytes": 32 * MEGABYTE}})
        self.assertEqual(0, self.value(self.samples(pod, container), "container_oom_events_total"))
        self.assertNotEqual(0, self.crictl.call("exec", "-s", container, "tail", "/dev/zero").status)
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        samples = self.samples(pod, container)
        self.assertEqual(1, self.value(samples, "container_oom_events_total"))
        self.assertGreater(self.value(samples, "container_memory_failcnt"), 0)
        self.assertEqual("hello", self.execute(container, "echo", "hello"))


class Metrics(StatisticsTest):
    def test_row_81_every_family_has_a_sample_with_all_labels(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        resources = {"cpu_period": 100000, "cpu_quota": 20000, "cpu_shares": 1024,
                     "memory_limit_in_bytes": 64 * MEGABYTE, "memory_swap_limit_in_bytes": 64 * MEGABYTE}
        container = self.launch(pod, "one", "sleep", "1000", linux={"resources": resources})
        self.execute(container, "sh", "-c", "for i in 1 2 3; do echo hi > /file$i; done; sync")
        inside, around = self.samples(pod, container), self.samples(pod)
        descriptors = self.ask("ListMetricDescriptors").message["descriptors"]
        self.assertEqual(56, len(descriptors))
        found = {name for name, _ in [*inside, *around]}
        # The rest is of this machine: whether its disk counts by cgroup, and what v2 keeps of huge pages.
        optional = {"container_blkio_device_usage_total", "container_fs_reads_bytes_total", "container_fs_reads_total",
                    "container_fs_writes_bytes_total", "container_fs_writes_total", "container_hugetlb_usage_bytes",
                    "container_hugetlb_max_usage_bytes"}
        if not pathlib.Path("/proc/pressure/cpu").exists():
            optional |= {one["name"] for one in descriptors if "_pressure_" in one["name"]}
        self.assertEqual(set(), {one["name"] for one in descriptors} - found - optional)
        for name, pairs in inside:
            labels = dict(pairs)
            self.assertEqual(("one", "pod", "test", container),
                             tuple(labels[key] for key in ("container", "pod", "namespace", "name")), name)
            self.assertTrue(labels["image"] and labels["id"].endswith(container), name)
        self.assertEqual({("", "pod", "test")}, {tuple(dict(pairs)[key] for key in ("container", "pod", "namespace"))
                                                for _, pairs in around})
        self.assert_values(inside, around)

    def assert_values(self, inside, around):
        expected = {"container_spec_cpu_period": 100000, "container_spec_cpu_quota": 20000,
                    "container_spec_cpu_shares": 1024, "container_spec_memory_limit_bytes": 64 * MEGABYTE,
                    "container_processes": 1, "container_threads": 1, "container_sockets": 0}
        self.assertEqual(expected, {name: self.value(inside, name) for name in expected})
        started = self.value(inside, "container_start_time_seconds")
        self.assertLessEqual(started, self.value(inside, "container_last_seen"))
        self.assertLess(self.value(inside, "container_last_seen") - started, 3600)
        self.assertGreater(self.value(inside, "container_file_descriptors"), 2)
        self.assertGreater(self.value(inside, "container_ulimits_soft", ulimit="max_open_files"), 0)
        self.assertGreater(self.value(inside, "container_memory_usage_bytes"), 0)
        self.assertGreater(self.value(inside, "container_fs_limit_bytes"), self.value(inside, "container_fs_usage_bytes"))
        self.assertIsNotNone(self.value(around, "container_network_receive_bytes_total", interface="eth0"))
        self.assertIsNone(self.value(around, "container_network_receive_bytes_total", interface="lo"))

    def test_row_81_a_pod_without_running_containers_has_no_container_metrics(self):
        pod = self.run_pod()
        self.create(pod, "created", "sleep", "1000")
        self.wait_exited(self.launch(pod, "exited", "true"))
        pods = self.ask("ListPodSandboxMetrics").message["pod_metrics"]
        self.assertEqual([(pod.id, [])], [(one["pod_sandbox_id"], one.get("container_metrics", [])) for one in pods])

    def test_two_attempts_of_a_pod_in_one_cgroup_make_no_sample_twice(self):
        self.run_pod("same", network=NAMESPACE_POD)
        config = self.pod_config("same", NAMESPACE_POD)
        config["metadata"]["attempt"] = 1
        self.crictl("runp", self.crictl.document(config))
        seen = collections.Counter((sample["name"], *sample["label_values"])
                                   for one in self.ask("ListPodSandboxMetrics").message["pod_metrics"]
                                   for sample in one["metrics"])
        self.assertEqual({1}, set(seen.values()))

    def test_crictl_shows_statistics_and_metrics(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        container = self.launch(pod, "one", "sleep", "1000")
        self.assertRegex(self.crictl("stats", "-a"), rf"{container[:13]}\s+one\s")
        self.assertEqual(container, self.crictl.json("stats", "-o", "json", container)["stats"][0]["attributes"]["id"])
        self.assertIn(pod.id[:13], self.crictl("statsp"))
        self.assertEqual(pod.id, self.crictl.json("statsp", "-o", "json", "--id", pod.id)["stats"][0]["attributes"]["id"])
        self.assertIn("container_memory_working_set_bytes", self.crictl("metricdescs"))
        self.assertIn(container, self.crictl("metricsp"))


class Cadvisor(GantryTest):
    """The compatibility socket, asked as cAdvisor's handler for CRI-O asks."""

    def setUp(self):
        super().setUp()
        self.socket = self.daemon.folder / "crio.sock"
        self.restart(f'[metrics]\ncadvisor_socket = "{self.socket}"\n')

    def tearDown(self):
        self.remove_everything()
        self.restart("")
        super().tearDown()

    def restart(self, section):
        self.daemon.stop()
        kept = self.daemon.config.read_text().partition("[metrics]")[0]
        self.daemon.config.write_text(kept + section)
        self.daemon.start()

    def get(self, connection, path):
        connection.request("GET", path, headers={"Host": "crio"})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()

    def connect(self):
        connection = http.client.HTTPConnection("crio")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        connection.sock.connect(str(self.socket))
        self.addCleanup(connection.close)
        return connection

    def test_a_container_is_found_by_the_name_of_its_cgroup(self):
        labels = {"io.kubernetes.container.name": "one", "io.kubernetes.pod.name": "pod"}
        pod = self.run_pod(network=NAMESPACE_POD)
        container = self.launch(pod, "one", "sh", "-c", "echo text > /file; sleep 1000", labels=labels,
                                annotations={"io.kubernetes.container.restartCount": "2"})
        connection = self.connect()  # for all requests, as Go's client has it
        status, text = self.get(connection, "/info")
        self.assertEqual(200, status)
        self.assertEqual(("overlay", str(self.daemon.root)),
                         tuple(json.loads(text)[key] for key in ("storage_driver", "storage_root")))
        groups = list(pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.daemon.cgroup}/pod/crio-{container}"))
        self.assertTrue(groups)
        status, text = self.get(connection, f"/containers/{container}")
        self.assertEqual(200, status)
        found = json.loads(text)
        self.assertEqual(("one", BASE, labels, "2", str(pod.log("one"))),
                         (found["name"], found["image"], found["labels"],
                          found["annotations"]["io.kubernetes.container.restartCount"], found["log_path"]))
        self.assertIn(str(found["pid"]), (groups[0] / "cgroup.procs").read_text().split())
        self.assertEqual(found["ip_addresses"][0], found["ip_address"])
        self.assertRegex(found["ip_address"], r"^10\.83\.")
        # Where cAdvisor measures what the container has written.
        written = pathlib.Path(found["root"]) / "diff" / "file"
        wait_until(written.exists, f"{written} is there")
        self.assertEqual("text\n", written.read_text())
        self.assertGreater(int(found["created_time"]), 0)

    def test_what_is_not_there_is_404_and_the_connection_goes_on(self):
        connection = self.connect()
        for path in ("/containers/none", "/containers/", "/", "/pause/x"):
            self.assertEqual(404, self.get(connection, path)[0], path)
        connection.request("POST", "/info", body="")
        reply = connection.getresponse()
        reply.read()
        self.assertEqual(405, reply.status)
        self.assertEqual(200, self.get(connection, "/info")[0])

    def test_only_root_may_ask_and_idle_clients_hold_up_nobody(self):
        self.assertEqual(0o600, self.socket.stat().st_mode & 0o777)
        held = [self.connect() for _ in range(5)]
        self.assertEqual(200, self.get(self.connect(), "/info")[0])
        self.assertEqual(200, self.get(held[0], "/info")[0])

    def test_a_killed_daemons_socket_is_replaced_and_a_living_ones_is_not(self):
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(200, self.get(self.connect(), "/info")[0])
        self.daemon.stop()
        self.assertFalse(self.socket.exists())
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.socket))
            other.listen()
            with self.assertRaisesRegex(RuntimeError, "somebody listens"):
                self.daemon.start()
            self.socket.unlink()
        self.daemon.start()
