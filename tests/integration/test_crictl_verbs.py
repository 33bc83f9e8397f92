"""Every verb of crictl, as a person debugging a node uses it; what it shows is compared with what was asked for.

The verbs are those of `crictl --help`: one that a new crictl brings and no test drives is a failure.
"""

import http.client
import re
import socket
import subprocess
import time

from case import BASE, NAMESPACE_POD, GantryTest, wait_until

LABELS = {"app": "web", "tier": "front"}
NOTES = {"note": "as it came: ü = \u2713"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Verbs(GantryTest):
    # Verb → what drives it here.
    DRIVEN = {
        "attach": "test_attach", "create": "test_create_start_ps_inspect_stop_rm", "exec": "test_exec",
        "version": "test_version_info_and_runtime_config", "images": "test_pull_images_inspecti_rmi",
        "inspect": "test_create_start_ps_inspect_stop_rm", "inspecti": "test_pull_images_inspecti_rmi",
        "imagefsinfo": "test_imagefsinfo", "inspectp": "test_runp_pods_inspectp_stopp_rmp", "logs": "test_logs",
        "port-forward": "test_port_forward", "ps": "test_create_start_ps_inspect_stop_rm",
        "pull": "test_pull_images_inspecti_rmi", "run": "test_run", "runp": "test_runp_pods_inspectp_stopp_rmp",
        "rm": "test_create_start_ps_inspect_stop_rm", "rmi": "test_pull_images_inspecti_rmi",
        "rmp": "test_runp_pods_inspectp_stopp_rmp", "pods": "test_runp_pods_inspectp_stopp_rmp",
        "start": "test_create_start_ps_inspect_stop_rm", "info": "test_version_info_and_runtime_config",
        "stop": "test_create_start_ps_inspect_stop_rm", "stopp": "test_runp_pods_inspectp_stopp_rmp",
        "update": "test_update", "config": "test_config_and_completion_are_crictl_s_own", "stats": "test_stats_and_statsp",
        "statsp": "test_stats_and_statsp", "metricsp": "test_metricsp_and_metricdescs",
        "metricdescs": "test_metricsp_and_metricdescs", "completion": "test_config_and_completion_are_crictl_s_own",
        "checkpoint": "test_checkpoint_says_that_it_is_not_there",
        "runtime-config": "test_version_info_and_runtime_config", "events": "test_events",
        "update-runtime-config": "test_update_runtime_config",
    }

    def test_no_verb_is_without_a_test(self):
        commands = re.search(r"(?s)COMMANDS:\n(.*?)\n\n", self.crictl("--help")).group(1)
        verbs = {line.split()[0].rstrip(",") for line in commands.splitlines() if line.startswith("   ")} - {"help"}
        self.assertEqual(set(), verbs - set(self.DRIVEN), "verbs that nothing here drives")
        self.assertEqual(set(), {name for name in self.DRIVEN.values() if not hasattr(self, name)})

    def web_pod(self, name="web", **more):
        return self.run_pod(name, labels=LABELS, annotations=NOTES, **more)

    def test_version_info_and_runtime_config(self):
        version = self.crictl("version")
        self.assertRegex(version, r"(?m)^RuntimeName: +gantry$")
        self.assertRegex(version, r"(?m)^RuntimeApiVersion: +v1$")
        info = self.crictl.json("info")
        conditions = {item["type"]: item["status"] for item in info["status"]["conditions"]}
        self.assertEqual({"RuntimeReady": True, "NetworkReady": True}, conditions)
        self.assertIn("", [handler.get("name", "") for handler in info["runtimeHandlers"]])
        self.assertEqual(str(self.daemon.state), info["config"]["stateDir"])
        self.assertIn("CGROUPFS", self.crictl("runtime-config"))

    def test_update_runtime_config(self):
        self.crictl("update-runtime-config", "--pod-cidr", "10.83.0.0/24")

    def test_runp_pods_inspectp_stopp_rmp(self):
        pod = self.web_pod(hostname="web-host", network=NAMESPACE_POD)
        self.run_pod("other", labels={"app": "other"})
        listed = self.crictl.json("pods", "-o", "json", "--label", "app=web")["items"]
        self.assertEqual([pod.id], [item["id"] for item in listed])
        self.assertEqual(pod.config["metadata"], listed[0]["metadata"])
        self.assertEqual((LABELS, NOTES), (listed[0]["labels"], listed[0]["annotations"]))
        self.assertEqual("SANDBOX_READY", listed[0]["state"])
        shown = self.crictl.json("inspectp", "-o", "json", pod.id)["status"]
        self.assertEqual((pod.config["metadata"], LABELS, NOTES),
                         (shown["metadata"], shown["labels"], shown["annotations"]))
        self.assertRegex(shown["network"]["ip"], r"^10\.83\.0\.\d+$")
        self.crictl("stopp", pod.id)
        self.assertEqual([pod.id], self.crictl("pods", "-q", "--state", "NotReady").split())
        self.crictl("rmp", pod.id)
        self.assertNotEqual(0, self.crictl.call("inspectp", pod.id).status)

    def test_create_start_ps_inspect_stop_rm(self):
        pod = self.web_pod()
        folder = self.daemon.folder / "mounted"
        folder.mkdir(exist_ok=True)
        container = self.create(pod, "one", "sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done",
                                labels=LABELS, annotations=NOTES, working_dir="/tmp",
                                envs=[{"key": "COLOUR", "value": "blue"}],
                                mounts=[{"host_path": str(folder), "container_path": "/data", "readonly": True}],
                                linux={"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512},
                                       "security_context": {"run_as_user": {"value": 1000}}})
        self.assertEqual("CONTAINER_CREATED", self.state(container))
        self.crictl("start", container)
        self.wait_output(pod, "one", "ready")
        listed = self.crictl.json("ps", "-o", "json", "--label", "app=web", "--pod", pod.id)["containers"]
        self.assertEqual([(container, pod.id, LABELS, NOTES, "CONTAINER_RUNNING")],
                         [(item["id"], item["podSandboxId"], item["labels"], item["annotations"], item["state"])
                          for item in listed])
        image = self.crictl.json("inspecti", "-o", "json", BASE)["status"]["id"]
        shown = self.crictl.json("inspect", "-o", "json", container)
        status = shown["status"]
        self.assertEqual(({"name": "one"}, BASE, image, str(pod.log("one"))),
                         ({"name": status["metadata"]["name"]}, status["image"]["image"], status["imageId"],
                          status["logPath"]))
        self.assertEqual(("/data", str(folder), True), tuple(
            status["mounts"][0][key] for key in ("containerPath", "hostPath", "readonly")))
        self.assertEqual("1000", str(status["user"]["linux"]["uid"]))
        limits = status["resources"]["linux"]
        self.assertEqual((str(64 << 20), "512"), (limits["memoryLimitInBytes"], limits["cpuShares"]))
        self.crictl("stop", "--timeout", "20", container)
        self.assertEqual([container], self.crictl("ps", "-a", "-q", "--state", "Exited").split())
        self.assertEqual(4, self.status(container)["exitCode"])
        self.crictl("rm", container)
        self.assertEqual([], self.containers())

    def test_run(self):
        pod = self.crictl.document(self.pod_config("run"))
        container = self.crictl.document(self.container_config("one", "sleep", "1000"))
        made = self.crictl("run", container, pod)
        self.assertEqual("CONTAINER_RUNNING", self.state(made.split()[-1]))

    def test_exec(self):
        container = self.launch(self.web_pod(), "one", "sleep", "1000")
        self.assertEqual("said", self.crictl("exec", "-s", container, "echo", "said"))
        self.assertEqual("said", self.crictl("exec", container, "echo", "said"))
        answer = self.crictl.call("exec", container, "sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(("out", "err"), (answer.out.strip(), answer.error.splitlines()[0]))
        self.assertNotEqual(0, answer.status)
        fed = subprocess.run([*self.crictl.command, "exec", "-i", container, "wc", "-c"], input=b"x" * 100000,
                             capture_output=True, timeout=60, check=True)
        self.assertEqual(b"100000", fed.stdout.strip())

    def test_attach(self):
        container = self.launch(self.web_pod(), "one", "sh", "-c", "while read line; do echo got $line; done",
                                stdin=True, stdin_once=True)
        done = subprocess.run([*self.crictl.command, "attach", "-i", container], input=b"one\ntwo\n",
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(b"got one\ngot two\n", done.stdout, done.stderr)
        self.assertEqual(0, self.wait_exited(container)["exitCode"])

    def test_port_forward(self):
        pod = self.web_pod(network=NAMESPACE_POD)
        self.launch(pod, "one", "sh", "-c", "mkdir /www; echo hello from the pod >/www/index.html; exec httpd -f -p 80 -h /www")
        port = free_port()
        forward = subprocess.Popen([*self.crictl.command, "port-forward", pod.id, f"{port}:80"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            def page():
                try:
                    web = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    web.request("GET", "/")
                    return web.getresponse().read()
                except OSError:
                    return None
            self.assertEqual(b"hello from the pod\n", wait_until(page, "the page comes"))
        finally:
            forward.kill()
            forward.communicate()

    def test_logs(self):
        pod = self.web_pod()
        container = self.launch(pod, "one", "sh", "-c", "echo out; echo err >&2; sleep 0.5; echo last")
        self.wait_exited(container)
        answer = self.crictl.call("logs", container)
        self.assertEqual(("out\nlast\n", "err\n"), (answer.out, answer.error))
        self.assertEqual("last", self.crictl("logs", "--tail", "1", container))
        self.assertRegex(self.crictl("logs", "--timestamps", "--tail", "1", container), r"^\d{4}-\d\d-\d\dT\S+ last$")

    def test_update(self):
        container = self.launch(self.web_pod(), "one", "sleep", "1000")
        self.crictl("update", "--memory", str(96 << 20), "--cpu-share", "300", container)
        limits = self.status(container)["resources"]["linux"]
        self.assertEqual((str(96 << 20), "300"), (limits["memoryLimitInBytes"], limits["cpuShares"]))

    def test_stats_and_statsp(self):
        pod = self.web_pod(network=NAMESPACE_POD)
        container = self.launch(pod, "one", "sleep", "1000", labels=LABELS)
        stats = self.crictl.json("stats", "-o", "json", "--id", container)["stats"]
        self.assertEqual([(container, "one", LABELS)], [
            (item["attributes"]["id"], item["attributes"]["metadata"]["name"], item["attributes"]["labels"])
            for item in stats])
        self.assertGreater(int(stats[0]["memory"]["workingSetBytes"]["value"]), 0)
        pods = self.crictl.json("statsp", "-o", "json", "--id", pod.id)["stats"]
        self.assertEqual([(pod.id, pod.config["metadata"], LABELS)], [
            (item["attributes"]["id"], item["attributes"]["metadata"], item["attributes"]["labels"]) for item in pods])
        self.assertEqual("eth0", pods[0]["linux"]["network"]["defaultInterface"]["name"])

    def test_metricsp_and_metricdescs(self):
        pod = self.web_pod(network=NAMESPACE_POD)
        self.launch(pod, "one", "sleep", "1000")
        described = {item["name"]: item["labelKeys"] for item in self.crictl.json("metricdescs")["descriptors"]}
        metrics = self.crictl.json("metricsp")["podMetrics"]
        self.assertEqual([pod.id], [item["podSandboxId"] for item in metrics])
        samples = metrics[0].get("metrics", []) + [
            sample for item in metrics[0]["containerMetrics"] for sample in item["metrics"]]
        self.assertIn("container_memory_working_set_bytes", {sample["name"] for sample in samples})
        for sample in samples:
            self.assertEqual(len(described[sample["name"]]), len(sample["labelValues"]), sample)

    def test_events(self):
        watching = subprocess.Popen([*self.crictl.command, "events"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                    stdin=subprocess.DEVNULL, text=True)
        try:
            time.sleep(1)
            pod = self.web_pod()
            self.crictl("stopp", pod.id)
            self.crictl("rmp", pod.id)
            time.sleep(1)
        finally:
            watching.kill()
            heard, _ = watching.communicate()
        self.assertIn(pod.id, heard)
        self.assertEqual(["CREATED", "STARTED", "STOPPED", "DELETED"],
                         re.findall(r"CONTAINER_(CREATED|STARTED|STOPPED|DELETED)_EVENT", heard))

    def test_pull_images_inspecti_rmi(self):
        self.crictl("rmi", BASE)
        self.addCleanup(self.crictl, "pull", BASE)
        pulled = self.crictl("pull", BASE)
        listed = self.crictl.json("images", "-o", "json", BASE)["images"]
        self.assertEqual([[BASE]], [item["repoTags"] for item in listed])
        shown = self.crictl.json("inspecti", "-o", "json", BASE)
        self.assertEqual((listed[0]["id"], [BASE]), (shown["status"]["id"], shown["status"]["repoTags"]))
        self.assertIn(listed[0]["id"], pulled + " " + shown["status"]["id"])
        self.crictl("rmi", listed[0]["id"])
        self.assertEqual([], self.crictl.json("images", "-o", "json")["images"])

    def test_imagefsinfo(self):
        status = self.crictl.json("imagefsinfo", "-o", "json")["status"]
        usage = status["imageFilesystems"][0]
        self.assertGreater(int(usage["usedBytes"]["value"]), 0)
        self.assertIn(str(self.daemon.root), usage["fsId"]["mountpoint"])

    def test_checkpoint_says_that_it_is_not_there(self):
        container = self.launch(self.web_pod(), "one", "sleep", "1000")
        self.assert_refused("Unimplemented", ["CheckpointContainer"], "checkpoint", "--export", "/dev/null", container)

    def test_config_and_completion_are_crictl_s_own(self):
        self.assertIn("runtime-endpoint", self.crictl("config", "--list"))
        self.assertIn("crictl", self.crictl("completion", "bash"))
