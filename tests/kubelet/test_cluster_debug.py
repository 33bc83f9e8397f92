"""kubectl debug: a container that joins a running pod, a copy of a pod, a pod on the node."""

from cluster_case import NODE, SLEEP, ClusterCase, container, of, wait_until

IMAGE = "--image=docker.io/library/base:1"


class ClusterDebug(ClusterCase):
    def test_a_container_joins_the_processes_of_another(self):
        self.run_ready("ill", container("one", "sleep", "54321"))
        self.kubectl("debug", "ill", IMAGE, "--target=one", "-c", "doctor", "--profile=general", "--", "sh", "-c",
                     "ps; cat /proc/1/root/etc/hostname; sleep 100000")
        wait_until(lambda: "ill\n" in self.kubectl.call("logs", "ill", "-c", "doctor").out, "the doctor's words", 60)
        self.assertIn("sleep 54321", self.kubectl("logs", "ill", "-c", "doctor"))
        self.assertIn("sleep 54321", self.inside("ill", "ps", into="doctor"))
        status = self.statuses()["ill"]
        self.assertEqual(0, of(status, "one")["restartCount"])
        self.assertIn("running", of(status, "doctor", "ephemeralContainerStatuses")["state"])

    def test_a_person_debugs_in_a_terminal(self):
        self.run_ready("ill", container("one", *SLEEP))
        shell = self.kubectl.in_terminal("debug", "-it", "ill", IMAGE, "--target=one", "--profile=sysadmin", "--", "sh")
        self.addCleanup(shell.close)
        shell.type("echo $((40 + 2))\n")
        shell.wait_for(r"42\r\n", 60)
        shell.type("exit 3\n")
        self.assertEqual(0, shell.status(), shell.text)
        ended = self.run_until("ill", lambda now: "terminated" in now["ephemeralContainerStatuses"][0]["state"], "ended")
        self.assertEqual(3, ended["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"])

    def test_a_copy_of_a_pod_with_another_command(self):
        self.put("crashing", container("one", "false"))
        self.kubectl("debug", "crashing", "--copy-to=copy", "--same-node", "--container=one", "--profile=general", "--",
                     "sleep", "100000")
        self.run_until("copy", lambda now: "running" in of(now, "one")["state"], "running")
        self.assertEqual("copy\n", self.inside("copy", "hostname"))

    def test_a_pod_on_the_node(self):
        told = self.kubectl("debug", f"node/{NODE}", IMAGE, "--profile=sysadmin", "--", "sh", "-c",
                            "chroot /host true && ls /host/proc/self >/dev/null && echo node; sleep 100000")
        name = next(word for word in told.split() if word.startswith("node-debugger"))
        wait_until(lambda: self.kubectl.call("logs", name).out == "node\n", "what it says", 60)
