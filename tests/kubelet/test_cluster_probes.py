"""Probes of every kind, and what they lead to."""

from cluster_case import SLEEP, ClusterCase, container, is_ready, of, wait_until

FAST = {"periodSeconds": 1, "failureThreshold": 1}
WEB = ("sh", "-c", "mkdir /tmp/www; echo ok > /tmp/www/healthy; exec httpd -f -p 8080 -h /tmp/www")


class ClusterProbes(ClusterCase):
    def test_http_and_tcp_reach_the_pods_address(self):
        http = {"httpGet": {"path": "/healthy", "port": 8080}, **FAST}
        self.run_ready("web", container("one", *WEB, readinessProbe=http, livenessProbe={
            "tcpSocket": {"port": 8080}, **FAST, "failureThreshold": 10}, ports=[{"containerPort": 8080}]))
        self.inside("web", "rm", "/tmp/www/healthy")
        self.run_until("web", lambda now: not is_ready(now), "not ready any more")
        self.inside("web", "sh", "-c", "echo ok > /tmp/www/healthy")
        status = self.run_until("web", is_ready, "ready again")
        self.assertEqual(0, of(status, "one")["restartCount"])

    def test_commands_say_whether_it_is_ready(self):
        self.put("asked", container("one", *SLEEP, readinessProbe={"exec": {"command": ["cat", "/tmp/ready"]}, **FAST}))
        wait_until(lambda: any(reason == "Unhealthy" and "Readiness probe failed" in text and "/tmp/ready" in text
                               for reason, text in self.events("asked")), "the event with the command's words", 60)
        self.inside("asked", "touch", "/tmp/ready")
        self.run_until("asked", is_ready, "ready")

    def test_a_liveness_probe_that_fails_ends_the_container(self):
        probe = {"exec": {"command": ["test", "!", "-e", "/tmp/ill"]}, **FAST}
        status = self.run_ready("ill", container("one", *SLEEP, livenessProbe=probe))
        first = of(status, "one")["containerID"]
        self.inside("ill", "touch", "/tmp/ill")
        status = self.run_until("ill", lambda now: of(now, "one")["restartCount"] == 1, "started again")
        self.assertEqual(first, of(status, "one")["lastState"]["terminated"]["containerID"])
        self.assertIn("Killing", [reason for reason, _ in self.events("ill")])

    def test_a_probe_that_takes_too_long_has_failed(self):
        probe = {"exec": {"command": ["sleep", "1234"]}, **FAST, "timeoutSeconds": 1, "failureThreshold": 1000}
        self.put("slow", container("one", *SLEEP, readinessProbe=probe))
        wait_until(lambda: any(reason == "Unhealthy" and "timed out" in text for reason, text in self.events("slow")),
                   "the event", 60)
        self.assertLessEqual(self.inside("slow", "ps").count("sleep 1234"), 1)

    def test_a_start_probe_holds_the_others_back(self):
        start = {"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "failureThreshold": 60}
        self.put("starting", container("one", "sh", "-c", "sleep 4; touch /tmp/started; exec sleep 100000",
                                       startupProbe=start, livenessProbe={
                                           "exec": {"command": ["test", "-e", "/tmp/started"]}, **FAST}))
        status = self.run_until("starting", lambda now: of(now, "one").get("started"), "started")
        self.assertEqual(0, of(status, "one")["restartCount"])
