"""Devices that vendors describe by CDI files."""

import json
import os

from test_api import ApiTest


class CdiDevices(ApiTest):
    def setUp(self):
        super().setUp()
        self.folder = self.daemon.folder / "cdi"
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            path.unlink()

    def describe(self, name, kind, edits):
        new = self.folder / "new"
        new.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": kind,
                                   "devices": [{"name": "one", "containerEdits": edits}]}))
        os.rename(new, self.folder / name)

    def create_with(self, pod, name, *devices, **more):
        config = self.container_config(name, "sh", "-c", "echo $GPU; cat /vendor/name; ls -l /dev/vendor0; echo x >/dev/vendor0",
                                       CDI_devices=[{"name": device} for device in devices], **more)
        return self.call("CreateContainer", {"pod_sandbox_id": pod.id, "config": config, "sandbox_config": pod.config})

    def test_row_86_a_device_is_what_its_file_says_and_a_broken_file_fails_only_its_users(self):
        library = self.daemon.folder / "library"
        library.write_text("from the host\n")
        self.describe("good.json", "vendor.com/gpu", {
            "env": ["GPU=yes"], "deviceNodes": [{"path": "/dev/vendor0", "hostPath": "/dev/null"}],
            "mounts": [{"hostPath": str(library), "containerPath": "/vendor/name", "options": ["ro"]}]})
        self.describe("broken.json", "other.com/gpu", {"colour": "red"})
        pod = self.run_pod()
        refused = self.create_with(pod, "broken", "other.com/gpu=one")
        self.assertEqual("FAILED_PRECONDITION", refused.code, refused.text)
        self.assertRegex(refused.text, "unresolvable CDI devices other.com/gpu=one.*broken.json.*colour")
        self.assertRegex(self.crictl("info"), "broken.json.*colour")
        for name, made in (("field", self.create_with(pod, "field", "vendor.com/gpu=one")),
                           ("annotation", self.create_with(pod, "annotation", annotations={"cdi.k8s.io/x": "vendor.com/gpu=one"}))):
            self.assertEqual("OK", made.code, made.text)
            container = made.message["container_id"]
            self.crictl("start", container)
            self.assertEqual(0, self.wait_exited(container)["exitCode"], self.output(pod, name))
            self.assertRegex(self.output(pod, name), r"(?s)^yes\nfrom the host\ncrw.* 1, +3 .*/dev/vendor0$")
        # Mended, and seen without being told.
        self.describe("broken.json", "other.com/gpu", {"env": ["GPU=mended"]})
        mended = self.create_with(pod, "mended", "other.com/gpu=one")
        self.assertEqual("OK", mended.code, mended.text)

    def test_a_malformed_device_name_is_an_invalid_argument(self):
        pod = self.run_pod()
        reply = self.create_with(pod, "one", "gpu0")
        self.assertEqual("INVALID_ARGUMENT", reply.code, reply.text)
        self.assertRegex(reply.text, "gpu0")
