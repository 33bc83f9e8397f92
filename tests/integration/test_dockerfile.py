"""What every instruction of a Dockerfile does at run time."""

from case import GantryTest
from images import Tree, layer_of

PRINT_ARGUMENTS = ["sh", "-c", 'for word in "$0" "$@"; do echo "<$word>"; done']


class Dockerfile(GantryTest):
    def run_image(self, config, *layers, command=(), **more):
        """Status and output of a container of an image with `config`."""
        image_name = self.add_image("made", config, *layers)
        return self.run_to_end(self.run_pod(), "one", *command, image_name=image_name, **more)

    def test_entrypoint_is_followed_by_cmd(self):
        _, text = self.run_image({"Entrypoint": PRINT_ARGUMENTS, "Cmd": ["a b", ""]})
        self.assertEqual("<a b>\n<>", text)

    def test_args_take_the_place_of_cmd(self):
        _, text = self.run_image({"Entrypoint": PRINT_ARGUMENTS, "Cmd": ["cmd"]}, args=["one", "two"])
        self.assertEqual("<one>\n<two>", text)

    def test_command_takes_the_place_of_entrypoint_and_cmd(self):
        _, text = self.run_image({"Entrypoint": ["/none"], "Cmd": ["cmd"]}, command=["echo", "mine"])
        self.assertEqual("mine", text)

    def test_cmd_alone_is_the_command(self):
        self.assertEqual("by cmd", self.run_image({"Cmd": ["echo", "by cmd"]})[1])

    def test_an_image_without_entrypoint_and_cmd_is_refused(self):
        image_name = self.add_image("made", {})
        pod = self.run_pod()
        document = self.crictl.document(self.container_config("one", image_name=image_name))
        self.assert_refused("InvalidArgument", ["(?i)command"], "create", pod.id, document, pod.document)
        self.assertEqual([], self.containers())

    def test_env_is_set_and_the_container_s_own_wins(self):
        _, text = self.run_image({"Env": ["PATH=/bin", "KEPT=of image", "BOTH=of image", "EMPTY="]},
                                 command=["env"], envs=[{"key": "BOTH", "value": "of container"}])
        lines = text.splitlines()
        for line in ("KEPT=of image", "BOTH=of container", "EMPTY=", "PATH=/bin"):
            self.assertIn(line, lines)
        self.assertNotIn("BOTH=of image", lines)

    def test_workdir_is_where_the_command_starts(self):
        self.assertEqual("/home/app", self.run_image({"WorkingDir": "/home/app"}, command=["pwd"])[1])

    def test_a_missing_workdir_is_made(self):
        self.assertEqual("/not/yet/there", self.run_image({"WorkingDir": "/not/yet/there"}, command=["pwd"])[1])

    def test_user_by_name_has_the_groups_of_the_image(self):
        _, text = self.run_image({"User": "app"}, command=["sh", "-c", "id -u; id -g; id -G; echo $HOME"])
        self.assertEqual("1000\n1000\n1000 2000\n/home/app", text)

    def test_user_by_number_needs_no_entry(self):
        self.assertEqual("4321\n0", self.run_image({"User": "4321"}, command=["sh", "-c", "id -u; id -g"])[1])

    def test_user_with_a_group_by_name_runs_with_that_group(self):
        self.assertEqual("1000\n3000", self.run_image({"User": "app:other"}, command=["sh", "-c", "id -u; id -g"])[1])

    def test_user_with_a_group_by_number_runs_with_that_group(self):
        self.assertEqual("7\n8", self.run_image({"User": "7:8"}, command=["sh", "-c", "id -u; id -g"])[1])

    def test_volume_starts_with_the_image_s_content_and_its_owner(self):
        layer = Tree().folder("data", 0o750).file("data/seed", "from the image\n").layer()
        script = "cat /data/seed; stat -c %a /data; grep -c ' /data ' /proc/mounts"
        _, text = self.run_image({"Volumes": {"/data": {}}}, layer,
                                 command=["sh", "-c", script])
        self.assertEqual("from the image\n750\n1", text)

    def test_volume_is_writable_though_the_root_is_read_only(self):
        security = {"linux": {"security_context": {"readonly_rootfs": True}}}
        script = "touch /data/new && ls /data; touch /root-file"
        status, text = self.run_image({"Volumes": {"/data": {}}}, command=["sh", "-c", script], **security)
        self.assertRegex(text, "(?m)^new$")
        self.assertIn("Read-only file system", text)
        self.assertNotEqual(0, status["exitCode"])

    def test_expose_changes_nothing_and_is_shown(self):
        image_name = self.add_image("made", {"ExposedPorts": {"80/tcp": {}}, "Cmd": ["true"]})
        self.assertEqual(0, self.run_to_end(self.run_pod(), "one", image_name=image_name)[0]["exitCode"])
        self.assertIn("80/tcp", self.crictl("inspecti", "-o", "json", image_name))

    def test_stopsignal_is_what_a_stop_sends(self):
        image_name = self.add_image("made", {"StopSignal": "SIGUSR1"})
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "trap 'exit 42' USR1; echo ready; while :; do sleep 0.1; done",
                                image_name=image_name)
        self.wait_output(pod, "one", "ready")
        self.crictl("stop", "--timeout", "20", container)
        self.assertEqual(42, self.status(container)["exitCode"])

    def test_cve_2026_53488_a_label_is_kept_and_nothing_else(self):
        image_name = self.add_image("made", {"Labels": {"org.test.who": "we"}})
        self.assertIn('"org.test.who": "we"', self.crictl("inspecti", "-o", "json", image_name))

    def test_healthcheck_is_kept_and_not_run(self):
        check = {"Test": ["CMD", "touch", "/checked"], "Interval": 1000000}
        image_name = self.add_image("made", {"Healthcheck": check})
        self.assertIn("/checked", self.crictl("inspecti", "-o", "json", image_name))
        status, _ = self.run_to_end(self.run_pod(), "one", "sh", "-c", "sleep 1; test ! -e /checked",
                                    image_name=image_name)
        self.assertEqual(0, status["exitCode"])

    def test_a_later_layer_replaces_and_removes_what_an_earlier_one_has(self):
        upper = layer_of({"etc/both": "upper", "etc/.wh.gone": ""})
        _, text = self.run_image({}, layer_of({"etc/both": "lower", "etc/gone": "x"}), upper,
                                 command=["sh", "-c", "cat /etc/both; test ! -e /etc/gone && echo gone"])
        self.assertEqual("uppergone", text)
