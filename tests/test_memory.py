"""How much memory may be taken."""

import psutil
import pytest

from qc_jax import memory


@pytest.fixture(autouse=True)
def asked_anew():
    memory.limit.cache_clear()
    yield
    memory.limit.cache_clear()


def test_a_grant_of_slurm_counts_and_one_of_all_memory_does_not(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert memory.limit() == 100 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")
    memory.limit.cache_clear()
    assert 100 * 2**20 < memory.limit() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("line", "files"),
    [
        (
            "9:memory:/job/step",
            {"memory/job/step/memory.limit_in_bytes": "7", "memory/job/memory.limit_in_bytes": "5"},
        ),
        ("0::/job/step", {"job/step/memory.max": "max", "job/memory.max": "5"}),
        ("0::/", {"memory.max": "5"}),  # as a container sees it
    ],
)
def test_groups_of_both_versions_and_those_around_them(tmp_path, line, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    (tmp_path / "membership").write_text(f"3:cpu,cpuacct:/else\n{line}\n")
    assert min(memory._of_groups(tmp_path / "membership", tmp_path)) == 5


def test_where_there_are_no_groups(tmp_path):
    assert not list(memory._of_groups(tmp_path / "none", tmp_path))
