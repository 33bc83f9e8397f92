"""Pods in user namespaces of their own (KEP-127): what the processes see, and what the host sees of them."""

import json
import os
import pathlib
import shutil
import stat
import subprocess

from case import BASE, NAMESPACE_NODE, NAMESPACE_POD, GantryTest
from cri_call import CriCall
from images import layer_of

FIRST, LENGTH = 100000, 65536


def mapping(first=FIRST, container_id=0, length=LENGTH):
    return [{"container_id": container_id, "host_id": first, "length": length}]


def userns(first=FIRST, mode=NAMESPACE_POD, **more):
    return {"mode": mode, "uids": mapping(first), "gids": mapping(first), **more}


class UserNamespaceTest(GantryTest):
    def setUp(self):
        super().setUp()
        self.call = CriCall(self.lane.binaries, self.daemon)
        handlers = self.call("Status").message["runtime_handlers"]
        if not all(handler["features"].get("user_namespaces") for handler in handlers):
            self.skipTest("Status says that pods cannot have user namespaces here")

    def mapped_config(self, name="pod", first=FIRST, network=NAMESPACE_NODE, options=None, **more):
        config = self.pod_config(name, network, **more)
        config["linux"]["security_context"]["namespace_options"]["userns_options"] = options or userns(first)
        return config

    def mapped_pod(self, name="pod", first=FIRST, network=NAMESPACE_NODE, **more):
        config = self.mapped_config(name, first, network)
        return self.run_pod(name, **{**config, **more})

    def security(self, **more):
        return {"linux": {"security_context": {"namespace_options": {"userns_options": userns()}, **more}}}

    def probe(self, pod, name="probe", *words, **more):
        """The report of a container that runs tests/incontainer's program, and its status."""
        mounts = [{"container_path": "/probe", "host_path": str(self.lane.binaries / "gantry-probe"), "readonly": True}]
        status, output = self.run_to_end(pod, name, "/probe", *words, mounts=mounts, **more)
        self.assertEqual(0, status["exitCode"], output)
        return json.loads(output)

    def upper(self, container):
        return self.daemon.root / "snapshots" / container / "diff"

    def pid(self, container):
        return self.crictl.json("inspect", "-o", "json", container)["info"]["pid"]

    @staticmethod
    def host_ids(pid):
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        return {key: value.split() for key, _, value in (line.partition(":") for line in lines) if key in ("Uid", "Gid")}


class Identity(UserNamespaceTest):
    def test_row_85_a_container_is_root_inside_and_nobody_on_the_host(self):
        pod = self.mapped_pod()
        report = self.probe(pod)
        self.assertEqual(0, report["uid"])
        self.assertEqual(["0", str(FIRST), str(LENGTH)], report["uid_map"][0].split())
        self.assertEqual(["0", str(FIRST), str(LENGTH)], report["gid_map"][0].split())
        container = self.launch(pod, "one", "sleep", "1000")
        self.assertEqual({"Uid": [str(FIRST)] * 4, "Gid": [str(FIRST)] * 4}, self.host_ids(self.pid(container)))
        self.assertNotEqual(os.readlink("/proc/self/ns/user"), os.readlink(f"/proc/{self.pid(container)}/ns/user"))

    def test_users_and_groups_are_those_of_the_container(self):
        pod = self.mapped_pod()
        more = self.security(run_as_user={"value": 1000}, run_as_group={"value": 1000}, supplemental_groups=[5000])
        report = self.probe(pod, **more)
        self.assertEqual((1000, 1000), (report["uid"], report["gid"]))
        self.assertIn(5000, report["groups"])
        self.assertIn(2000, report["groups"])  # of the image's /etc/group
        user = self.call("ListContainers").message["containers"][0]["id"]
        self.assertEqual("1000", str(self.status(user)["user"]["linux"]["uid"]))
        config = self.container_config("two", "true", **self.security(run_as_user={"value": LENGTH}))
        self.assert_refused("InvalidArgument", [f"user {LENGTH} is not mapped"], "create", pod.id,
                            self.crictl.document(config), pod.document)

    def test_two_pods_have_ids_of_their_own_and_share_the_image(self):
        made = []
        for number, first in enumerate((FIRST, FIRST + LENGTH)):
            pod = self.mapped_pod(f"pod-{number}", first)
            made.append((first, self.launch(pod, "one", "sh", "-c", "echo x > /file; chown 5:6 /file; sleep 1000")))
            self.wait_output_file(made[-1][1])
        plain = self.launch(self.run_pod("plain"), "one", "sleep", "1000")
        for first, container in made:
            found = (self.upper(container) / "file").stat()
            self.assertEqual((first + 5, first + 6), (found.st_uid, found.st_gid))
            self.assertEqual("0:0", self.execute(container, "stat", "-c", "%u:%g", "/bin/busybox"))
        self.assertEqual("0:0", self.execute(plain, "stat", "-c", "%u:%g", "/bin/busybox"))

    def wait_output_file(self, container):
        self.execute(container, "sh", "-c", "until [ \"$(stat -c %u /file)\" = 5 ]; do sleep 0.05; done")

    def test_an_exec_is_in_it_with_its_pipes(self):
        container = self.launch(self.mapped_pod(), "one", "sleep", "1000", **self.security(run_as_user={"value": 1000}))
        script = "id -u; echo again > /dev/stdout; cat /proc/self/uid_map"
        self.assertEqual(["1000", "again", "0", str(FIRST), str(LENGTH)],
                         self.execute(container, "sh", "-c", script).split())

    def test_the_log_takes_what_is_written_to_dev_stdout(self):
        pod = self.mapped_pod()
        _, output = self.run_to_end(pod, "one", "sh", "-c", "echo again > /dev/stdout; echo error > /dev/stderr",
                                    **self.security(run_as_user={"value": 1000}))
        self.assertEqual(["again", "error"], sorted(output.split()))

    def test_a_terminal_is_its_users(self):
        pod = self.mapped_pod()
        _, output = self.run_to_end(pod, "one", "sh", "-c", "stat -c %u $(tty); echo open > $(tty)", tty=True,
                                    **self.security(run_as_user={"value": 1000}))
        self.assertEqual(["1000", "open"], output.split())


