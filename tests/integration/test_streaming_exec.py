"""Exec and Attach as client-go's executors use them; the numbers are rows of the scenarios that must hold."""

import os
import signal
import time

from case import pids_of, wait_until
from streaming import BULK, MIB, TIMES, TRANSPORTS, StreamingTest


class StreamingExec(StreamingTest):
    def test_row_58_exec_with_and_without_terminal_and_stdin_over_both_transports(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            for tty in (False, True):
                with self.subTest(transport=transport, tty=tty):
                    done = self.exec_ends(container, 0, "echo", "said", transport=transport, tty=tty)
                    self.assertEqual("said\r\n" if tty else "said\n", done["stdout"]["text"])
                    done = self.exec_ends(container, 0, "sh", "-c", "read line; echo got $line", transport=transport,
                                          tty=tty, text="word\n")
                    self.assertIn("got word", done["stdout"]["text"])

    def test_output_and_errors_come_apart(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 0, "sh", "-c", "echo out; echo err >&2", transport=transport)
            self.assertEqual(("out\n", "err\n"), (done["stdout"]["text"], done["stderr"]["text"]))

    def test_each_stream_may_be_left_out(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 3, "sh", "-c", "echo out; echo err >&2; exit 3", transport=transport,
                                  stdout="false")
            self.assertEqual(("", "err\n"), (done["stdout"]["text"], done["stderr"]["text"]))
            done = self.exec_ends(container, 3, "sh", "-c", "echo out; echo err >&2; exit 3", transport=transport,
                                  stderr="false")
            self.assertEqual(("out\n", ""), (done["stdout"]["text"], done["stderr"]["text"]))

    def test_an_exit_code_comes_with_the_status_of_v4(self):
        _, container = self.sleeper()
        for transport, protocols in (("spdy", ""), ("spdy", "v4.channel.k8s.io"), ("websocket", "v4.channel.k8s.io"),
                                     ("websocket", "v5.channel.k8s.io")):
            for code in (0, 1, 7, 255):
                self.exec_ends(container, code, "sh", "-c", f"exit {code}", transport=transport, protocols=protocols)
        for transport in TRANSPORTS:
            self.exec_ends(container, 137, "sh", "-c", "kill -9 $$", transport=transport)

    def test_old_protocols_tell_of_an_exit_code_in_words(self):
        _, container = self.sleeper()
        for protocol in ("v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"):
            done = self.session(container, "sh", "-c", "echo said; exit 7", protocols=protocol)
            self.assertEqual("said\n", done["stdout"]["text"], protocol)
            if protocol != "channel.k8s.io":  # whose client does not wait for it
                self.assertRegex(done["error"], r"\b7\b", protocol)

    def test_a_command_that_is_not_there_is_named_and_leaves_nothing(self):
        _, container = self.sleeper()
        before = self.footprint()
        for transport in TRANSPORTS:
            for tty in (False, True):
                done = self.session(container, "/no-such-program", transport=transport, tty=tty)
                self.assertIn("no-such-program", done["error"] + done["stdout"]["text"] + done["stderr"]["text"])
                self.assertNotEqual(("", 0), (done["error"], done["exit_code"]))
        self.assert_footprint(before, threads=10, MiB=32)

    def test_the_end_of_stdin_is_the_commands_and_its_output_goes_on(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 5, "sh", "-c", "cat; echo after; exit 5", text="before\n",
                                  transport=transport)
            self.assertEqual("before\nafter\n", done["stdout"]["text"])

    def test_a_command_that_does_not_read_its_stdin_ends_all_the_same(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            self.exec_ends(container, 4, "sh", "-c", "exit 4", upload=8 * MIB, hold=True, transport=transport)
            self.exec_ends(container, 0, "head", "-c", "10", upload=8 * MIB, transport=transport)

    def test_a_terminal_follows_the_clients_size(self):
        _, container = self.sleeper()
        script = "until stty size 2>/dev/null | grep -qx '40 100'; do sleep 0.1; done; echo resized; test -t 0 && echo $TERM"
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 0, "sh", "-c", script, tty=True, transport=transport, hold=True,
                                  sizes="80x24,100x40")
            self.assertEqual("resized\r\nxterm\r\n", done["stdout"]["text"])

    def test_bulk_comes_through_whole_to_a_slow_reader_and_back(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 0, "cat", upload=BULK, rate=32 * MIB, transport=transport)
            self.assertEqual((BULK, done["stdin"]["sha256"]), (done["stdout"]["bytes"], done["stdout"]["sha256"]))
            done = self.exec_ends(container, 0, "sha256sum", upload=BULK, transport=transport)
            self.assertEqual(done["stdin"]["sha256"], done["stdout"]["text"].split()[0])

    def test_what_a_command_has_written_arrives_after_its_end(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 9, "sh", "-c", "dd if=/dev/zero bs=64k count=40 2>/dev/null; exit 9",
                                  rate=MIB, transport=transport)
            self.assertEqual(40 << 16, done["stdout"]["bytes"])

    def test_an_output_without_end_leaves_room_for_the_other(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.session(container, "sh", "-c", "cat /dev/zero & sleep 1; echo heard >&2; wait", rate=8 * MIB,
                                cancel_after=24 * MIB, transport=transport)
            self.assertEqual((True, "heard\n"), (done["cancelled"], done["stderr"]["text"]))

    def test_a_child_that_keeps_the_pipes_does_not_hold_the_session(self):
        _, container = self.sleeper()
        for transport in TRANSPORTS:
            done = self.exec_ends(container, 0, "sh", "-c", "sleep 4711 & echo said", transport=transport)
            self.assertEqual("said\n", done["stdout"]["text"])

    def test_cancelled_downloads_end_their_commands(self):
        _, container = self.sleeper()
        before = self.footprint()
        for transport in TRANSPORTS:
            for tty in (False, True):
                done = self.stream("repeat", "cat", "/dev/zero", container=container, times=10, transport=transport,
                                   tty=tty, cancel_after=MIB)
                self.assertEqual({"cancelled": 10}, done["outcomes"])
        self.wait_no_process("cat /dev/zero")
        self.assert_footprint(before, threads=10, MiB=32)

    def test_the_processes_of_a_client_that_has_vanished_end(self):
        _, container = self.sleeper()
        for tty in (False, True):
            for transport in TRANSPORTS:
                client = self.begin("session", "sh", "-c", "sleep 47110 & sleep 47111", container=container, tty=tty,
                                    hold=True, transport=transport)
                self.wait_process("sleep 47110")
                self.wait_process("sleep 47111")
                client.kill()
                self.wait_no_process("sleep 4711")


class StreamingEnds(StreamingTest):
    def test_row_50_exec_during_grace_works_and_is_refused_after_it(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done")
        self.wait_output(pod, "one", "up")
        held = self.begin("session", "sleep", "47112", container=container)
        self.wait_process("sleep 47112")
        stop = self.call.begin("StopContainer", {"container_id": container, "timeout": 10})
        self.wait_output(pod, "one", "asked")
        self.exec_ends(container, 0, "true")
        self.assertEqual("OK", stop.reply().code)
        self.wait_no_process("sleep 47112")
        ended = self.end(held)
        self.assertNotEqual(("", 0), (ended["error"], ended["exit_code"]), ended)
        refused = self.urls("exec", "true", container=container)
        self.assertIn("FailedPrecondition", refused["error"])

    def test_a_session_ends_with_its_container(self):
        for transport in TRANSPORTS:
            pod = self.run_pod()
            container = self.launch(pod, "one", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
            ready = self.daemon.folder / f"ready-{transport}"
            executed = self.begin("session", "sleep", "47113", container=container, transport=transport)
            attached = self.begin("session", container=container, kind="attach", transport=transport, ready=ready)
            self.wait_process("sleep 47113")
            wait_until(ready.exists, "the client is attached")
            self.crictl("stop", "-t", "0", container)
            ended = self.end(executed)
            self.assertNotEqual(("", 0), (ended["error"], ended["exit_code"]), ended)
            self.end(attached)
            self.crictl("rmp", "-f", pod.id)

    def test_a_client_that_does_not_read_does_not_hold_its_containers_stop(self):
        for transport in TRANSPORTS:
            pod, container = self.sleeper()
            self.begin("session", "cat", "/dev/zero", container=container, rate=1, transport=transport)
            self.wait_process("cat /dev/zero")
            before = time.monotonic()
            self.assertEqual("OK", self.call("StopContainer", {"container_id": container, "timeout": 1}).code)
            self.assertLess(time.monotonic() - before, 30, "it has waited for the client")
            self.assertEqual("CONTAINER_EXITED", self.state(container))
            self.crictl("rmp", "-f", pod.id)

    def test_a_session_that_gantryd_leaves_behind_has_no_process(self):
        _, container = self.sleeper()
        self.begin("session", "sleep", "47114", container=container, hold=True, tty=True)
        self.wait_process("sleep 47114")
        self.daemon.kill()
        self.daemon.start()
        self.wait_no_process("sleep 47114")


class StreamingAttach(StreamingTest):
    def ticker(self, pod, name="ticker", **more):
        return self.launch(pod, name, "sh", "-c", "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done", **more)

    def test_row_58_attach_with_and_without_terminal_and_stdin_over_both_transports(self):
        for transport in TRANSPORTS:
            for tty in (False, True):
                with self.subTest(transport=transport, tty=tty):
                    pod = self.run_pod()
                    container = self.launch(pod, "one", "sh", "-c", "read line; echo got $line; exit 6", stdin=True,
                                            stdin_once=True, tty=tty)
                    self.session(container, kind="attach", transport=transport, tty=tty, text="word\n", hold=True)
                    self.assertEqual(6, self.wait_exited(container)["exitCode"])
                    self.assertIn("got word", self.output(pod, "one"))
                    self.crictl("rmp", "-f", pod.id)

    def test_the_end_of_a_clients_stdin_is_the_containers_when_it_is_for_once(self):
        for transport in TRANSPORTS:
            pod = self.run_pod()
            container = self.launch(pod, "one", "cat", stdin=True, stdin_once=True)
            done = self.session(container, kind="attach", text="hello\n", transport=transport)
            self.assertEqual("hello\n", done["stdout"]["text"])
            self.assertEqual(0, self.wait_exited(container)["exitCode"])
            self.crictl("rmp", "-f", pod.id)

    def test_a_slow_client_holds_neither_the_log_nor_another_client(self):
        pod = self.run_pod()
        container = self.launch(pod, "one", "sh", "-c", "while :; do dd if=/dev/zero bs=64k count=16 2>/dev/null | "
                                "tr '\\0' 'x' | fold -w 100; echo tick; done")
        self.begin("session", container=container, kind="attach", rate=1)
        done = self.session(container, kind="attach", cancel_after=8 * MIB)
        self.assertTrue(done["cancelled"], done["error"])
        size = pod.log("one").stat().st_size
        wait_until(lambda: pod.log("one").stat().st_size > size + 4 * MIB, "the log grows")

    def test_row_47_a_thousand_clients_that_attach_and_drop_leave_nothing(self):
        pod = self.run_pod()
        container = self.ticker(pod)
        drop = {"container": container, "kind": "attach", "cancel_after": 1}
        self.stream("repeat", times=20, **drop)
        before = self.footprint()
        for transport in TRANSPORTS:
            done = self.stream("repeat", times=TIMES // 2, transport=transport, **drop)
            self.assertEqual({"cancelled": TIMES // 2}, done["outcomes"])
        self.assert_footprint(before, threads=10, MiB=32)

    def test_row_47_a_thousand_terminals_of_a_missing_command_leave_nothing(self):
        _, container = self.sleeper()
        self.stream("repeat", "/no-such-program", container=container, tty=True, times=20)
        before = self.footprint()
        done = self.stream("repeat", "/no-such-program", container=container, tty=True, times=TIMES)
        self.assertEqual(1, len(done["outcomes"]), done)
        self.assert_footprint(before, threads=10, MiB=32)

    def test_row_49_a_cycle_of_all_kinds_leaves_descriptors_sockets_and_terminals_as_they_were(self):
        pod = self.run_pod()
        container = self.ticker(pod)
        def cycle():
            for transport in TRANSPORTS:
                for tty in (False, True):
                    self.exec_ends(container, 0, "echo", "said", transport=transport, tty=tty, text="word\n")
                self.session(container, kind="attach", cancel_after=1, transport=transport)
                self.stream("forward", pod=pod.id, ports="1", transport=transport)
        cycle()
        before = self.footprint()
        for _ in range(5):
            cycle()
        self.assert_footprint(before, threads=10, MiB=32)

    def test_attach_clients_that_vanish_leave_the_container_alone(self):
        pod = self.run_pod()
        container = self.ticker(pod)
        for transport in TRANSPORTS:
            client = self.begin("session", container=container, kind="attach", transport=transport)
            time.sleep(0.5)
            os.kill(client.pid, signal.SIGKILL)
        last = len(self.output(pod, "ticker"))
        wait_until(lambda: len(self.output(pod, "ticker")) > last, "it goes on")
        self.assertEqual("CONTAINER_RUNNING", self.state(container))
        self.assertEqual(1, len(pids_of("tick $i")))
