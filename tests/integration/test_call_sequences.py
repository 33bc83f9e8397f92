"""Random sequences of CRI calls, each answer and each list compared with a model of what CRI promises.

CRI_SEED and CRI_STEPS ask for one sequence again, or for longer ones; a failure names both.
"""

import os
import random
import time

from test_api import ApiTest

READY, STOPPED = "SANDBOX_READY", "SANDBOX_NOTREADY"
CREATED, RUNNING, EXITED = "CONTAINER_CREATED", "CONTAINER_RUNNING", "CONTAINER_EXITED"
PODS = ("a", "b", "c")
CONTAINERS = ("x", "y")


class Model:
    """What is there: pods by name, containers by (pod, name). Each as [id, state]."""

    def __init__(self):
        self.pods, self.containers = {}, {}

    def end_containers(self, pod):
        for (of, _), entry in self.containers.items():
            if of == pod:
                entry[1] = EXITED

    def forget(self, pod):
        self.pods.pop(pod, None)
        for key in [key for key in self.containers if key[0] == pod]:
            del self.containers[key]

    def lists(self):
        return {found: state for found, state in self.pods.values()}, {
            found: state for found, state in self.containers.values()}


class CallSequences(ApiTest):
    def setUp(self):
        super().setUp()
        self.model = Model()
        self.done = []

    def expect(self, code, method, request):
        reply = self.call(method, request)
        self.done.append(f"{method} → {reply.code}")
        self.assertEqual(code, reply.code, f"{method}: {reply.text}")
        return reply

    def pod_id(self, pod):
        return self.model.pods[pod][0] if pod in self.model.pods else "no-such-pod"

    def container_id(self, key):
        return self.model.containers[key][0] if key in self.model.containers else "no-such-container"

    def state_of(self, key):
        return self.model.containers[key][1] if key in self.model.containers else None

    def run_sandbox(self, pod, _):
        code = "ALREADY_EXISTS" if pod in self.model.pods else "OK"
        reply = self.expect(code, "RunPodSandbox", {"config": self.pod_config(pod)})
        if code == "OK":
            self.model.pods[pod] = [reply.message["pod_sandbox_id"], READY]

    def stop_sandbox(self, pod, _):
        self.expect("OK", "StopPodSandbox", {"pod_sandbox_id": self.pod_id(pod)})
        if pod in self.model.pods:
            self.model.pods[pod][1] = STOPPED
            self.model.end_containers(pod)

    def remove_sandbox(self, pod, _):
        self.expect("OK", "RemovePodSandbox", {"pod_sandbox_id": self.pod_id(pod)})
        self.model.forget(pod)

    def create_one(self, pod, name):
        key = (pod, name)
        code = "OK"
        if pod not in self.model.pods:
            code = "NOT_FOUND"
        elif self.model.pods[pod][1] == STOPPED:
            code = "FAILED_PRECONDITION"
        elif key in self.model.containers:
            code = "ALREADY_EXISTS"
        reply = self.expect(code, "CreateContainer", {
            "pod_sandbox_id": self.pod_id(pod), "sandbox_config": self.pod_config(pod),
            "config": self.container_config(name, "sleep", "1000")})
        if code == "OK":
            self.model.containers[key] = [reply.message["container_id"], CREATED]

    def start_one(self, pod, name):
        state = self.state_of((pod, name))
        code = {CREATED: "OK", None: "NOT_FOUND"}.get(state, "FAILED_PRECONDITION")
        self.expect(code, "StartContainer", {"container_id": self.container_id((pod, name))})
        if code == "OK":
            self.model.containers[pod, name][1] = RUNNING

    def stop_one(self, pod, name):
        self.expect("OK", "StopContainer", {"container_id": self.container_id((pod, name))})
        if (pod, name) in self.model.containers:
            self.model.containers[pod, name][1] = EXITED

    def remove_one(self, pod, name):
        self.expect("OK", "RemoveContainer", {"container_id": self.container_id((pod, name))})
        self.model.containers.pop((pod, name), None)

    def exec_one(self, pod, name):
        code = {RUNNING: "OK", None: "NOT_FOUND"}.get(self.state_of((pod, name)), "FAILED_PRECONDITION")
        self.expect(code, "ExecSync", {"container_id": self.container_id((pod, name)), "cmd": ["true"]})

    def status_of_one(self, pod, name):
        code = "OK" if (pod, name) in self.model.containers else "NOT_FOUND"
        reply = self.expect(code, "ContainerStatus", {"container_id": self.container_id((pod, name))})
        if code == "OK":
            self.assertEqual(self.state_of((pod, name)), reply.message["status"]["state"])

    def restart_daemon(self, _, __):
        self.done.append("the daemon is killed")
        self.daemon.kill()
        self.daemon.start()

    def compare_lists(self):
        pods = self.call("ListPodSandbox").message["items"]
        containers = self.call("ListContainers").message["containers"]
        self.assertEqual(self.model.lists(), ({item["id"]: item["state"] for item in pods},
                                              {item["id"]: item["state"] for item in containers}))

    def test_any_sequence_of_calls_ends_as_the_model_says(self):
        seed = int(os.environ.get("CRI_SEED", time.time_ns() % 1_000_000))
        chance = random.Random(seed)
        steps = [self.run_sandbox] * 3 + [self.stop_sandbox, self.remove_sandbox] + [self.create_one] * 4 + [
            self.start_one] * 4 + [self.stop_one, self.remove_one, self.exec_one, self.exec_one, self.status_of_one]
        try:
            for step in range(int(os.environ.get("CRI_STEPS", 250))):
                act = self.restart_daemon if step % 60 == 59 else chance.choice(steps)
                act(chance.choice(PODS), chance.choice(CONTAINERS))
                self.compare_lists()
        except AssertionError as error:
            last = "\n  ".join(self.done[-12:])
            raise AssertionError(f"CRI_SEED={seed} CRI_STEPS={len(self.done)}: {error}\n  {last}") from error
