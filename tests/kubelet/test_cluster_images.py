"""Images as a pod asks for them: pulled always, with a password, in vain."""

import base64
import json

from cluster_case import SLEEP, ClusterCase, container, is_ready, of, wait_until
from images import Registry, image

# "open sesame" by bcrypt
PASSWORDS = "ali:$2b$04$ZenKsDIIL58NMRSRngG4KeacaXOUEKYu1t1due18AZAJkUoxA.G.G\n"


class ClusterImages(ClusterCase):
    @classmethod
    def prepare(cls, daemon):
        folder = daemon.folder / "private-registry"
        folder.mkdir()
        (folder / "passwords").write_text(PASSWORDS)
        cls.lane.registry.push("private/thing", "1", image([cls.lane.base], {"Cmd": list(SLEEP)}))
        cls.private = Registry(folder, store_of=cls.lane.registry, password_file=folder / "passwords")
        cls.addClassCleanup(cls.private.stop)
        hosts = daemon.folder / "certs.d" / cls.private.address
        hosts.mkdir()
        (hosts / "hosts.toml").write_text(f'server = "http://{cls.private.address}"\n')

    def _waiting(self, name, *reasons):
        """What is told of a container that waits for one of these reasons."""
        status = self.run_until(name, lambda now: of(now, "one")["state"].get("waiting", {}).get("reason") in reasons,
                                f"waiting: {reasons}")
        return of(status, "one")["state"]["waiting"]["message"]

    def _put_password(self, name, word):
        entry = {"auth": base64.b64encode(f"ali:{word}".encode()).decode()}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                            "metadata": {"name": name}, "stringData": {
                                ".dockerconfigjson": json.dumps({"auths": {self.private.address: entry}})}})

    def _put_private(self, name, *secrets):
        self.put(name, {**container("one"), "image": f"{self.private.address}/private/thing:1",
                        "imagePullPolicy": "Always"}, imagePullSecrets=[{"name": one} for one in secrets])

    def test_a_private_image_needs_the_password(self):
        self._put_password("wrong", "close sesame")
        self._put_password("right", "open sesame")
        self._put_private("without")
        self.assertRegex(self._waiting("without", "ErrImagePull", "ImagePullBackOff"), "(?i)unauthori[sz]ed|denied|401|authenti")
        self._put_private("mistaken", "wrong")
        self.assertRegex(self._waiting("mistaken", "ErrImagePull", "ImagePullBackOff"), "(?i)unauthori[sz]ed|denied|401|authenti")
        self._put_private("let-in", "right")
        status = self.run_until("let-in", is_ready, "ready")
        self.assertIn("private/thing@sha256:", of(status, "one")["imageID"])
        wait_until(lambda: any(reason == "Pulled" and "Successfully pulled image" in text
                               for reason, text in self.events("let-in")), "the event")
        # Who has it already may not use it without the password either.
        self._put_private("late")
        self._waiting("late", "ErrImagePull", "ImagePullBackOff")

    def test_an_image_that_is_not_there_is_told(self):
        self.put("unknown", {**container("one"), "image": "docker.io/library/nothing:1"})
        self.assertIn("library/nothing", self._waiting("unknown", "ErrImagePull", "ImagePullBackOff"))
        wait_until(lambda: [text for reason, text in self.events("unknown")
                            if reason == "Failed" and 'Failed to pull image "docker.io/library/nothing:1"' in text
                            and "NotFound" in text],
                   "the event")

    def test_a_registry_that_is_not_there_is_told(self):
        self.put("gone", {**container("one"), "image": "127.0.0.1:9/thing:1"})
        self.assertIn("127.0.0.1:9", self._waiting("gone", "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"))

    def test_a_name_that_is_none_is_told(self):
        self.put("strange", {**container("one"), "image": "docker.io/library/BASE:1"})
        self._waiting("strange", "InvalidImageName")

    def test_an_image_that_may_not_be_pulled_is_told(self):
        self.put("never", {**container("one"), "image": "docker.io/library/nothing:1", "imagePullPolicy": "Never"})
        self._waiting("never", "ErrImageNeverPull")

    def test_the_image_of_a_pod_is_told_by_a_digest_that_can_be_pulled(self):
        tagged = of(self.run_ready("tagged", container("one", *SLEEP)), "one")
        self.assertEqual("docker.io/library/base:1", tagged["image"])
        self.assertRegex(tagged["imageID"], r"^docker\.io/library/base@sha256:[0-9a-f]{64}$")
        pinned = of(self.run_ready("pinned", {**container("one", *SLEEP), "image": tagged["imageID"],
                                              "imagePullPolicy": "Always"}), "one")
        self.assertEqual((tagged["imageID"], tagged["imageID"]), (pinned["image"], pinned["imageID"]))
