"""Kinds of pod networks: two families, host ports, bandwidth, sysctls, the configuration that `gantry` writes."""

import ipaddress
import pathlib
import subprocess

from network_case import NAMESPACE_POD, NetworkCase, wait_until

NODE_ADDRESS = "198.51.100.7"
FOUR, SIX = "10.83.0.0/24", "fd00:83::/64"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Families(NetworkCase):
    def setUp(self):
        super().setUp()
        if not pathlib.Path("/proc/net/if_inet6").exists():
            self.skipTest("no IPv6 in this kernel")

    def prefer(self, family):
        """Restarts the daemon with [network] ip_preference."""
        text = self.daemon.config.read_text()
        self.addCleanup(self.restart_with, text)
        self.restart_with(text.replace("[network]\n", f'[network]\nip_preference = "{family}"\n'))

    def restart_with(self, text):
        self.daemon.config.write_text(text)
        self.assertEqual(0, self.daemon.stop())
        self.daemon.start()

    def addresses(self, pod):
        network = self.network(pod)
        return [network["ip"], *(more["ip"] for more in network.get("additionalIps", []))]

    def families(self, pod):
        return [ipaddress.ip_address(address).version for address in self.addresses(pod)]

    def test_two_families_are_both_told_and_both_reached(self):
        self.configure(self.bridge(FOUR, SIX))
        pod = self.run_pod(network=NAMESPACE_POD, hostname="both")
        self.assertEqual([4, 6], self.families(pod))
        self.serve(pod)
        four, six = self.addresses(pod)
        self.assertIn(ipaddress.ip_address(six), ipaddress.ip_network(SIX))
        for host in (four, f"[{six}]"):
            self.assertEqual("both\n", self.fetch(f"http://{host}:8080/hostname"))
        self.crictl("stopp", pod.id)
        self.assertEqual([], self.leases())

    def test_ipv6_alone(self):
        self.configure(self.bridge(SIX))
        pod = self.run_pod(network=NAMESPACE_POD, hostname="six")
        self.assertEqual([6], self.families(pod))
        self.serve(pod)
        self.assertEqual("six\n", self.fetch(f"http://[{self.address(pod)}]:8080/hostname"))

    def test_the_preferred_family_is_the_primary_address_and_kept_over_a_restart(self):
        self.configure(self.bridge(FOUR, SIX))
        self.prefer("ipv6")
        pod = self.run_pod(network=NAMESPACE_POD)
        self.assertEqual([6, 4], self.families(pod))
        before = self.addresses(pod)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(before, self.addresses(pod))

    def test_the_plugins_own_order_when_that_is_wanted(self):
        self.configure(self.bridge(SIX, FOUR))
        self.prefer("cni")
        self.assertEqual([6, 4], self.families(self.run_pod(network=NAMESPACE_POD)))


class HostPorts(NetworkCase):
    def setUp(self):
        super().setUp()
        if run("iptables", "-t", "nat", "-S").returncode != 0:
            self.skipTest("no iptables here")
        run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
        self.addCleanup(run, "ip", "address", "del", f"{NODE_ADDRESS}/32", "dev", "lo")
        bridge = self.bridge()
        bridge["ipam"]["routes"] = [{"dst": "0.0.0.0/0"}]  # for answers to the node's other addresses
        self.configure({**bridge, "ipMasq": True},
                       {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}})

    def mapping(self, port, **more):
        return [{"protocol": 0, "host_port": port, "container_port": 8080, **more}]

    def test_a_host_port_is_reached_on_loopback_and_on_the_nodes_addresses_until_the_pod_stops(self):
        pod = self.run_pod(network=NAMESPACE_POD, hostname="web", port_mappings=self.mapping(18080))
        self.serve(pod)
        for host in ("127.0.0.1", NODE_ADDRESS, "10.83.0.1"):
            self.assertEqual("web\n", self.fetch(f"http://{host}:18080/hostname"))
        self.crictl("stopp", pod.id)
        self.assertNotIn(pod.id, run("iptables", "-t", "nat", "-S").stdout)

    def test_a_host_port_that_another_pod_has_is_refused_until_that_one_stops(self):
        one = self.run_pod("one", network=NAMESPACE_POD, port_mappings=self.mapping(18081))
        leases = self.leases()
        self.run_refused("FailedPrecondition", ["host port 18081/TCP is in use by pod", one.id, "test/one"], "two",
                         port_mappings=self.mapping(18081, host_ip="127.0.0.1"))
        self.assertEqual(leases, self.leases())
        # Another protocol is another port.
        self.run_pod("udp", network=NAMESPACE_POD, port_mappings=self.mapping(18081, protocol=1))
        self.crictl("stopp", one.id)
        self.run_pod("two", network=NAMESPACE_POD, port_mappings=self.mapping(18081))

    def test_without_host_ports_portmap_is_not_run(self):
        before = self.daemon.log.read_text().count("plugin=portmap")
        pod = self.run_pod(network=NAMESPACE_POD)
        self.crictl("stopp", pod.id)
        text = self.daemon.log.read_text()
        self.assertEqual(before, text.count("plugin=portmap"))
        self.assertRegex(text, rf"plugin=bridge verb=DEL pod={pod.id} took=")


