"""Bad input gets the right code and a text that names what is wrong, and leaves nothing."""

import os
import subprocess

from case import BASE, GantryTest
from daemon import Daemon
from images import digest_of, image, layer_of

MISSING = "docker.io/library/never-pulled:1"
TOO_LARGE_ID = 1 << 32


class BadImages(GantryTest):
    def push(self, name, *layers):
        made = image([self.lane.base, *layers], {"Cmd": [name]})
        return self.lane.registry.push(name, "1", made), made

    def refuse_pull(self, code, words, name):
        error = self.assert_refused(code, words, "pull", name)
        self.assert_nothing_left()
        return error

    def test_an_image_that_the_registry_does_not_have_is_not_found(self):
        self.refuse_pull("NotFound", ["no-such-image"], f"{self.lane.registry.address}/no-such-image:1")

    def test_a_tag_that_the_registry_does_not_have_is_not_found(self):
        self.refuse_pull("NotFound", ["library/base:none"], "docker.io/library/base:none")

    def test_a_registry_that_nobody_listens_for_is_unavailable(self):
        # The kubelet knows an unreachable registry by this word at the front.
        self.refuse_pull("Unknown", ["desc = RegistryUnavailable", "127.0.0.1:9"], "127.0.0.1:9/image:1")

    def test_a_digest_that_the_registry_does_not_have_is_not_found(self):
        digest = "sha256:" + "0" * 64
        self.refuse_pull("NotFound", [digest], f"{self.lane.registry.address}/library/base@{digest}")

    def test_a_malformed_name_is_an_invalid_argument(self):
        self.refuse_pull("InvalidArgument", ["UPPER"], "docker.io/UPPER/Case:1")

    def test_a_layer_whose_bytes_are_not_those_of_its_digest_is_refused(self):
        layer = layer_of({"etc/unique": "tampered"})
        name, _ = self.push("tampered", layer)
        digest = digest_of(layer.packed)
        path = self.lane.registry.blob_path(digest)
        content = bytearray(path.read_bytes())
        content[4] ^= 1  # the time in gzip's header: it unpacks as before
        path.write_bytes(content)
        answer = self.crictl.call("pull", name)
        self.assertNotEqual(0, answer.status)
        self.assertIn(digest, answer.error)
        self.assert_nothing_left()
        self.assertNotIn("tampered", self.crictl("images", "-o", "json"))

    def test_a_full_disk_fails_the_pull_and_nothing_else(self):
        disk = self.daemon.folder / "small"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", disk], check=True)
        daemon = Daemon(self.lane.binaries, self.lane.registry.address, root=disk / "root")
        try:
            daemon.start()
            crictl = type(self.crictl)(self.lane.crictl, daemon)
            crictl("pull", BASE)
            before = self.files(daemon.root)
            made = layer_of({"big": os.urandom(96 << 20)})
            answer = crictl.call("pull", self.push("big", made)[0])
            self.assertNotEqual(0, answer.status)
            self.assertIn("the disk is full", answer.error)
            self.assertEqual(before, self.files(daemon.root))
            crictl("pull", self.push("small")[0])
        finally:
            daemon.delete(keep=False)
            subprocess.run(["umount", disk], check=True)

    @staticmethod
    def files(root):
        return sorted(os.path.join(path, name) for path, _, names in os.walk(root) for name in names
                      if not name.endswith(("-wal", "-shm", "-journal")))


