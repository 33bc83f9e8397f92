"""Pods with a network of their own: Debian's bridge and host-local plugins."""

import ipaddress

from network_case import NAMESPACE_POD, NetworkCase


class PodNetwork(NetworkCase):
    def serve_on(self, pod):
        self.serve(pod)
        return f"http://{self.address(pod)}:8080/hostname"

    def test_a_pod_has_an_address_of_the_configured_range_that_the_host_reaches(self):
        pod = self.run_pod(network=NAMESPACE_POD, hostname="web")
        self.assertIn(ipaddress.ip_address(self.address(pod)), ipaddress.ip_network("10.83.0.0/24"))
        self.assertEqual("web\n", self.fetch(self.serve_on(pod)))

    def test_containers_of_a_pod_reach_each_other_on_loopback(self):
        pod = self.run_pod(network=NAMESPACE_POD, hostname="web")
        self.fetch(self.serve_on(pod))
        status, text = self.run_to_end(pod, "client", "wget", "-qO-", "http://127.0.0.1:8080/hostname")
        self.assertEqual((0, "web"), (status["exitCode"], text))

    def test_two_pods_have_two_addresses_and_reach_each_other(self):
        one, two = (self.run_pod(name, network=NAMESPACE_POD, hostname=name) for name in ("one", "two"))
        self.assertNotEqual(self.address(one), self.address(two))
        url = self.serve_on(one)
        self.fetch(url)
        self.assertEqual("one", self.run_to_end(two, "client", "wget", "-qO-", url)[1])

    def test_a_stopped_pod_gives_its_address_back(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        lease = self.daemon.folder / "ipam" / "test" / self.address(pod)
        self.assertTrue(lease.exists())
        self.crictl("stopp", pod.id)
        self.assertFalse(lease.exists())

    def test_a_pod_keeps_working_when_its_configuration_vanishes_and_is_taken_down_with_what_it_came_up_with(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        config = self.daemon.folder / "net.d" / "10-test.conflist"
        hidden = config.with_suffix(".hidden")
        config.rename(hidden)
        try:
            self.crictl("stopp", pod.id)
            self.crictl("rmp", pod.id)
            self.assert_nothing_left()
        finally:
            hidden.rename(config)

    def test_a_plugin_that_is_not_there_is_named_and_leaves_nothing(self):
        self.refuse_pod(r'"type": "no-such-plugin"}', "no-such-plugin")

    def test_a_plugin_that_refuses_is_quoted_and_what_came_before_it_is_undone(self):
        # `tuning` refuses the key after `bridge` has made the interface.
        self.refuse_pod(r'"type": "tuning", "sysctl": {"net.ipv4.no_such_key": "1"}}', "no_such_key")

    def refuse_pod(self, last_plugin, words):
        """Runs a pod with one plugin more at the end of the chain."""
        config = self.daemon.folder / "net.d" / "10-test.conflist"
        self.daemon.use_network(config.read_text().removesuffix("]}") + ", {" + last_plugin + "]}")
        answer = self.crictl.call("runp", self.crictl.document(self.pod_config("pod", NAMESPACE_POD)))
        self.assertNotEqual(0, answer.status)
        self.assertIn(words, answer.error)
        self.assertEqual([], self.pods())
        self.assert_nothing_left()