class Surroundings(UserNamespaceTest):
    def test_what_every_container_has_is_there_and_its_own(self):
        pod = self.mapped_pod(network=NAMESPACE_POD)
        script = ("stat -c '%u:%g %n' / /etc/hosts /etc/hostname /etc/resolv.conf /dev /dev/shm /dev/null /dev/mqueue;"
                  "echo '127.9.9.9 added' >> /etc/hosts && echo hosts; echo x > /dev/shm/x && echo shm;"
                  "echo x > /dev/null && head -c 1 /dev/zero | wc -c; ls -d /sys/class/net/eth0 /sys/fs/cgroup;"
                  "cat /proc/keys | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo read-only;"
                  "cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
        _, output = self.run_to_end(pod, "one", "sh", "-c", script)
        owned = [f"0:0 {path}" for path in ("/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/dev/shm",
                                            "/dev/null", "/dev/mqueue")]
        self.assertEqual([*owned, "hosts", "shm", "1", "/sys/class/net/eth0", "/sys/fs/cgroup", "0", "read-only", "0"],
                         output.splitlines())

    def test_the_containers_of_a_pod_share_what_they_write(self):
        pod = self.mapped_pod()
        self.run_to_end(pod, "one", "sh", "-c", "echo shared > /dev/shm/file; chmod 600 /dev/shm/file")
        _, output = self.run_to_end(pod, "two", "cat", "/dev/shm/file")
        self.assertEqual("shared", output)

    def test_a_shared_pid_namespace_works(self):
        config = self.mapped_config()
        config["linux"]["security_context"]["namespace_options"]["pid"] = NAMESPACE_POD
        pod = self.run_pod(**{"name": "pod", **config})
        more = self.security()
        more["linux"]["security_context"]["namespace_options"]["pid"] = NAMESPACE_POD
        self.launch(pod, "one", "sleep", "1000", **more)
        _, output = self.run_to_end(pod, "two", "sh", "-c", "cat /proc/1/comm; cat /proc/*/comm | grep -c sleep", **more)
        self.assertEqual(["gantry-init", "1"], output.split())

    def test_the_hosts_network_ipc_and_pid_namespaces_can_be_shared(self):
        config = self.mapped_config()
        options = config["linux"]["security_context"]["namespace_options"]
        options.update(ipc=NAMESPACE_NODE, pid=NAMESPACE_NODE)
        pod = self.run_pod(**{"name": "pod", **config})
        more = self.security()
        more["linux"]["security_context"]["namespace_options"].update(
            ipc=NAMESPACE_NODE, pid=NAMESPACE_NODE, network=NAMESPACE_NODE)
        report = self.probe(pod, **more)
        for name in ("net", "ipc"):
            self.assertEqual(os.readlink(f"/proc/self/ns/{name}"), report["namespaces"][name])
        self.assertEqual(["0", str(FIRST), str(LENGTH)], report["uid_map"][0].split())
        self.assertTrue(self.call("Status").message["features"]["user_namespaces_host_network"])

    def test_privileged_is_for_its_own_namespaces(self):
        script = ("mkdir /m && mount -t tmpfs t /m && echo mounted; mknod /tmp/disk b 8 0 2>/dev/null || echo no-node;"
                  "(echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null || echo refused;"
                  "umount /etc/hosts 2>/dev/null || echo locked; grep CapEff /proc/self/status")
        config = self.mapped_config()
        config["linux"]["security_context"]["privileged"] = True
        pod = self.run_pod(**{"name": "pod", **config})
        _, output = self.run_to_end(pod, "one", "sh", "-c", script, **self.security(privileged=True))
        lines = output.splitlines()
        self.assertEqual(["mounted", "no-node", "refused", "locked"], lines[:4])
        last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
        self.assertEqual((1 << (last + 1)) - 1, int(lines[4].split()[1], 16))

    def test_a_device_lets_in_whom_it_lets_in_on_the_host(self):
        pod = self.mapped_pod()
        devices = [{"host_path": "/dev/null", "container_path": "/dev/nothing", "permissions": "rw"}]
        _, output = self.run_to_end(pod, "one", "sh", "-c", "echo x > /dev/nothing && stat -c '%t:%T %u' /dev/nothing",
                                    devices=devices)
        self.assertEqual("1:3 65534", output)

    def test_an_out_of_memory_score_that_the_daemon_may_not_set_is_cut_to_what_it_may(self):
        pod = self.mapped_pod()
        report = self.probe(pod, linux={"resources": {"oom_score_adj": -998}})
        lowest = int(pathlib.Path(f"/proc/{self.daemon.pid}/oom_score_adj").read_text())
        self.assertIn(int(report["oom_score_adj"]), (-998, lowest))

    def test_volumes_of_the_image_belong_to_its_root(self):
        name = self.add_image("volumes", {"Volumes": {"/data": {}, "/new": {}}}, layer_of({"data/file": "content"}))
        pod = self.mapped_pod()
        _, output = self.run_to_end(pod, "one", "sh", "-c", "stat -c %u /data /data/file /new; touch /data/x /new/x",
                                    image_name=name)
        self.assertEqual(["0", "0", "0"], output.split())


class Volumes(UserNamespaceTest):
    def setUp(self):
        super().setUp()
        self.folder = self.daemon.folder / "volume"
        self.folder.mkdir()
        (self.folder / "old").write_text("old")
        os.chown(self.folder / "old", 1000, 1000)
        self.addCleanup(self._empty)

    def _empty(self):
        shutil.rmtree(self.folder)

    def mount(self, **more):
        return [{"container_path": "/data", "host_path": str(self.folder), **more}]

    def test_owners_in_a_mapped_volume_are_the_same_on_both_sides(self):
        pod = self.mapped_pod()
        script = "stat -c %u:%g /data/old; touch /data/new; chown 7:8 /data/new"
        _, output = self.run_to_end(pod, "one", "sh", "-c", script,
                                    mounts=self.mount(uidMappings=mapping(), gidMappings=mapping()))
        self.assertEqual("1000:1000", output)
        found = (self.folder / "new").stat()
        self.assertEqual((7, 8), (found.st_uid, found.st_gid))

    def test_owners_in_one_that_is_not_mapped_are_the_hosts(self):
        self.folder.chmod(0o777)
        _, output = self.run_to_end(self.mapped_pod(), "one", "sh", "-c", "stat -c %u /data/old; touch /data/new",
                                    mounts=self.mount())
        self.assertEqual("65534", output)
        self.assertEqual(FIRST, (self.folder / "new").stat().st_uid)

    def test_a_volume_whose_file_system_cannot_map_is_refused(self):
        pod = self.mapped_pod()
        before = self.oracle.look()
        mounts = [{"container_path": "/data", "host_path": "/proc/sys", "uidMappings": mapping(),
                   "gidMappings": mapping()}]
        config = self.container_config("one", "true", mounts=mounts)
        self.assert_refused("Internal", [r'mount \\+"/data', "cannot map owners"], "create", pod.id,
                            self.crictl.document(config), pod.document)
        self.assert_nothing_left(before)

    def test_one_that_follows_the_host_sees_what_is_mounted_later(self):
        (self.folder / "sub").mkdir()
        self.host("mount", "--bind", self.folder, self.folder)
        self.addCleanup(self.host, "umount", self.folder)
        self.host("mount", "--make-shared", self.folder)
        container = self.launch(self.mapped_pod(), "one", "sleep", "1000", mounts=self.mount(propagation=1))
        self.host("mount", "-t", "tmpfs", "later", self.folder / "sub")
        self.addCleanup(self.host, "umount", self.folder / "sub")
        self.assertIn(" later ", self.execute(container, "sh", "-c", "grep ' /data/sub ' /proc/self/mountinfo"))

    @staticmethod
    def host(*command):
        subprocess.run([str(word) for word in command], check=True)


class Mappings(UserNamespaceTest):
    def refuse_pod(self, words, config):
        self.assert_refused("InvalidArgument", ["userns_options", *words], "runp", self.crictl.document(config))

    def test_row_85_bad_mappings_are_refused_and_leave_nothing(self):
        two = [*mapping(), {"container_id": LENGTH, "host_id": 300000, "length": 10}]
        for options, words in (
                (userns(uids=two), ["uids: 2 mappings"]),
                (userns(gids=[]), ["gids: 0 mappings"]),
                (userns(gids=mapping(container_id=1)), ["id 0 of the container is not mapped"]),
                (userns(uids=mapping(length=0)), ["length is 0"]),
                (userns(uids=mapping(first=(1 << 32) - 10)), ["the last id"]),
                (userns(mode=1), ["CONTAINER is not supported"]),
                (userns(mode=3), ["TARGET is not supported"]),
                (userns(mode=NAMESPACE_NODE), ["NODE takes no mappings"])):
            with self.subTest(words=words):
                self.refuse_pod(words, self.mapped_config(options=options))
        self.assert_nothing_left()

    def test_row_85_ids_of_another_pod_are_refused_until_it_is_stopped(self):
        first = self.mapped_pod("first")
        before = self.oracle.look()
        self.refuse_pod(["overlaps the ids of pod", "first_test"], self.mapped_config("second", FIRST + LENGTH - 1))
        self.assert_nothing_left(before)
        again = self.mapped_config("first")
        again["metadata"]["attempt"] = 1  # the kubelet's next attempt at the same pod has the pod's ids
        self.crictl("runp", self.crictl.document(again))
        self.crictl("stopp", self.pods()[0])
        self.crictl("stopp", first.id)
        self.mapped_pod("second", FIRST + LENGTH - 1)

    def test_a_container_that_asks_for_another_is_refused(self):
        pod = self.mapped_pod()
        for options, words in ((userns(FIRST + 1), ["are not those of its sandbox"]),
                               ({"mode": NAMESPACE_NODE}, ["asks for the host's"])):
            config = self.container_config("one", "true")
            config["linux"] = {"security_context": {"namespace_options": {"userns_options": options}}}
            self.assert_refused("InvalidArgument", ["userns_options", *words], "create", pod.id,
                                self.crictl.document(config), pod.document)

    def test_row_85_the_mapping_survives_a_restart(self):
        pod = self.mapped_pod()
        container = self.launch(pod, "one", "sleep", "1000")
        reported = self.crictl.json("inspectp", "-o", "json", pod.id)["status"]["linux"]["namespaces"]["options"]
        self.daemon.kill()
        self.daemon.start()
        after = self.crictl.json("inspectp", "-o", "json", pod.id)["status"]["linux"]["namespaces"]["options"]
        self.assertEqual(reported, after)
        self.assertEqual(str(FIRST), str(after["usernsOptions"]["uids"][0]["hostId"]))
        expected = ["0", str(FIRST), str(LENGTH)]
        self.assertEqual(expected, self.execute(container, "cat", "/proc/self/uid_map").split())
        later = self.launch(pod, "two", "sleep", "1000")
        self.assertEqual(expected, self.execute(later, "cat", "/proc/self/uid_map").split())
        self.assertEqual(os.readlink(f"/proc/{self.pid(container)}/ns/user"),
                         os.readlink(f"/proc/{self.pid(later)}/ns/user"))
        self.refuse_pod(["overlaps the ids of pod"], self.mapped_config("other"))

    def test_the_layers_keep_their_owners(self):
        self.run_to_end(self.mapped_pod(), "one", "sh", "-c", "chown -R 5:5 /bin /etc; chmod 700 /bin/busybox")
        for path in (self.daemon.root / "layers").glob("*/fs/bin/busybox"):
            self.assertEqual((0, 0o755), (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)))
        _, output = self.run_to_end(self.run_pod("plain"), "one", "stat", "-c", "%u", "/bin/busybox", image_name=BASE)
        self.assertEqual("0", output)