class BadContainers(GantryTest):
    def setUp(self):
        super().setUp()
        self.pod = self.run_pod()
        self.with_pod = self.oracle.look()

    def refuse_create(self, code, words, *command, **more):
        config = self.container_config("bad", *(command or ("true",)), **more)
        error = self.assert_refused(code, words, "create", self.pod.id, self.crictl.document(config), self.pod.document)
        self.assertEqual([], self.containers())
        self.assert_nothing_left(self.with_pod)
        return error

    def refuse_start(self, words, *command, **more):
        """The start fails; the container has ended as kubectl shows it, with the same words."""
        container = self.create(self.pod, "bad", *command, **more)
        answer = self.crictl.call("start", container)
        self.assertNotEqual(0, answer.status)
        status = self.status(container)
        self.assertEqual(("CONTAINER_EXITED", 128, "StartError"),
                         (status["state"], status["exitCode"], status["reason"]))
        for word in words:
            self.assertRegex(status["message"], word)
        self.assertIn(status["message"], answer.error.replace('\\"', '"'))
        self.crictl("rm", container)
        self.assert_nothing_left(self.with_pod)

    def user(self, **context):
        return {"linux": {"security_context": context}}

    def test_an_image_that_was_not_pulled_is_not_found(self):
        self.refuse_create("NotFound", ["never-pulled"], image_name=MISSING)

    def test_a_missing_binary_is_a_start_error(self):
        self.refuse_start(["/no/such/program", "(?i)no such file"], "/no/such/program")

    def test_a_command_that_is_not_in_the_path_is_a_start_error(self):
        self.refuse_start(["no-such-program"], "no-such-program")

    def test_a_file_that_is_not_executable_is_a_start_error(self):
        self.refuse_start(["/etc/passwd", "(?i)permission denied"], "/etc/passwd")

    def test_a_folder_as_command_is_a_start_error(self):
        self.refuse_start(["/etc", "(?i)permission denied|is a directory"], "/etc")

    def test_an_unknown_user_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", ["stranger", "/etc/passwd"], **self.user(run_as_username="stranger"))

    def test_a_uid_that_does_not_fit_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", [f"run_as_user {TOO_LARGE_ID}"],
                           **self.user(run_as_user={"value": TOO_LARGE_ID}))

    def test_a_negative_uid_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", ["run_as_user -1"], **self.user(run_as_user={"value": -1}))

    def test_a_group_without_a_user_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", ["run_as_group"], **self.user(run_as_group={"value": 5}))

    def test_an_unknown_group_of_the_image_is_an_invalid_argument(self):
        name = self.add_image("grouped", {"User": "app:strangers"})
        self.with_pod = self.oracle.look()
        self.refuse_create("InvalidArgument", ["strangers", "/etc/group"], image_name=name)

    def test_a_mount_source_that_cannot_be_made_is_named(self):
        config = self.container_config("bad", "true",
                                       mounts=[{"host_path": "/etc/passwd/source", "container_path": "/x"}])
        answer = self.crictl.call("create", self.pod.id, self.crictl.document(config), self.pod.document)
        self.assertNotEqual(0, answer.status)
        self.assertIn("/etc/passwd/source", answer.error)
        self.assertIn("Not a directory", answer.error)
        self.assertEqual([], self.containers())
        self.assert_nothing_left(self.with_pod)

    def test_a_relative_mount_source_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", ["host_path", "relative/path"],
                           mounts=[{"host_path": "relative/path", "container_path": "/x"}])

    def test_row_56_a_log_path_that_leaves_the_folder_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", ["log_path", r"\.\./out.log"], log_path="../out.log")

    def test_an_unknown_capability_is_an_invalid_argument(self):
        self.refuse_create("InvalidArgument", ["CAP_NONE|NONE"],
                           **self.user(capabilities={"add_capabilities": ["NONE"]}))

    def test_a_container_name_is_taken_once(self):
        first = self.create(self.pod, "twin", "true")
        document = self.crictl.document(self.container_config("twin", "true"))
        self.assert_refused("AlreadyExists", ["twin", first[:12]], "create", self.pod.id, document, self.pod.document)
        self.assertEqual([first], self.containers())

    def test_a_container_of_an_unknown_pod_is_not_found(self):
        document = self.crictl.document(self.container_config("bad", "true"))
        self.assert_refused("NotFound", ["0123456789ab"], "create", "0123456789ab", document, self.pod.document)

    def test_a_container_of_a_stopped_pod_is_refused(self):
        self.crictl("stopp", self.pod.id)
        document = self.crictl.document(self.container_config("bad", "true"))
        self.assert_refused("FailedPrecondition", ["not ready"], "create", self.pod.id, document, self.pod.document)

    def test_an_exec_of_a_missing_program_says_so_and_leaves_nothing(self):
        container = self.launch(self.pod, "one", "sleep", "1000")
        before = self.oracle.look()
        answer = self.crictl.call("exec", "-s", container, "/no/such/program")
        self.assertNotEqual(0, answer.status)
        self.assertRegex(answer.error, "/no/such/program.*(?i:no such file)")
        self.assert_nothing_left(before)

    def test_an_exec_in_an_ended_container_is_refused(self):
        container = self.wait_exited(self.launch(self.pod, "one", "true"))["id"]
        answer = self.crictl.call("exec", "-s", container, "true")
        self.assertNotEqual(0, answer.status)
        self.assertRegex(answer.error, "(?i)not running|EXITED")

    def test_a_container_starts_once(self):
        container = self.launch(self.pod, "one", "sleep", "1000")
        self.assert_refused("FailedPrecondition", ["CONTAINER_RUNNING"], "start", container)


