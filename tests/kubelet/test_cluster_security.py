"""What a pod's security context asks for is what its processes have."""

import re

from cluster_case import SLEEP, ClusterCase, container, of, wait_until


class ClusterSecurity(ClusterCase):
    def _proc_status(self, name, into="one"):
        lines = self.inside(name, "cat", "/proc/1/status", into=into).splitlines()
        return {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}

    def test_users_groups_and_capabilities(self):
        strict = {"runAsUser": 1000, "runAsGroup": 3000, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
                  "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
                  "readOnlyRootFilesystem": True}
        self.run_ready("strict", container("one", "sleep", "100000", securityContext=strict,
                                           volumeMounts=[{"name": "space", "mountPath": "/space"}]),
                       securityContext={"fsGroup": 4000, "supplementalGroups": [5000]},
                       volumes=[{"name": "space", "emptyDir": {}}])
        status = self._proc_status("strict")
        self.assertEqual((["1000"] * 4, ["3000"] * 4), (status["Uid"], status["Gid"]))
        self.assertLessEqual({"4000", "5000"}, set(status["Groups"]))
        self.assertEqual((["0000000000000000"], ["1"], ["2"]),
                         (status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]))
        self.assertIn("Read-only", self.kubectl.call("exec", "strict", "--", "touch", "/new").error)
        self.assertEqual("4000\n", self.inside("strict", "sh", "-c", "touch /space/f; stat -c %g /space/f"))

    def test_supplementary_groups_of_the_image_are_left_out_when_asked(self):
        strict = {"runAsUser": 1000, "supplementalGroupsPolicy": "Strict", "supplementalGroups": [5000]}
        merged = {**strict, "supplementalGroupsPolicy": "Merge"}
        self.run_ready("strict", container("one", *SLEEP), securityContext=strict)
        status = self.run_ready("merged", container("one", *SLEEP), securityContext=merged)
        self.assertNotIn("2000", self.inside("strict", "id", "-G").split())
        self.assertIn("2000", self.inside("merged", "id", "-G").split())
        told = of(status, "one").get("user", {}).get("linux", {})
        self.assertEqual((1000, {1000, 2000, 5000}),
                         (told.get("uid"), {told.get("gid"), *told.get("supplementalGroups", [])}))

    def test_a_capability_is_added(self):
        self.run_ready("able", container("one", *SLEEP, securityContext={"capabilities": {"add": ["NET_ADMIN"]}}))
        self.inside("able", "ip", "link", "add", "made", "type", "bridge")
        self.run_ready("unable", container("one", *SLEEP))
        self.assertNotEqual(0, self.kubectl.call("exec", "unable", "--", "ip", "link", "add", "made", "type", "bridge").status)

    def test_a_privileged_container_sees_the_nodes_devices(self):
        self.run_ready("free", container("one", *SLEEP, securityContext={"privileged": True}))
        self.assertIn("kmsg", self.inside("free", "ls", "/dev").split())
        self.assertEqual(["0"], self._proc_status("free")["Seccomp"])

    def test_root_is_refused_where_it_may_not_be(self):
        self.put("refused", container("one", *SLEEP), securityContext={"runAsNonRoot": True})
        status = self.run_until("refused", lambda now: of(now, "one")["state"].get("waiting", {}).get("reason") ==
                                "CreateContainerConfigError", "refused")
        self.assertIn("will run as root", of(status, "one")["state"]["waiting"]["message"])

    def test_a_seccomp_profile_of_the_node(self):
        profiles = self.kubelet.folder / "root" / "seccomp"
        profiles.mkdir(exist_ok=True)
        (profiles / "no-mkdir.json").write_text(
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}')
        profile = {"type": "Localhost", "localhostProfile": "no-mkdir.json"}
        self.run_ready("filtered", container("one", *SLEEP, securityContext={"seccompProfile": profile}))
        self.assertIn("Operation not permitted", self.kubectl.call("exec", "filtered", "--", "mkdir", "/tmp/new").error)

    def test_a_pod_in_a_user_namespace(self):
        volumes = [{"name": "space", "emptyDir": {}}, {"name": "image", "image": {"reference": "docker.io/library/base:1"}}]
        mounts = [{"name": "space", "mountPath": "/space"}, {"name": "image", "mountPath": "/image"}]
        self.run_ready("mapped", container("one", *SLEEP, volumeMounts=mounts), hostUsers=False, volumes=volumes)
        inside, outside, length = self.inside("mapped", "cat", "/proc/self/uid_map").split()
        self.assertEqual(("0", "65536"), (inside, length))
        self.assertGreaterEqual(int(outside), 65536)
        self.assertEqual("0\n", self.inside("mapped", "sh", "-c", "touch /space/f && stat -c %u /space/f"))
        self.assertEqual("0\n", self.inside("mapped", "stat", "-c", "%u", "/image/bin/busybox"))
        token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
        self.assertIn(".", self.inside("mapped", "cat", token))

    def test_all_of_proc_is_shown_where_it_may_be(self):
        """procMount, which the API server takes in a user namespace alone."""
        self.run_ready("shown", container("one", *SLEEP, securityContext={"procMount": "Unmasked"}),
                       container("two", *SLEEP), hostUsers=False)
        self.assertNotIn(" /proc/", self.inside("shown", "cat", "/proc/mounts"))
        self.assertIn(" /proc/", self.inside("shown", "cat", "/proc/mounts", into="two"))

    def test_processes_of_a_pod_see_one_another_when_asked(self):
        self.run_ready("sharing", container("one", *SLEEP), container("two", "sleep", "54321"), shareProcessNamespace=True)
        self.assertIn("sleep 54321", self.inside("sharing", "ps"))
        self.inside("sharing", "sh", "-c", "kill -9 $(pidof sleep)")
        self.run_until("sharing", lambda now: of(now, "two")["restartCount"] == 1, "started again")
        self.assertEqual(0, of(self.statuses()["sharing"], "one")["restartCount"])

    def test_the_nodes_namespaces_are_entered(self):
        self.run_ready("node-side", container("one", *SLEEP, securityContext={"privileged": True}), hostNetwork=True,
                       hostPID=True, hostIPC=True)
        self.assertIn("node0", self.inside("node-side", "ls", "/sys/class/net").split())
        self.assertRegex(self.inside("node-side", "ps"), re.compile("gantryd"))
        self.assertEqual("10.84.0.1", self.statuses()["node-side"]["podIP"])

    def test_names_and_kernel_settings_of_a_pod(self):
        self.run_ready("named", container("one", *SLEEP), hostname="host", subdomain="sub",
                       hostAliases=[{"ip": "10.1.2.3", "hostnames": ["other.example"]}], dnsPolicy="None",
                       dnsConfig={"nameservers": ["10.9.8.7"], "searches": ["here.example"],
                                  "options": [{"name": "ndots", "value": "3"}]},
                       securityContext={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]})
        self.assertEqual("host\n", self.inside("named", "hostname"))
        hosts = self.inside("named", "cat", "/etc/hosts")
        self.assertIn("10.1.2.3\tother.example", hosts)
        self.assertIn("host.sub.default.svc", hosts)
        self.assertEqual("search here.example\nnameserver 10.9.8.7\noptions ndots:3\n",
                         self.inside("named", "cat", "/etc/resolv.conf"))
        self.assertEqual("80\n", self.inside("named", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"))

    def test_a_handler_that_is_not_there_is_told(self):
        self.kubectl.apply({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "odd"},
                            "handler": "no-such"})
        self.put("odd", container("one", *SLEEP), runtimeClassName="odd")
        wait_until(lambda: any(reason == "FailedCreatePodSandBox" and "no-such" in text for reason, text in self.events("odd")),
                   "the event", 60)
