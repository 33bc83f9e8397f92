"""GetContainerEvents: what the kubelet's evented PLEG hears."""

import time

from case import GantryTest
from cri_call import CriCall


class Events(GantryTest):
    def listen(self, seconds=4):
        call = CriCall(self.lane.binaries, self.daemon).begin("GetContainerEvents", seconds=seconds)
        time.sleep(0.5)
        return call

    def heard(self, call):
        """(type, id) of each event, and the events."""
        messages = call.reply().messages
        return [(message["container_event_type"].removeprefix("CONTAINER_").removesuffix("_EVENT"),
                 message["container_id"]) for message in messages], messages

    def test_row_83_the_life_of_a_pod_is_told_in_order_to_all(self):
        calls = [self.listen(seconds=5), self.listen(seconds=5)]
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "exit 3")
        self.wait_exited(container)
        self.crictl("rm", container)
        self.crictl("stopp", pod.id)
        self.crictl("rmp", pod.id)
        events, messages = self.heard(calls[0])
        self.assertEqual([("CREATED", pod.id), ("STARTED", pod.id), ("CREATED", container), ("STARTED", container),
                          ("STOPPED", container), ("DELETED", container), ("STOPPED", pod.id), ("DELETED", pod.id)],
                         events)
        times = [int(message["created_at"]) for message in messages]
        self.assertEqual(sorted(times), times)
        stopped = messages[4]
        self.assertEqual("pod", stopped["pod_sandbox_status"]["metadata"]["name"])
        status = stopped["containers_statuses"][0]
        self.assertEqual(("CONTAINER_EXITED", 3), (status["state"], status["exit_code"]))
        self.assertEqual([], messages[5]["containers_statuses"])
        self.assertEqual("pod", messages[7]["pod_sandbox_status"]["metadata"]["name"])
        self.assertEqual(events, self.heard(calls[1])[0])

    def test_row_23_a_very_short_process_starts_before_it_ends(self):
        pod = self.run_pod()
        call = self.listen(seconds=8)
        ended = [self.launch(pod, f"short-{i}", "true") for i in range(10)]
        for container in ended:
            self.wait_exited(container)
        events, _ = self.heard(call)
        for container in ended:
            self.assertEqual(["CREATED", "STARTED", "STOPPED"], [kind for kind, of in events if of == container])

    def test_a_container_that_cannot_start_is_told_as_stopped(self):
        pod = self.run_pod()
        call = self.listen()
        container = self.create(pod, "bad", "/no/such/program")
        self.crictl.call("start", container)
        events, messages = self.heard(call)
        self.assertEqual([("CREATED", container), ("STOPPED", container)], events)
        self.assertEqual("StartError", messages[1]["containers_statuses"][0]["reason"])

    def test_the_daemon_ends_at_once_with_somebody_listening(self):
        call = self.listen(seconds=30)
        started = time.monotonic()
        self.assertEqual(0, self.daemon.stop())
        self.assertLess(time.monotonic() - started, 4)
        self.assertEqual("OK", call.reply().code)
        self.daemon.start()
