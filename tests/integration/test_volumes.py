"""Mounts that CRI asks for."""

import os
import stat

from case import GantryTest, NAMESPACE_NODE


class Volumes(GantryTest):
    def test_a_host_path_that_is_not_there_becomes_a_directory(self):
        source = self.daemon.folder / "fresh" / "data"
        pod = self.run_pod()
        script = "touch /data/file; stat -c %a,%u /data"
        _, output = self.run_to_end(pod, "one", "sh", "-c", script,
                                    mounts=[{"host_path": str(source), "container_path": "/data"}])
        self.assertEqual("755,0", output)
        self.assertTrue((source / "file").exists())
        made = os.stat(source)
        self.assertEqual((0o755, 0, 0), (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid))

    def test_so_it_does_in_a_pod_with_a_user_namespace(self):
        source = self.daemon.folder / "fresh-mapped"
        config = self.pod_config("mapped", NAMESPACE_NODE)
        ids = [{"container_id": 0, "host_id": 100000, "length": 65536}]
        config["linux"]["security_context"]["namespace_options"]["userns_options"] = {"mode": 0, "uids": ids, "gids": ids}
        pod = self.run_pod(**{"name": "mapped", **config})
        _, output = self.run_to_end(pod, "one", "stat", "-c", "%a,%F", "/data",
                                    mounts=[{"host_path": str(source), "container_path": "/data"}])
        self.assertEqual("755,directory", output)
        self.assertEqual(0, os.stat(source).st_uid)

    def test_a_volume_at_etc_hides_nothing_of_the_pod(self):
        etc = self.daemon.folder / "etc"
        etc.mkdir(exist_ok=True)
        pod = self.run_pod(dns_config={"servers": ["192.0.2.53"]})
        _, output = self.run_to_end(pod, "one", "cat", "/etc/resolv.conf", "/etc/hostname",
                                    mounts=[{"host_path": str(etc), "container_path": "/etc/"}])
        self.assertIn("nameserver 192.0.2.53", output)
        self.assertGreater(len(output.splitlines()), 1)
