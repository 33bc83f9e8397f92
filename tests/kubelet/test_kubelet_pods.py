"""What a kubelet does with pods over their life."""

import urllib.error

from case import BRIDGE
from kubelet_case import KubeletCase, container, of

SLEEP = ("sleep", "100000")


class KubeletPods(KubeletCase):
    def test_a_pod_runs_with_an_address_and_its_log_is_read(self):
        status = self.run_ready("plain", container("one", "sh", "-c", "echo hello; echo oh >&2; exec sleep 100000"))
        self.assertRegex(status["podIP"], r"^10\.83\.0\.")
        self.assertTrue(of(status, "one")["containerID"].startswith("gantry://"), status)
        self.assertIn("hello\n", self.kubelet.logs("plain", "one"))
        self.assertIn("oh\n", self.kubelet.logs("plain", "one", tailLines=5))
        self.assertIn(" hello", self.kubelet.logs("plain", "one", timestamps="true"))

    def test_a_command_runs_in_a_container_and_its_failure_is_told(self):
        self.run_ready("commands", container("one", *SLEEP))
        self.assertEqual("commands-node\n", self.kubelet.run("commands", "one", "hostname"))
        with self.assertRaises(urllib.error.HTTPError):
            self.kubelet.run("commands", "one", "false")

    def test_a_container_that_crashes_starts_again_and_its_previous_log_is_kept(self):
        self.put("crashing", container("one", "sh", "-c", "echo life of $$; sleep 1; exit 7"))
        status = self.run_until("crashing", lambda now: of(now, "one")["restartCount"] >= 1, "started again", 90)
        self.assertEqual(7, of(status, "one")["lastState"]["terminated"]["exitCode"], status)
        self.assertIn("life of", self.kubelet.logs("crashing", "one", previous="true"))

    def test_a_pod_that_ends_well_has_succeeded(self):
        self.put("done", container("one", "true"), restartPolicy="Never")
        status = self.run_until("done", lambda now: now.get("phase") == "Succeeded", "at its end")
        ended = of(status, "one")["state"]["terminated"]
        self.assertEqual((0, "Completed"), (ended["exitCode"], ended["reason"]))

    def test_a_program_that_is_not_there_is_told_with_its_name(self):
        self.put("wrong", container("one", "/no/such/program"), restartPolicy="Never")
        status = self.run_until("wrong", lambda now: now.get("phase") == "Failed", "failed")
        ended = of(status, "one")["state"]["terminated"]
        self.assertEqual((128, "StartError"), (ended["exitCode"], ended["reason"]), ended)
        self.assertIn("/no/such/program", ended["message"])

    def test_an_image_that_is_not_there_is_told(self):
        self.put("unknown", {**container("one"), "image": "docker.io/library/nothing:1"})
        status = self.run_until("unknown", lambda now: of(now, "one")["state"].get("waiting", {}).get("reason")
                                in ("ErrImagePull", "ImagePullBackOff"), "waiting for an image")
        self.assertIn("library/nothing", of(status, "one")["state"]["waiting"]["message"])

    def test_memory_over_the_limit_is_told_as_oomkilled(self):
        eater = "x=$(head -c 100000000 /dev/zero | tr '\\0' a); echo $x | wc -c"
        self.put("greedy", container("one", "sh", "-c", eater, resources={"limits": {"memory": "32Mi"}}),
                 restartPolicy="Never")
        status = self.run_until("greedy", lambda now: now.get("phase") == "Failed", "failed")
        ended = of(status, "one")["state"]["terminated"]
        self.assertEqual((137, "OOMKilled"), (ended["exitCode"], ended["reason"]), ended)

    def test_init_containers_run_one_after_the_other_and_a_sidecar_stays(self):
        volume = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
        self.put("ordered", container("main", "sh", "-c", "cat /shared/order; exec sleep 100000", **volume),
                 initContainers=[container("first", "sh", "-c", "echo first >> /shared/order", **volume),
                                 container("side", "sh", "-c", "echo side >> /shared/order; exec sleep 100000",
                                           restartPolicy="Always",
                                           startupProbe={"exec": {"command": ["test", "-e", "/shared/order"]},
                                                         "periodSeconds": 1}, **volume),
                                 container("last", "sh", "-c", "echo last >> /shared/order", **volume)],
                 volumes=[{"name": "shared", "emptyDir": {}}])
        status = self.run_until("ordered", lambda now: "running" in of(now, "main")["state"], "running")
        self.assertIn("running", of(status, "side", "initContainerStatuses")["state"])
        self.assertEqual("first\nside\nlast\n", self.kubelet.logs("ordered", "main"))

    def test_hooks_run_at_start_and_stop(self):
        out = self.daemon.folder / "hooks"
        out.mkdir()
        self.addCleanup(out.rmdir)
        mount = {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}
        hooks = {"postStart": {"exec": {"command": ["touch", "/out/started"]}},
                 "preStop": {"exec": {"command": ["touch", "/out/stopping"]}}}
        self.run_ready("hooked", container("one", *SLEEP, lifecycle=hooks, **mount),
                       volumes=[{"name": "out", "hostPath": {"path": str(out)}}])
        self.assertTrue((out / "started").exists())
        self.kubelet.take_away("hooked")
        self.names.remove("hooked")
        self._end()
        self.assertTrue((out / "stopping").exists())
        for file in out.iterdir():
            file.unlink()

    def test_a_failing_liveness_probe_starts_the_container_again(self):
        probe = {"exec": {"command": ["test", "!", "-e", "/tmp/ill"]}, "periodSeconds": 1, "failureThreshold": 1}
        status = self.run_ready("ill", container("one", *SLEEP, livenessProbe=probe))
        first = of(status, "one")["containerID"]
        self.kubelet.run("ill", "one", "touch", "/tmp/ill")
        status = self.run_until("ill", lambda now: of(now, "one")["restartCount"] == 1, "started again")
        self.assertNotEqual(first, of(status, "one")["containerID"])

    def test_probes_that_take_too_long_leave_no_process(self):
        probe = {"exec": {"command": ["sleep", "1234"]}, "periodSeconds": 1, "timeoutSeconds": 1,
                 "failureThreshold": 1000}
        self.put("hanging", container("one", *SLEEP, readinessProbe=probe))
        self.run_until("hanging", lambda now: "running" in of(now, "one")["state"], "running")
        for _ in range(5):
            seen = self.kubelet.run("hanging", "one", "ps").count("sleep 1234")
            self.assertLessEqual(seen, 1, "probes pile up")

    def test_namespaces_are_shared_as_asked(self):
        self.run_ready("sharing", container("one", *SLEEP), container("two", "sleep", "54321"),
                       shareProcessNamespace=True)
        self.assertIn("sleep 54321", self.kubelet.run("sharing", "one", "ps"))
        self.run_ready("node-net", container("one", *SLEEP), hostNetwork=True)
        self.assertIn(BRIDGE, self.kubelet.run("node-net", "one", "ls", "/sys/class/net"))

    def test_a_pod_in_a_user_namespace_runs(self):
        self.run_ready("mapped", container("one", *SLEEP), hostUsers=False)
        self.assertNotIn(" 0 4294967295", self.kubelet.run("mapped", "one", "cat", "/proc/self/uid_map"))

    def test_an_image_is_a_volume(self):
        self.run_ready("volumes", container("one", *SLEEP, volumeMounts=[{"name": "image", "mountPath": "/image"}]),
                       volumes=[{"name": "image", "image": {"reference": "docker.io/library/base:1"}}])
        self.assertIn("busybox", self.kubelet.run("volumes", "one", "ls", "/image/bin"))