class BadPods(GantryTest):
    def refuse_pod(self, code, words, config, *options):
        self.assert_refused(code, words, "runp", *options, self.crictl.document(config))
        self.assertEqual([], self.pods())
        self.assert_nothing_left()

    def test_an_unknown_handler_is_an_invalid_argument(self):
        self.refuse_pod("InvalidArgument", ["runtime_handler", "no-such-handler"], self.pod_config("pod"),
                        "--runtime", "no-such-handler")

    def test_a_pod_name_is_taken_once(self):
        pod = self.run_pod()
        self.assert_refused("AlreadyExists", ["pod_test", pod.id[:12]], "runp", pod.document)
        self.assertEqual([pod.id], self.pods())

    def test_a_relative_log_directory_is_an_invalid_argument(self):
        config = {**self.pod_config("pod"), "log_directory": "relative"}
        self.refuse_pod("InvalidArgument", ["log_directory", "relative"], config)

    def test_a_host_name_that_is_too_long_is_an_invalid_argument(self):
        self.refuse_pod("InvalidArgument", ["hostname", "too long"],
                        self.pod_config("pod", network=0, hostname="h" * 65))

    def test_an_unknown_sysctl_is_named(self):
        config = self.pod_config("pod", network=0)
        config["linux"]["sysctls"] = {"net.ipv4.no_such_key": "1"}
        answer = self.crictl.call("runp", self.crictl.document(config))
        self.assertNotEqual(0, answer.status)
        self.assertRegex(answer.error, "no_such_key")
        self.assert_nothing_left()


class BadConfiguration(GantryTest):
    def refused_start(self, config, **changes):
        command = self.daemon.command(config)
        for flag, value in changes.items():
            command[command.index("--" + flag) + 1] = str(value)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(1, done.returncode, done.stderr)
        return done.stderr

    def test_a_typo_in_the_configuration_is_shown_with_its_place(self):
        config = self.daemon.folder / "typo.toml"
        config.write_text('[network]\n\nconf_dri = "/etc/cni/net.d"\n')
        error = self.refused_start(config)
        self.assertIn(f"{config}:3: ", error)
        self.assertIn('unknown key "network.conf_dri" (did you mean "conf_dir"?)', error)

    def test_a_configuration_that_is_not_there_is_named(self):
        self.assertIn("/no/such/config.toml", self.refused_start("/no/such/config.toml"))

    def test_a_second_daemon_on_the_same_root_is_refused_and_the_first_goes_on(self):
        inode = self.daemon.socket.stat().st_ino
        error = self.refused_start(self.daemon.config)
        self.assertIn(f"{self.daemon.root} is in use by another gantryd (pid {self.daemon.pid})", error)
        self.assertEqual(inode, self.daemon.socket.stat().st_ino)
        self.crictl("version")

    def test_a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on(self):
        inode = self.daemon.socket.stat().st_ino
        error = self.refused_start(self.daemon.config, root=self.daemon.folder / "other-root")
        self.assertIn(f"{self.daemon.state} is in use by another gantryd", error)
        self.assertEqual(inode, self.daemon.socket.stat().st_ino)
        self.crictl("version")
