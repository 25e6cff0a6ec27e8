"""Jobs that begin or end at the same moment in one output folder."""

import json
import multiprocessing
import shutil

import numpy as np

from experiments.benchmarks import study as generated
from qc_jax.scoring import group, outputs, record, scan_report


def fresh_processes():
    """Processes that begin with everything imported, and nothing else of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def claim_and_summarise(folder, barrier, failures, number):
    records = [generated.generated(np.random.default_rng(i), i, False) for i in range(3)]
    for _ in range(50):
        barrier.wait()
        try:
            outputs.claim(folder)
            scan_report.copy_viewer(folder)
            group.write_group(folder, records)
        except Exception as error:
            failures.put(f"{type(error).__name__}: {error}")


def test_eight_jobs_begin_and_end_at_the_same_moment(tmp_path):
    context = fresh_processes()
    barrier, failures = context.Barrier(8), context.SimpleQueue()
    processes = [
        context.Process(target=claim_and_summarise, args=(tmp_path, barrier, failures, i))
        for i in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert failures.empty() and [p.exitcode for p in processes] == [0] * 8
    assert len((tmp_path / "group_T1w.tsv").read_text().splitlines()) == 4
    assert not list(tmp_path.glob(".qc_jax-*"))


def score_one(folder, name):
    """As `qc-jax score` ends: a record of its own, then the table of all."""
    made = generated.generated(np.random.default_rng(0), 0, False)
    made |= {"name": name, "folder": name, "entities": {}}
    with group.alone(folder):
        (folder / name).mkdir()
        (folder / name / f"{name}.json").write_text(json.dumps(made))
        group.update_group(folder, [made])


def test_no_row_of_jobs_that_end_at_the_same_moment_is_lost(tmp_path):
    context = fresh_processes()
    names = [f"T1_{number:08x}" for number in range(24)]
    for start in range(0, 24, 8):
        processes = [
            context.Process(target=score_one, args=(tmp_path, name))
            for name in names[start : start + 8]
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    lines = (tmp_path / "group_T1w.tsv").read_text().splitlines()
    assert [line.partition("\t")[0] for line in lines[1:]] == names


def test_a_scan_more_reads_no_other_record(tmp_path, monkeypatch):
    for number in range(20):
        score_one(tmp_path, f"T1_{number:08x}")
    opened = []
    read = record.read
    monkeypatch.setattr(record, "read", lambda path: opened.append(path) or read(path))
    score_one(tmp_path, "T1_abcdef00")
    assert not opened and len((tmp_path / "group_T1w.tsv").read_text().splitlines()) == 22
    shutil.rmtree(tmp_path / "T1_00000003")  # a row goes with its folder
    score_one(tmp_path, "T1_abcdef01")
    assert len((tmp_path / "group_T1w.tsv").read_text().splitlines()) == 22
