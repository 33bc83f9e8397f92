"""The life of pods as the API server is told of it."""

from cluster_case import SLEEP, ClusterCase, container, of, wait_until


class ClusterPods(ClusterCase):
    gates = {**ClusterCase.gates, "ContainerStopSignals": True}

    def _condition(self, status, kind):
        return next((one for one in status["conditions"] if one["type"] == kind), {})

    def test_a_pod_that_ends_well_has_succeeded(self):
        self.put("done", container("one", "sh", "-c", "echo result"), restartPolicy="Never")
        status = self.run_until("done", lambda now: now.get("phase") == "Succeeded", "at its end")
        self.assertEqual("Completed", of(status, "one")["state"]["terminated"]["reason"])
        self.assertEqual("PodCompleted", self._condition(status, "Ready")["reason"])
        self.assertEqual("result\n", self.kubectl("logs", "done"))

    def test_what_a_container_says_at_its_end_is_in_its_status(self):
        self.put("last-words", container("one", "sh", "-c", "echo -n because > /dev/termination-log; exit 4",
                                         terminationMessagePolicy="File"), restartPolicy="Never")
        status = self.run_until("last-words", lambda now: now.get("phase") == "Failed", "failed")
        ended = of(status, "one")["state"]["terminated"]
        self.assertEqual((4, "Error", "because"), (ended["exitCode"], ended["reason"], ended.get("message")))

    def test_a_crashing_pod_waits_ever_longer(self):
        self.put("crashing", container("one", "false"))
        status = self.run_until("crashing", lambda now: of(now, "one")["state"].get("waiting", {}).get("reason") ==
                                "CrashLoopBackOff", "in CrashLoopBackOff", 90)
        self.assertEqual(1, of(status, "one")["lastState"]["terminated"]["exitCode"])
        wait_until(lambda: any(reason == "BackOff" and "restarting failed container" in text
                               for reason, text in self.events("crashing")), "the event", 60)

    def test_memory_over_the_limit_is_told_as_oomkilled(self):
        eater = "x=$(head -c 100000000 /dev/zero | tr '\\0' a); echo $x | wc -c"
        self.put("greedy", container("one", "sh", "-c", eater, resources={"limits": {"memory": "32Mi"}}))
        status = self.run_until("greedy", lambda now: "terminated" in of(now, "one")["lastState"], "started again", 90)
        ended = of(status, "one")["lastState"]["terminated"]
        self.assertEqual((137, "OOMKilled"), (ended["exitCode"], ended["reason"]), ended)

    def test_a_program_that_is_not_there_is_told_in_status_and_events(self):
        self.put("wrong", container("one", "/no/such/program"), restartPolicy="Never")
        status = self.run_until("wrong", lambda now: now.get("phase") == "Failed", "failed")
        ended = of(status, "one")["state"]["terminated"]
        self.assertEqual((128, "StartError"), (ended["exitCode"], ended["reason"]), ended)
        wait_until(lambda: any(reason == "Failed" and "/no/such/program" in text
                               for reason, text in self.events("wrong")), "the event")

    def test_init_containers_then_a_sidecar_which_ends_last(self):
        shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
        side = "trap 'sleep 1; echo side ends; exit 0' TERM; echo side >> /shared/order; while :; do sleep 1 & wait; done"
        self.put("ordered", container("main", "sh", "-c", "cat /shared/order; sleep 2; echo main ends", **shared),
                 restartPolicy="Never", terminationGracePeriodSeconds=20,
                 initContainers=[container("first", "sh", "-c", "echo first >> /shared/order", **shared),
                                 container("side", "sh", "-c", side, restartPolicy="Always", startupProbe={
                                     "exec": {"command": ["test", "-e", "/shared/order"]}, "periodSeconds": 1}, **shared)],
                 volumes=[{"name": "shared", "emptyDir": {}}])
        status = self.run_until("ordered", lambda now: now.get("phase") == "Succeeded", "at its end")
        self.assertEqual("first\nside\nmain ends\n", self.kubectl("logs", "ordered", "-c", "main"))
        self.assertEqual("side ends\n", self.kubectl("logs", "ordered", "-c", "side"))
        self.assertLessEqual(of(status, "main")["state"]["terminated"]["finishedAt"],
                             of(status, "side", "initContainerStatuses")["state"]["terminated"]["finishedAt"])
        self.assertEqual("True", self._condition(status, "Initialized")["status"])

    def test_hooks_run_and_the_grace_is_kept(self):
        out = self.daemon.folder / "hooks"
        out.mkdir()
        main = "trap 'echo term >> /out/order; sleep 2; echo ended >> /out/order; exit 0' TERM; while :; do sleep 1 & wait; done"
        self.run_ready("hooked", container("one", "sh", "-c", main, volumeMounts=[{"name": "out", "mountPath": "/out"}],
                                           lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo start >> /out/order"]}},
                                                      "preStop": {"exec": {"command": ["sh", "-c", "echo stop >> /out/order"]}}}),
                       terminationGracePeriodSeconds=20, volumes=[{"name": "out", "hostPath": {"path": str(out)}}])
        self.kubectl("delete", "pod", "hooked")
        self.assertEqual("start\nstop\nterm\nended\n", (out / "order").read_text())

    def test_a_hook_that_fails_is_told(self):
        self.put("hooked", container("one", *SLEEP, lifecycle={"postStart": {"exec": {"command": [
            "sh", "-c", "echo oh dear >&2; exit 3"]}}}))
        wait_until(lambda: [text for reason, text in self.events("hooked") if reason == "FailedPostStartHook"],
                   "the event", 60)

    def test_a_stop_signal_of_the_pods_own(self):
        self.run_ready("signalled", container("one", "sh", "-c", "trap 'echo -n usr1 > /dev/termination-log; exit 0' USR1; "
                                              "while :; do sleep 1 & wait; done", terminationMessagePolicy="File",
                                              lifecycle={"stopSignal": "SIGUSR1"}), os={"name": "linux"},
                       terminationGracePeriodSeconds=20)
        watch = self.kubectl.start("get", "pod", "signalled", "--watch", "--output-watch-events", "-o",
                                   "jsonpath={.object.status.containerStatuses[*].state.terminated.message}{'\\n'}")
        self.kubectl("delete", "pod", "signalled")
        watch.kill()
        self.assertIn("usr1", watch.communicate(timeout=20)[0])

    def test_a_pod_by_force_is_gone_from_the_node_too(self):
        self.run_ready("stubborn", container("one", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"),
                       terminationGracePeriodSeconds=300)
        self.kubectl("delete", "pod", "stubborn", "--grace-period=0", "--force")
        self.assertNotIn("stubborn", self.pods_of_cluster())
        wait_until(lambda: not self.crictl("pods", "-q", "--state", "ready").split(), "the node has ended it", 60)

    def test_a_static_pod_is_mirrored(self):
        path = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static", "namespace": "default"},
                "spec": {"containers": [container("one", *SLEEP)], "terminationGracePeriodSeconds": 1}}
        self.kubelet.put(path)
        try:
            self.run_until("static-node", lambda now: "running" in of(now, "one")["state"], "running")
            self.assertEqual("static-node\n", self.inside("static-node", "hostname"))
        finally:
            self.kubelet.take_away("static")
        wait_until(lambda: "static-node" not in self.pods_of_cluster(), "the mirror is gone", 60)

    def test_a_deadline_ends_a_pod(self):
        self.put("late", container("one", *SLEEP), activeDeadlineSeconds=3)
        status = self.run_until("late", lambda now: now.get("phase") == "Failed", "failed")
        self.assertEqual("DeadlineExceeded", status["reason"])

    def test_an_exit_code_decides_whether_it_starts_again(self):
        self.put("ruled", container("one", "sh", "-c", "exit 42", restartPolicy="Never", restartPolicyRules=[
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]), restartPolicy="Never")
        self.run_until("ruled", lambda now: of(now, "one")["restartCount"] >= 1, "started again", 90)
