"""What a node holds, by kind: equal before and after a test, or something leaked.

Runs in the daemon's own network, mount and PID namespaces, so that all of them is looked at.
"""

import collections
import os
import pathlib
import re
import time

# Written by whoever writes next, and of no meaning for leaks.
DATABASE = re.compile(r"\.(db|sqlite)(-wal|-shm|-journal)?$")
# host-local keeps these for good, the last with two families.
IPAM_OWN = {"lock", "last_reserved_ip.0", "last_reserved_ip.1"}


def _text(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _mounts():
    lines = (line.split() for line in _text("/proc/self/mountinfo").splitlines())
    return collections.Counter(f"{fields[4]} ({fields[fields.index('-') + 1]})" for fields in lines)


def _links(bridge):
    names = (line.split(":")[0].strip() for line in _text("/proc/net/dev").splitlines()[2:])
    return collections.Counter(name for name in names if name != bridge)


def _files(folders):
    found = collections.Counter()
    for folder in folders:
        for path, directories, files in os.walk(folder):
            names = [name for name in directories + files if not DATABASE.search(name) and name not in IPAM_OWN]
            found.update(os.path.join(path, name) for name in names)
    return found


def cgroups_below(name):
    """The cgroup folders, in every hierarchy, below the top cgroup `name`, which stays as the kubelet's does."""
    tops = [pathlib.Path("/sys/fs/cgroup"), *pathlib.Path("/sys/fs/cgroup").glob("*/")]
    return [path for top in tops for path, _, _ in os.walk(top / name) if path != str(top / name)]


def processes():
    """(pid, start time) -> "name state: command line" of all processes that we can see."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        name, _, rest = _text(folder / "stat").rpartition(")")
        if not rest:
            continue
        fields = rest.split()
        command = _text(folder / "cmdline").replace("\0", " ").strip()
        found[int(folder.name), fields[19]] = f"{name.partition('(')[2]} {fields[0]}: {command}"
    return found


def descriptors(pid):
    """The kinds of a process's descriptors; files of our folders by name."""
    kinds = collections.Counter()
    for link in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
        try:
            kinds[re.sub(r":\[\d+\]$|^anon_inode:", "", os.readlink(link))] += 1
        except OSError:
            continue
    return kinds


def _unix_sockets():
    lines = (line.split() for line in _text("/proc/net/unix").splitlines()[1:])
    return collections.Counter(re.sub(r"@.*", "@", fields[7]) if len(fields) > 7 else "unnamed" for fields in lines)


class LeakOracle:
    """Looks at one daemon and its folders."""

    def __init__(self, daemon, folders, bridge):
        self._daemon = daemon
        self._folders = folders
        self._bridge = bridge

    def look(self):
        return {
            "mount": _mounts(),
            "network namespace": _files(["/run/netns", f"{self._daemon.state}/netns"]),
            "link": _links(self._bridge),
            "cgroup": collections.Counter(cgroups_below(self._daemon.cgroup)),
            # By identity: titles and states change. A zombie is one process more.
            "process": collections.Counter((*key, " Z: " in text) for key, text in processes().items()),
            "descriptor": descriptors(self._daemon.pid),
            "unix socket": _unix_sockets(),
            "file": _files(self._folders),
        }

    def leaks(self, before, seconds=15):
        """What there is more of than before, as lines; waits as long for things on their way out."""
        end = time.monotonic() + seconds
        while True:
            now = self.look()
            lines = [f"{kind} left: {self._words(kind, what)} (+{count})" for kind in now
                     for what, count in sorted((now[kind] - before[kind]).items())
                     if kind != "process" or what[0] != self._daemon.pid]  # another one after a restart
            if not lines or time.monotonic() > end:
                return lines
            time.sleep(0.1)

    @staticmethod
    def _words(kind, what):
        return f"{what[0]} {processes().get(what[:2], 'gone by now')}" if kind == "process" else what
