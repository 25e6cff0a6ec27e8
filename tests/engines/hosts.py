"""Several hosts on one machine: network namespaces on a bridge, each with a name and an address.

Needs root and iproute2.  A command on a host sees the file system of this machine, as on a cluster
whose nodes share it, and the other hosts by name.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_NETWORK = "10.213.77"
_ENTER = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'


class Hosts:
    """Names of hosts, and how a command is run on one."""

    def __init__(self, names: Sequence[str], folder: Path):
        self.names = names
        self.address = {name: f"{_NETWORK}.{number}" for number, name in enumerate(names, 1)}
        self._file = folder / "hosts"
        lines = [f"{address} {name}" for name, address in self.address.items()]
        self._file.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def on(self, name: str, *command: str | Path) -> list[str]:
        """The command that runs `command` on a host."""
        enter = ["nsenter", f"--net=/run/netns/{_namespace(name)}", "unshare", "--mount", "--uts"]
        return [*enter, "sh", "-c", _ENTER, "sh", name, *map(str, (self._file, *command))]

    def cut_off(self, name: str) -> None:
        """Takes the cable out."""
        _ip("-n", _namespace(name), "link", "set", "eth0", "down")


def missing(*programs: str) -> str:
    """Why there can be no hosts here that have these programs, or nothing."""
    if os.geteuid() != 0:
        return "hosts of one's own need root"
    gone = [name for name in ("ip", "nsenter", "unshare", *programs) if shutil.which(name) is None]
    if gone:
        return f"not installed: {', '.join(gone)}"
    made = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "no network namespaces can be made here"


@contextlib.contextmanager
def network(names: Sequence[str], folder: Path) -> Iterator[Hosts]:
    """Hosts of these names, until the end of the block; `folder` keeps their list."""
    hosts, bridge = Hosts(names, folder), f"qc{os.getpid()}"
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("link", "set", bridge, "up")
        for number, name in zip(itertools.count(1), names):
            space, cable = _namespace(name), f"{bridge}-{number}"
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", bridge, "up")
            _ip("-n", space, "addr", "add", f"{hosts.address[name]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            # Programs learn their own address from the way out, though it leads nowhere.
            _ip("-n", space, "route", "add", "default", "dev", "eth0")
        yield hosts


def _namespace(name: str) -> str:
    return f"qc{os.getpid()}-{name}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
