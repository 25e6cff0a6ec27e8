"""A dask cluster over TLS whose scheduler and workers are hosts of their own (`engines.hosts`)."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qc_jax.scoring import group
from tests import studies
from tests.engines import certificates, hosts

ROOT = Path(__file__).parent.parent
SCANS = 16
WORKERS = ("one", "two", "three")
ADDRESS = "tls://{}:8786"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(hosts.missing("openssl")), reason=hosts.missing("openssl")),
]


class Cluster:
    """A scheduler and workers, each on a host of its own, with certificates as documented."""

    def __init__(self, network: hosts.Hosts, folder: Path):
        self.network, self._folder = network, folder
        self._environment = os.environ | {
            "HOME": str(folder),
            "DASK_CONFIG": str(folder / "dask"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
        }
        (folder / "dask").mkdir()
        certificates.make(folder, folder / "dask")
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, host: str, *command, prefix=(), **environment) -> subprocess.Popen:
        with (self._folder / f"{host}.log").open("w") as log:
            self.processes[host] = subprocess.Popen(
                self.network.on(host, *prefix, sys.executable, "-m", *command),
                env=self._environment | environment,
                cwd=self._folder,  # which comes before PYTHONPATH
                stdout=log,
                stderr=log,
            )
        return self.processes[host]

    def work(self, host: str, **options) -> None:
        """A worker on this host; returns when it is known to the scheduler."""
        own = ("--nthreads", "1", "--no-dashboard", "--local-directory", self._folder / host)
        address = ADDRESS.format(self.network.address["scheduler"])
        self.start(host, "dask", "worker", address, *own, **options)
        log = self._folder / f"{host}.log"
        while "Registered to" not in log.read_text():
            assert self.processes[host].poll() is None, log.read_text()
            time.sleep(0.2)

    def ask(self, *command, **environment) -> subprocess.Popen:
        """A command on the host of the one who asks."""
        return subprocess.Popen(
            self.network.on("desk", sys.executable, *command),
            env=self._environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def score(self, bids, out, model_path, **environment) -> subprocess.Popen:
        address = ADDRESS.format(self.network.address["scheduler"])
        return self.ask(
            *("-m", "qc_jax.cli", bids, out, "participant", "--model", model_path),
            *("--maps", "none", "--scheduler", f"dask:{address}"),
            **environment,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    names = ("desk", "scheduler", *WORKERS, "four", "five")
    with hosts.network(names, folder) as network:
        made = Cluster(network, folder)
        made.start("scheduler", "dask", "scheduler", "--no-dashboard")
        for name in WORKERS:
            made.work(name)
        yield made
        for process in made.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def bids(tmp_path_factory, head):
    return studies.write(tmp_path_factory.mktemp("bids"), head, SCANS)


def scored(out) -> int:
    return [made["status"] for made in group.read_records(out)].count("scored")


COUNTS = """
import sys, time
from dask.distributed import Client
client, most = Client(sys.argv[1]), 0
while not sys.stdin.closed and time.time() < float(sys.argv[2]):
    tasks = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    most = max(most, tasks)
    time.sleep(0.05)
    if most and not tasks:
        break
print(most)
"""


def test_no_more_is_handed_out_than_the_workers_can_take_up(cluster, bids, model_path, tmp_path):
    address = ADDRESS.format(cluster.network.address["scheduler"])
    counting = cluster.ask("-c", COUNTS, address, str(time.time() + 300))
    process = cluster.score(bids, tmp_path / "out", model_path)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    assert scored(tmp_path / "out") == SCANS
    # Two for each thread, and those whose records are just being written.
    assert 3 <= int(counting.communicate()[0]) <= 3 * len(WORKERS)


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
def test_who_has_no_certificate_is_turned_away(cluster, bids, model_path, tmp_path, scheme):
    address = f"{scheme}://{cluster.network.address['scheduler']}:8786"
    process = cluster.ask(
        *("-m", "qc_jax.cli", bids, tmp_path / "out", "participant", "--model", model_path),
        *("--scheduler", f"dask:{address}"),
        DASK_CONFIG=str(tmp_path),
    )
    errors = process.communicate()[1]
    assert process.returncode == 2 and "no scheduler answers" in errors
    assert "Traceback" not in errors and len(errors.splitlines()) == 1, errors


def test_workers_that_are_not_fit_are_named_and_the_others_do_the_work(
    cluster, bids, model_path, tmp_path
):
    hide = f'mount -t tmpfs none "{model_path.parent}"; exec "$@"'
    cluster.work("four", prefix=("sh", "-c", hide, "sh"))
    shutil.copytree(ROOT / "qc_jax", tmp_path / "other" / "qc_jax")
    package = tmp_path / "other" / "qc_jax" / "__init__.py"
    package.write_text(package.read_text() + '\n__version__ = "9.9.9"\n')
    path = os.pathsep.join([str(tmp_path / "other"), *sys.path[1:]])
    cluster.work("five", PYTHONPATH=path)
    process = cluster.score(bids, tmp_path / "out", model_path)
    errors = " ".join(process.communicate()[1].split())
    assert process.returncode == 0, errors
    assert errors.count("it is sent home, the others go on") == 2
    for host, sentence in (
        ("four", f"has not got this model: {model_path} is missing"),
        ("five", "has qc_jax 9.9.9, this is"),
    ):
        where = re.escape(f"worker tls://{cluster.network.address[host]}:")
        assert re.search(rf"{where}\d+ {re.escape(sentence)}", errors), errors
    assert scored(tmp_path / "out") == SCANS


def test_one_worker_lost_and_one_cut_off_cost_no_scan(cluster, bids, model_path, tmp_path):
    """Last, since one worker is left afterwards."""
    process = cluster.score(bids, tmp_path / "out", model_path)
    while len(list((tmp_path / "out").glob("sub-*/anat/*_T1w.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    cluster.network.cut_off("two")
    cluster.processes["one"].send_signal(signal.SIGKILL)
    errors = " ".join(process.communicate()[1].split())
    assert process.returncode == 0, errors
    for host in ("one", "two"):
        where = re.escape(f"worker tls://{cluster.network.address[host]}:")
        assert re.search(rf"{where}\d+ was lost; what it had in hand goes to another", errors)
    assert scored(tmp_path / "out") == SCANS


def test_a_scheduler_that_is_lost_ends_the_study_with_a_sentence(
    cluster, bids, model_path, tmp_path
):
    process = cluster.score(bids, tmp_path / "out", model_path)
    while not list((tmp_path / "out").glob("sub-*/anat/*_T1w.json")):
        assert process.poll() is None
        time.sleep(0.02)
    cluster.processes["scheduler"].send_signal(signal.SIGKILL)
    errors = " ".join(process.communicate()[1].split())
    assert process.returncode == 2 and "error: the scheduler was lost" in errors
    assert "run the same command to go on" in errors and "Traceback" not in errors
