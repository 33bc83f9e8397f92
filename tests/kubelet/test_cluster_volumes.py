"""Volumes and variables that come from the API server."""

import json

from cluster_case import SLEEP, ClusterCase, container, wait_until


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name, **data):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


class ClusterVolumes(ClusterCase):
    def test_config_maps_and_secrets_are_files_that_change(self):
        self.kubectl.apply(config_map("settings", file="one"), secret("password", file="first"))
        mounts = [{"name": "settings", "mountPath": "/settings"}, {"name": "password", "mountPath": "/password"},
                  {"name": "settings", "mountPath": "/single", "subPath": "file"}]
        self.run_ready("reader", container("one", *SLEEP, volumeMounts=mounts), volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "password", "secret": {"secretName": "password", "defaultMode": 0o400}}])
        self.assertEqual("onefirstone", self.inside("reader", "cat", "/settings/file", "/password/file", "/single"))
        self.assertEqual("400\n", self.inside("reader", "stat", "-L", "-c", "%a", "/password/file"))
        self.assertIn("tmpfs", self.inside("reader", "grep", " /password ", "/proc/mounts"))
        refused = self.kubectl.call("exec", "reader", "--", "touch", "/settings/new")
        self.assertIn("Read-only file system", refused.error)
        self.kubectl.apply(config_map("settings", file="two"), secret("password", file="second"))
        # A change of the pod makes the kubelet look at once.
        self.kubectl("annotate", "pod", "reader", "look=now")
        wait_until(lambda: self.inside("reader", "cat", "/settings/file", "/password/file") == "twosecond",
                   "the files have changed", 120)
        self.assertEqual("one", self.inside("reader", "cat", "/single"), "a file mounted alone stays")

    def test_variables_come_from_everywhere(self):
        self.kubectl.apply(config_map("variables", FROM_MAP="map", OTHER="other"), secret("secrets", KEY="secret"))
        field = {"fieldRef": {"fieldPath": "status.podIP"}}
        limit = {"resourceFieldRef": {"resource": "limits.memory"}}
        status = self.run_ready("varied", container(
            "one", *SLEEP, resources={"limits": {"memory": "64Mi"}},
            envFrom=[{"configMapRef": {"name": "variables"}}, {"prefix": "S_", "secretRef": {"name": "secrets"}}],
            env=[{"name": "ADDRESS", "valueFrom": field}, {"name": "MEMORY", "valueFrom": limit},
                 {"name": "JOINED", "value": "$(ADDRESS):80"}]))
        seen = self.inside("varied", "env").splitlines()
        for line in ("FROM_MAP=map", "OTHER=other", "S_KEY=secret", f"ADDRESS={status['podIP']}", "MEMORY=67108864",
                     f"JOINED={status['podIP']}:80", "KUBERNETES_SERVICE_HOST=10.96.0.1"):
            self.assertIn(line, seen)

    def test_a_variable_that_is_not_there_is_told(self):
        self.put("wrong", container("one", *SLEEP, envFrom=[{"configMapRef": {"name": "no-such"}}]))
        status = self.run_until("wrong", lambda now: now.get("containerStatuses", [{}])[0].get("state", {}).get(
            "waiting", {}).get("reason") == "CreateContainerConfigError", "waiting")
        self.assertIn('configmap "no-such" not found', status["containerStatuses"][0]["state"]["waiting"]["message"])

    def test_empty_dirs_on_disk_and_in_memory_are_shared(self):
        mounts = {"volumeMounts": [{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]}
        self.run_ready("empty", container("one", *SLEEP, **mounts), container("two", *SLEEP, **mounts), volumes=[
            {"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
        self.inside("empty", "sh", "-c", "echo d > /disk/f; echo m > /memory/f")
        self.assertEqual("d\nm\n", self.inside("empty", "cat", "/disk/f", "/memory/f", into="two"))
        full = self.kubectl.call("exec", "empty", "-c", "one", "--", "dd", "if=/dev/zero", "of=/memory/g", "bs=1M", "count=2")
        self.assertIn("No space left", full.error)

    def test_a_pod_knows_itself(self):
        items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.annotations"}},
                 {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
        self.run_ready("itself", container("one", *SLEEP, volumeMounts=[{"name": "me", "mountPath": "/me"}]),
                       volumes=[{"name": "me", "downwardAPI": {"items": items}}])
        self.assertEqual("itself", self.inside("itself", "cat", "/me/name"))
        self.kubectl("annotate", "pod", "itself", "colour=green")
        wait_until(lambda: 'colour="green"' in self.inside("itself", "cat", "/me/labels"), "the file has changed", 120)

    def test_a_pods_token_is_its_account(self):
        self.run_ready("account", container("one", *SLEEP))
        folder = "/var/run/secrets/kubernetes.io/serviceaccount"
        token = self.inside("account", "cat", f"{folder}/token")
        self.assertEqual("default", self.inside("account", "cat", f"{folder}/namespace"))
        self.assertIn("BEGIN CERTIFICATE", self.inside("account", "cat", f"{folder}/ca.crt"))
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        answer = json.loads(self.kubectl("create", "-f", "-", "-o", "json", data=json.dumps(review)))["status"]
        self.assertTrue(answer["authenticated"])
        self.assertEqual("system:serviceaccount:default:default", answer["user"]["username"])
        self.assertEqual(["account"], answer["user"]["extra"]["authentication.kubernetes.io/pod-name"])

    def test_a_folder_of_the_node_with_mounts_that_come_later(self):
        """mountPropagation, as agents on nodes use it."""
        folder = self.daemon.folder / "propagated"
        folder.mkdir()
        mount = [{"name": "node", "mountPath": "/node", "mountPropagation": "Bidirectional"}]
        self.run_ready("agent", container("one", *SLEEP, volumeMounts=mount, securityContext={"privileged": True}),
                       volumes=[{"name": "node", "hostPath": {"path": str(folder), "type": "Directory"}}])
        self.inside("agent", "sh", "-c", "mkdir /node/in; mount -t tmpfs made /node/in; echo seen > /node/in/file")
        self.assertEqual("seen\n", (folder / "in" / "file").read_text())
        self.inside("agent", "umount", "/node/in")

    def test_a_recursively_read_only_mount(self):
        mount = [{"name": "node", "mountPath": "/node", "readOnly": True, "recursiveReadOnly": "Enabled"}]
        status = self.run_ready("strict", container("one", *SLEEP, volumeMounts=mount),
                                volumes=[{"name": "node", "hostPath": {"path": "/sys/fs/cgroup"}}])
        self.assertEqual("Enabled", [one["recursiveReadOnly"] for one in status["containerStatuses"][0]["volumeMounts"]
                                     if one["name"] == "node"][0])

    def test_an_image_is_a_volume_whole_and_in_part(self):
        mounts = [{"name": "image", "mountPath": "/image"}, {"name": "image", "mountPath": "/etc-alone", "subPath": "etc"}]
        self.run_ready("imaged", container("one", *SLEEP, volumeMounts=mounts),
                       volumes=[{"name": "image", "image": {"reference": "docker.io/library/base:1"}}])
        self.assertIn("busybox", self.inside("imaged", "ls", "/image/bin"))
        self.assertEqual("group\npasswd\n", self.inside("imaged", "ls", "/etc-alone"))
        self.assertIn("Read-only", self.kubectl.call("exec", "imaged", "--", "touch", "/image/new").error)