class WhatPluginsAreTold(NetworkCase):
    def setUp(self):
        super().setUp()
        self.plugin()

    def test_sysctls_of_the_pod_are_set_before_add(self):
        self.configure(self.bridge(), "fake")
        self.on("fake.ADD", f"nsenter --net=$CNI_NETNS cat /proc/sys/net/ipv4/ip_local_port_range "
                            f"/proc/sys/net/ipv4/ip_unprivileged_port_start > {self.fake}/seen")
        config = self.pod_config("pod", NAMESPACE_POD)
        config["linux"]["sysctls"] = {"net.ipv4.ip_local_port_range": "20000 30000"}
        self.crictl("runp", self.crictl.document(config))
        self.assertEqual(["20000", "30000", "0"], (self.fake / "seen").read_text().split())

    def test_lo_is_up_before_add(self):
        self.configure(self.bridge(), "fake")
        self.on("fake.ADD", f"nsenter --net=$CNI_NETNS ip -o address show dev lo > {self.fake}/seen")
        self.run_pod(network=NAMESPACE_POD)
        self.assertIn("127.0.0.1/8", (self.fake / "seen").read_text())

    def test_bandwidth_annotations_become_the_capability(self):
        self.configure(self.bridge(), {"type": "fake", "capabilities": {"bandwidth": True}})
        self.on("fake.ADD", """echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.83.0.9/24"}]}'; exit 0""")
        self.run_pod(network=NAMESPACE_POD, annotations={"kubernetes.io/ingress-bandwidth": "10M",
                                                         "kubernetes.io/egress-bandwidth": "1Gi"})
        self.assertEqual({"ingressRate": 10_000_000, "ingressBurst": 2**32 - 1,
                          "egressRate": 2**30, "egressBurst": 2**32 - 1},
                         self.input("fake.ADD")["runtimeConfig"]["bandwidth"])

    def test_a_bad_bandwidth_is_refused_before_anything_is_run(self):
        self.configure(self.bridge(), "fake")
        self.run_refused("InvalidArgument", ["kubernetes.io/ingress-bandwidth", "is no quantity"],
                         annotations={"kubernetes.io/ingress-bandwidth": "fast"})
        self.assertEqual([], self.calls("ADD"))
        self.assert_nothing_left()

    def test_bandwidth_limits_the_pods_interface(self):
        if run("ip", "link", "add", "probe", "type", "ifb").returncode != 0:
            self.skipTest("no ifb in this kernel")
        run("ip", "link", "del", "probe")
        self.configure(self.bridge(), {"type": "bandwidth", "capabilities": {"bandwidth": True}})
        answer = self.crictl.call("runp", self.crictl.document(self.pod_config(
            "pod", NAMESPACE_POD, annotations={"kubernetes.io/ingress-bandwidth": "10M"})))
        if "qdisc" in answer.error:
            self.skipTest(f"no tbf in this kernel: {answer.error.strip()}")
        self.assertEqual(0, answer.status, answer.error)
        self.assertIn("tbf", run("tc", "qdisc", "show").stdout)


class WrittenByGantry(NetworkCase):
    def gantry(self, *arguments):
        return run(self.lane.binaries / "gantry", "config", "network", "--config", self.daemon.config, *arguments)

    def setUp(self):
        super().setUp()
        if not (self.lane.binaries / "gantry").exists():
            self.skipTest("the command gantry is not built")

    def test_the_bridge_that_gantry_writes_works(self):
        self.file.unlink()
        wait_until(lambda: not self.ready()[0], "the network is not ready", 40)
        seen = self.daemon.networks_taken()
        done = self.gantry("--bridge", "--interface", "test0", "--name", "written", "--subnet", "10.83.0.0/24")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(f"{self.folder}/10-written.conflist\n", done.stdout)
        self.addCleanup(run, "rm", "-rf", "/var/lib/cni/networks/written")
        wait_until(lambda: self.daemon.networks_taken() > seen and self.ready()[0], "it is in force")
        pod = self.run_pod(network=NAMESPACE_POD, hostname="written")
        self.serve(pod)
        self.assertEqual("written\n", self.fetch(f"http://{self.address(pod)}:8080/hostname"))
        again = self.gantry("--bridge", "--name", "written")
        self.assertEqual(125, again.returncode)
        self.assertIn("exists already; --force overwrites it", again.stderr)
        self.assertEqual(0, self.gantry("--bridge", "--name", "written", "--force").returncode)

    def test_what_cannot_work_is_said(self):
        for arguments, words in ((["--bridge", "--subnet", "10.0.0.1/24"], "bits behind /24 are set"),
                                 (["--bridge", "--name", "../x"], '--name "../x"'),
                                 ([], "--bridge")):
            done = self.gantry(*arguments)
            self.assertEqual(125, done.returncode)
            self.assertIn(words, done.stderr)
        self.assertEqual([self.file], list(self.folder.iterdir()))
