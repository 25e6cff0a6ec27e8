"""A SLURM of its own: a controller and two nodes, each a host of `hosts.network`.

Debian has what it needs: `apt-get install slurmctld slurmd slurm-client munge iproute2`.  The
nodes have more processors and memory than the machine, on paper, so that jobs run side by side.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.engines import hosts

_NODE = f"qc{os.getpid()}n"
NODES = (f"{_NODE}1", f"{_NODE}2")
"""Names of their own, since control groups have them."""
_CONTROLLER = "control"
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_CONFIGURATION = """\
ClusterName=qc
SlurmctldHost=control
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=30
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin={task}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
KillWait=20
MinJobAge=3600
OverTimeLimit=0
SlurmctldDebug=info
NodeName={node}[1-2] CPUs=16 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster that runs.

    Attributes:
      has_memory: jobs that take more memory than they asked for are killed.
    """

    def __init__(self, network: hosts.Hosts, folder: Path, has_memory: bool):
        self._network, self._folder, self.has_memory = network, folder, has_memory
        self._started: list[subprocess.Popen] = []

    def popen(self, *command: str | Path, **options) -> subprocess.Popen:
        """Starts a command on the controller's host, as a user would on a login node."""
        environment = {**os.environ, **options.pop("env", {}), **self.environment}
        process = subprocess.Popen(
            self._network.on(_CONTROLLER, *command), env=environment, text=True, **options
        )
        self._started.append(process)
        return process

    def run(self, *command: str | Path, **options) -> str:
        """Standard output of such a command."""
        process = self.popen(*command, stdout=subprocess.PIPE, **options)
        out, _ = process.communicate()
        assert process.returncode == 0, (command, out)
        return out

    @property
    def environment(self) -> dict[str, str]:
        """Of all that talks to the cluster."""
        return {"SLURM_CONF": str(self._folder / "slurm.conf")}

    def end(self) -> None:
        """Ends what a test has left behind."""
        for process in self._started:
            process.kill()
            process.wait()
        self.popen("scancel", "--user=root").wait()
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:  # or their processes would stay
            if not self.popen("squeue", "--noheader", stdout=subprocess.PIPE).communicate()[0]:
                return
            time.sleep(0.5)

    def submit(self, *arguments: str | Path, **options) -> str:
        """The number of a job that was handed to sbatch."""
        return self.run("sbatch", "--parsable", *arguments, **options).strip()

    def states(self, job: str) -> list[str]:
        """Of a job, or of the jobs of an array: as `COMPLETED`."""
        told = self.run("scontrol", "--oneliner", "show", "job", job)
        return [part[9:] for part in told.split() if part.startswith("JobState=")]

    def wait(self, job: str, seconds: float = 300) -> list[str]:
        """The states of all jobs of an array when none runs any more."""
        deadline = time.monotonic() + seconds
        while True:
            states = self.states(job)
            if not {"PENDING", "RUNNING", "COMPLETING", "REQUEUED"} & set(states):
                return states
            assert time.monotonic() < deadline, self.run("scontrol", "show", "job", job)
            time.sleep(0.5)


def missing() -> str:
    """Why there can be no SLURM here, or nothing."""
    return hosts.missing(*_PROGRAMS)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Slurm]:
    """A SLURM until the end of the block; `folder` keeps its logs."""
    memory = os.access("/sys/fs/cgroup/memory/tasks", os.W_OK)
    task = "task/cgroup" if memory else "task/none"
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(folder=folder, task=task, node=_NODE))
    (folder / "cgroup.conf").write_text(
        "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\n"
    )
    (folder / "gres.conf").write_text(f"NodeName={_NODE}[1-2] Name=gpu File=/dev/null\n")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(hosts.network((_CONTROLLER, *NODES), folder))

        def start(*command: str | Path, log: str) -> None:
            with (folder / log).open("wb") as file:
                process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
            stack.callback(_end, process)

        _prepare_munge(folder / "munge")
        munge = [f"--{key}={folder}/munge/{key}" for key in ("socket", "pid-file", "seed-file")]
        keys = [f"--key-file={folder}/munge/key", f"--log-file={folder}/munge/log"]
        user = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
        start(*user, "munged", "--foreground", "--force", *munge, *keys, log="munged.out")
        (folder / "state").mkdir()
        start(*network.on(_CONTROLLER, "slurmctld", "-D"), log="slurmctld.out")
        for name in NODES:
            start(*network.on(name, "slurmd", "-D", "-N", name), log=f"slurmd-{name}.out")
        slurm = Slurm(network, folder, memory)
        stack.callback(slurm.end)
        _wait_for_nodes(slurm)
        yield slurm


def _prepare_munge(folder: Path) -> None:
    """A key, and a folder for the daemon's files that its user may write."""
    folder.mkdir(mode=0o755)
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    owner = pwd.getpwnam("munge")
    for path in (folder, folder / "key"):
        shutil.chown(path, owner.pw_uid, owner.pw_gid)


def _wait_for_nodes(slurm: Slurm) -> None:
    deadline = time.monotonic() + 60
    while True:
        done = slurm.popen("sinfo", "-h", "-o", "%T %D", stdout=subprocess.PIPE)
        if done.communicate()[0].split() == ["idle", str(len(NODES))]:
            return
        assert time.monotonic() < deadline, "the nodes did not come up"
        time.sleep(0.5)


def _end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
