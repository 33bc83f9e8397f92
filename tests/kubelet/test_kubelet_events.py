"""A kubelet that is told of changes (evented PLEG) in place of asking each second."""

import re

from kubelet_case import KubeletCase, container, of


class KubeletEvents(KubeletCase):
    gates = {"PodAndContainerStatsFromCRI": True, "EventedPLEG": True}

    def test_ends_and_restarts_are_seen(self):
        self.put("crashing", container("one", "sh", "-c", "sleep 1; exit 3"))
        status = self.run_until("crashing", lambda now: of(now, "one")["restartCount"] >= 1, "started again", 90)
        self.assertEqual(3, of(status, "one")["lastState"]["terminated"]["exitCode"])
        connected = re.search(r"^kubelet_evented_pleg_connection_success_count (\d+)", self.kubelet.get("/metrics"), re.M)
        self.assertTrue(connected and int(connected[1]) >= 1, "the kubelet takes no events")
