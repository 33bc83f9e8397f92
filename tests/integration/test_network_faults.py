"""CNI plugins and configurations that fail, hang, vanish and come again. Numbers: the rows of the scenario list."""

import json
import os
import pathlib
import signal
import subprocess

from case import pids_of
from cri_call import CriCall
from network_case import NAMESPACE_POD, NetworkCase, wait_until

BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id")


class PluginFaults(NetworkCase):
    def setUp(self):
        super().setUp()
        self.plugin()

    def test_33_an_error_of_add_is_passed_on_and_the_same_pod_works_later(self):
        self.configure(self.bridge(), "fake")
        self.on("fake.ADD", """echo '{"code": 100, "msg": "no more of it", "details": "ask again"}'; exit 1""")
        text = self.run_refused("Internal", ['CNI network "test": plugin "fake" ADD: no more of it; ask again'.replace(
            '"', r'\\?"')])
        self.assertNotIn("DEL", text)
        self.assertEqual(1, len(self.calls("DEL")))
        self.assert_nothing_left()
        (self.fake / "fake.ADD").unlink()
        self.assertIn("10.83.0.", self.address(self.run_pod(network=NAMESPACE_POD)))

    def test_33_try_again_later_is_unavailable(self):
        self.configure(self.bridge(), "fake")
        self.on("fake.ADD", """echo '{"code": 11, "msg": "the agent starts"}'; exit 1""")
        self.run_refused("Unavailable", ["the agent starts"])

    def test_34_what_is_no_result_fails_the_pod_and_del_is_run(self):
        self.configure(self.bridge(), "fake")
        for name, script, words in (
                ("junk", "echo 'all done!'; exit 0", "the CNI result is malformed"),
                ("nothing", "exit 0", "the CNI result is malformed"),
                ("half", """printf '{"ips": [{"addr'; exit 0""", "the CNI result is malformed"),
                ("no address", "echo '{}'; exit 0", "no address for the pod"),
                ("10 MB", "yes | head -c 10000000; exit 0", "wrote more than 4194304 bytes"),
                ("a signal", "kill -SEGV $$", "killed by signal 11"),
                ("a status", "echo 'panic: no bridge' >&2; exit 3", "exit status 3: panic: no bridge")):
            with self.subTest(name):
                (self.fake / "log").unlink(missing_ok=True)
                self.on("fake.ADD", script)
                self.run_refused("Internal", [words])
                self.assertEqual(1, len(self.calls("DEL")))
                self.assertEqual([], self.leases())
                self.assertEqual([], list(pathlib.Path("/var/lib/cni/results").glob("*")))
                self.assert_nothing_left()

    def test_37_a_pod_whose_rollback_fails_stays_over_a_restart_and_can_be_removed(self):
        self.configure(self.bridge(), "fake")
        self.on("fake.DEL", """echo '{"code": 5, "msg": "device busy"}'; exit 1""")
        # The files of the pod come after its network.
        document = self.crictl.document(self.pod_config("pod", NAMESPACE_POD, dns_config={"servers": ["a\nb"]}))
        self.assert_refused("InvalidArgument", ["dns_config", "is left NOTREADY", "device busy"], "runp", document)
        pod, = self.pods()
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod))
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual([pod], self.pods())
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod))
        self.assert_refused("Internal", ["device busy"], "stopp", pod)
        (self.fake / "fake.DEL").unlink()
        self.crictl("stopp", pod)
        self.crictl("rmp", pod)
        self.assertEqual([], self.leases())
        self.assert_nothing_left()

    def test_39_del_waits_for_a_plugin_that_is_away_and_the_pod_goes_before_it(self):
        self.configure(self.bridge(), "fake")
        pod = self.run_pod(network=NAMESPACE_POD)
        program = self.plugin()
        away = program.with_suffix(".away")
        program.rename(away)
        # The first tries are told.
        for _ in range(3):
            self.assert_refused("Internal", ["take the pod off its network", "fake.* is in none of"], "stopp", pod.id)
        self.crictl("stopp", pod.id)
        self.crictl("rmp", pod.id)
        self.assertEqual([], self.pods())
        self.assertFalse(self.netns(pod.id).exists())
        # Nobody but the daemon knows of it any more; a restart does not make it forget.
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual([], self.pods())
        self.assertEqual([], self.calls("DEL"))
        away.rename(program)
        wait_until(lambda: self.calls("DEL"), "DEL is run at last", 60)
        self.assertIn(f"{pod.id} netns=", self.calls("DEL")[0])
        wait_until(lambda: "has succeeded for a removed pod" in self.daemon.last_words(), "it is known to be paid")
        self.assertEqual([], self.leases())
        again = self.run_pod(network=NAMESPACE_POD)  # the name is free
        self.crictl("stopp", again.id)

    def test_39_the_network_follows_a_configuration_that_comes_and_goes(self):
        text = self.file.read_text()
        self.file.unlink()
        wait_until(lambda: not self.ready()[0], "the network is not ready", 40)
        self.assertIn(f"no CNI configuration in {self.folder}", self.ready()[1])
        self.run_refused("Unavailable", ["no CNI configuration in", "gantry config network --bridge"])
        # Half of a file, then the whole of it.
        self.file.write_text(text[:40])
        wait_until(lambda: "10-test.conflist" in self.ready()[1], "the bad file is named")
        self.daemon.use_network(text)
        self.assertTrue(self.ready()[0])
        # A bad one before it hides nothing.
        (self.folder / "00-bad.conflist").write_text("{")
        wait_until(lambda: "00-bad.conflist" in self.daemon.last_words(), "the bad file is logged")
        self.assertTrue(self.ready()[0])
        self.run_pod(network=NAMESPACE_POD)

    def test_39_the_folder_may_be_removed_and_made_again(self):
        text = self.file.read_text()
        self.file.unlink()
        self.folder.rmdir()
        wait_until(lambda: not self.ready()[0], "the network is not ready", 40)
        self.folder.mkdir()
        self.daemon.use_network(text)
        self.assertTrue(self.ready()[0])
        self.run_pod(network=NAMESPACE_POD)

    def test_39_a_flapping_status_is_told_after_a_grace(self):
        self.configure(self.bridge_free(), version="1.1.0")
        wait_until(lambda: self.ready()[0], "the network is ready")
        self.assertEqual([], [line for line in self.calls("STATUS") if "netns=/" in line])
        asked = len(self.calls("STATUS"))
        self.on("fake.STATUS", """echo '{"code": 50, "msg": "the agent is away"}'; exit 1""")
        wait_until(lambda: len(self.calls("STATUS")) > asked, "STATUS is asked again")
        self.assertTrue(self.ready()[0])
        wait_until(lambda: not self.ready()[0], "the network is not ready", 40)
        self.assertIn("the agent is away", self.ready()[1])
        self.run_refused("Unavailable", ["the agent is away"])
        (self.fake / "fake.STATUS").unlink()
        wait_until(lambda: self.ready()[0], "the network is ready again")
        self.run_pod(network=NAMESPACE_POD)

    def bridge_free(self):
        """One plugin of 1.1.0, which Debian's are not: it gives all pods one address."""
        self.on("fake.ADD", """echo '{"cniVersion": "1.1.0", "ips": [{"address": "192.0.2.9/24"}]}'; exit 0""")
        return "fake"

    def test_gc_at_the_start_names_the_pods_that_are_there(self):
        self.configure(self.bridge_free(), version="1.1.0")
        wait_until(lambda: self.ready()[0], "the network is ready")
        pod = self.run_pod(network=NAMESPACE_POD)
        self.daemon.kill()
        # That of the first start may have come by now.
        found = self.fake / "fake.GC.json"
        found.unlink(missing_ok=True)
        self.daemon.start()
        wait_until(lambda: found.exists() and found.stat().st_size, "GC is run")
        self.assertEqual([{"containerID": pod.id, "ifname": "eth0"}],
                         self.input("fake.GC")["cni.dev/valid-attachments"])

    def test_5_killed_while_add_hangs_the_pod_is_listed_and_can_be_removed(self):
        self.configure(self.bridge(), "fake")
        self.on("fake.ADD", "sleep 98765 & wait")
        document = self.crictl.document(self.pod_config("pod", NAMESPACE_POD))
        client = subprocess.Popen([*self.crictl.command, "runp", document], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: pids_of("sleep 98765"), "ADD hangs")
        self.daemon.kill()
        client.wait(60)
        self.daemon.start()
        pod, = self.pods()
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod))
        self.assertTrue(self.netns(pod).exists())
        self.assertEqual([], pids_of("sleep 98765"))
        (self.fake / "fake.ADD").unlink()
        self.crictl("stopp", pod)
        self.assertEqual(1, len(self.calls("DEL")))
        self.assertNotIn("prevResult", self.input("fake.DEL"))
        self.crictl("rmp", pod)
        self.assertEqual([], self.leases())
        self.assert_nothing_left()

    def test_24_what_dies_while_a_pod_is_made_fails_that_call(self):
        self.configure(self.bridge(), "fake")
        config = self.pod_config("pod", NAMESPACE_POD)
        config["linux"]["security_context"]["namespace_options"]["pid"] = NAMESPACE_POD
        document = self.crictl.document(config)
        for victim, words in (("gantry:shim ", "the pod's shim has died"), ("gantry-init", "PID 1 of the pod")):
            with self.subTest(victim):
                others = set(pids_of(victim))
                self.on("fake.ADD", "touch $fake/here; until [ -e $fake/go ]; do sleep 0.05; done")
                client = subprocess.Popen([*self.crictl.command, "runp", document], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                wait_until((self.fake / "here").exists, "ADD runs")
                os.kill(*(set(pids_of(victim)) - others), signal.SIGKILL)
                wait_until(lambda: any(words in one["died"] for one in self.sandboxes()), "it is noted")
                (self.fake / "go").touch()
                text, _ = client.communicate(timeout=60)
                self.assertNotEqual(0, client.returncode, text)
                self.assertIn(words, text)
                self.assertEqual([], self.pods())
                self.assertEqual([], self.leases())
                self.assert_nothing_left()
                (self.fake / "here").unlink()
                (self.fake / "go").unlink()

    def sandboxes(self):
        """As the daemon sees them, those in the making too."""
        call = CriCall(self.lane.binaries, self.daemon)
        return json.loads(call("DebugState", service="gantry.v1.Gantry").message["json"])["sandboxes"]

    def test_a_plugin_that_hangs_at_the_end_does_not_keep_the_daemon(self):
        self.configure(self.bridge(), "fake")
        pod = self.run_pod(network=NAMESPACE_POD)
        self.on("fake.DEL", "sleep 98764 & wait")
        client = subprocess.Popen([*self.crictl.command, "stopp", pod.id], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: pids_of("sleep 98764"), "DEL hangs")
        self.assertEqual(0, self.daemon.stop())
        client.wait(60)
        wait_until(lambda: not pids_of("sleep 98764"), "the plugin is gone")
        (self.fake / "fake.DEL").unlink()
        self.daemon.start()


class LostNamespaces(NetworkCase):
    def setUp(self):
        super().setUp()
        self.plugin()
        self.configure(self.bridge(), "fake")

    def lose(self, pod):
        subprocess.run(["umount", "-l", self.netns(pod.id)], check=True)
        self.netns(pod.id).unlink()

    def assert_removed(self, pod):
        self.crictl("stopp", pod.id)
        self.assertEqual([f"fake DEL {pod.id} netns="], self.calls("DEL"))
        self.crictl("rmp", pod.id)
        self.assertFalse(self.netns(pod.id).exists())
        self.assertEqual([], self.leases())
        self.assert_nothing_left()

    def test_38_a_pod_whose_pin_is_gone_is_removed_with_del(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        self.lose(pod)
        self.assert_removed(pod)

    def test_38_a_plain_file_in_its_place_is_removed_too(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        self.lose(pod)
        self.netns(pod.id).write_text("stale")
        self.assert_removed(pod)

    def test_38_a_pod_whose_processes_were_killed_is_removed_with_del(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        self.kill_all_in(pod.id)
        wait_until(lambda: self.pod_state(pod.id) == "SANDBOX_NOTREADY", "the pod is NOTREADY")
        self.lose(pod)
        self.assert_removed(pod)

    def test_18_after_another_boot_del_is_run_without_being_asked(self):
        pod = self.run_pod(network=NAMESPACE_POD)
        program = self.daemon.plugins / "fake"
        away = program.with_suffix(".away")
        self.assertEqual(1, len(self.leases()))
        self.daemon.kill()
        self.kill_all_in(pod.id)
        self.lose(pod)
        boot = BOOT.read_text().strip().encode()
        self.edit_record(pod.id, boot, boot[::-1])
        program.rename(away)
        self.daemon.start()
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod.id))
        wait_until(lambda: "CNI DEL is still owed" in self.daemon.last_words(), "DEL fails without the plugin")
        away.rename(program)
        wait_until(lambda: self.calls("DEL"), "DEL is run", 60)
        self.assertEqual([f"fake DEL {pod.id} netns="], self.calls("DEL"))
        wait_until(lambda: not self.leases(), "the address is free")
        self.crictl("stopp", pod.id)
        self.crictl("rmp", pod.id)
        self.assertEqual(1, len(self.calls("DEL")))


class StuckCgroup(NetworkCase):
    """A shim that does not start, and leaves a process where the pod's cgroup is to be removed."""

    def test_36_a_pod_whose_start_and_rollback_fail_stays_over_a_restart_and_can_be_removed(self):
        group = pathlib.Path("/sys/fs/cgroup") / self.daemon.cgroup / "stuck"
        groups = [group] if (group.parent.parent / "cgroup.controllers").exists() else []
        memory = pathlib.Path("/sys/fs/cgroup/memory") / self.daemon.cgroup / "stuck"
        groups = groups or [memory]
        self.plugin()
        self.configure(self.bridge(), "fake")
        # As ADD fails, the pod's cgroup is held by a process that nobody knows.
        self.on("fake.ADD", "env -i setsid sleep 98763 >/dev/null 2>&1 </dev/null &\n"
                            f"echo $! > {groups[0]}/cgroup.procs; echo broken >&2; exit 1")
        document = self.crictl.document(self.pod_config("stuck", NAMESPACE_POD))
        self.assert_refused("Internal", ["broken", "is left NOTREADY"], "runp", document)
        pod, = self.pods()
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual([pod], self.pods())
        self.assertEqual("SANDBOX_NOTREADY", self.pod_state(pod))
        subprocess.run(["kill", "-KILL", *map(str, pids_of("sleep 98763"))], check=True)
        self.crictl("stopp", pod)
        self.crictl("rmp", pod)
        self.assertEqual([], self.leases())
        self.assert_nothing_left()


