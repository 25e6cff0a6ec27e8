"""Files that are whole or not there, whoever else writes them."""

import hashlib
import json
import multiprocessing
import os
import time

import pytest

from qc_jax import files
from qc_jax.errors import OutputError


def write_rounds(path, rounds, barrier):
    for number in range(rounds):
        barrier.wait()
        files.write_json(path, {"round": number, "process": os.getpid(), "long": "x" * 50_000})


def test_eight_processes_write_one_file_fifty_times(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, path = context.Barrier(8), tmp_path / "one.json"
    arguments = (path, 50, barrier)
    processes = [context.Process(target=write_rounds, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        if path.exists():
            assert set(json.loads(path.read_text())) == {"round", "process", "long"}
    assert [process.exitcode for process in processes] == [0] * 8
    assert json.loads(path.read_text())["round"] == 49
    assert [p.name for p in tmp_path.iterdir()] == ["one.json"]


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fails(partial):
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a\.txt cannot be written \(No space left on device\)"):
        files.write_whole(path, fails)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        files.write_bytes(tmp_path / "file" / "a.txt", b"")


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a.b.c.nii.gz", ".nii.gz"), ("a.tsv", ".tsv"), ("a", ""), ("x" * 250 + ".json", ".json")],
)
def test_what_is_written_has_the_ending_of_the_file(tmp_path, name, ending):
    """nibabel and polars choose a format by it; names may be as long as the system takes."""
    seen = []
    files.write_whole(tmp_path / name, lambda p: (seen.append(p.name), p.write_text(name)))
    assert seen[0][1:].partition(".")[2] == ending.removeprefix(".")
    assert (tmp_path / name).read_text() == name


def test_text_that_is_no_utf8_is_escaped(tmp_path):
    files.write_text(tmp_path / "a", "\udcff")
    assert (tmp_path / "a").read_bytes() == b"\\udcff"


def test_only_old_partial_files_are_left_over(tmp_path):
    for name, age in ((".qc_jax-1.json", 2 * 86400), (".qc_jax-2.json", 60), ("kept", 2 * 86400)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    files.remove_left_over(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".qc_jax-2.json", "kept"}


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
