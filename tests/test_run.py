"""`python -m experiments.run` as a user calls it, on heads small enough for a test."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import qc_jax
from experiments import build, export, run, run_folder, train
from qc_jax import data, files

TINY = [
    "--subjects",
    "15",
    "--voxel-size",
    "12",
    "--field-of-view",
    "16",
    "20",
    "16",
    "--patch",
    "8",
    "8",
    "8",
    "--depth",
    "1",
    "--base-features",
    "2",
    "--batch-size",
    "2",
    "--steps-task",
    "6",
    "--steps-teachers",
    "4",
    "--steps-student",
    "4",
    "--sources",
    "noise",
    "blur",
    "--checkpoint-every",
    "3",
    "--log-every",
    "1",
    "--evaluation-draws",
    "2",
    "--warm-up",
    "2",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert run.main(["--stage=all", f"--run-dir={folder}", *TINY]) == 0
    return folder


def params_of(folder, name):
    config = run.parse(["--run-dir=unused", *TINY]).config
    return train.load_params(config, folder, build.stage_named(config, name), None)


def test_all_stages_leave_their_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert 0 <= summary["task"]["dice"] <= 1
    for source in ("noise", "blur"):
        teacher = summary["teachers"][source]
        assert 0 <= teacher["auc"] <= 1 and 0 <= teacher["dice"] <= 1
        assert -1 <= teacher["severity_spearman"] <= 1
        assert set(summary["student"]["auc"][source]) == {"task", "noise", "blur"}
    assert summary["seconds"] > 0 and summary["device"] and summary["versions"]["jax"]
    pictures = {path.name for path in (finished / "figures").iterdir()}
    assert pictures == {
        "artefacts.png", "task.png", "teachers_noise.png", "teachers_blur.png", "student.png",
    }  # fmt: skip
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "task"] == [1, 2, 3, 4, 5, 6]
    assert list((finished / "tensorboard" / "task").glob("events*"))
    split = json.loads((finished / "splits.json").read_text())
    assert [len(split[part]) for part in ("train", "validation", "test")] == [11, 2, 2]


def test_the_student_can_be_scored_with(finished):
    model = qc_jax.load_model(finished)
    assert model.description.sources == ("noise", "blur")
    assert set(model.calibration["severity"]) == {"noise", "blur"}
    trained = params_of(finished, "student")
    jax.tree.map(np.testing.assert_array_equal, model.params, trained)


def test_export_calibrates_on_more_scans(finished, tmp_path):
    output = tmp_path / "model" / "mine.safetensors"
    assert export.main([str(finished), "--output", str(output), "--draws", "3"]) == 0
    model = qc_jax.load_model(output)
    assert model.calibration["scans"] == 2 * 3 * (1 + 2 + 1)
    assert model.sha256 == qc_jax.load_model(finished).sha256


def test_export_of_what_is_no_finished_run(finished, tmp_path, capsys):
    options = ["--output", str(tmp_path / "a.safetensors")]
    assert export.main([str(tmp_path), *options]) == 2
    assert "name a run folder" in capsys.readouterr().err
    for name in ("config.json", "splits.json"):
        shutil.copy(finished / name, tmp_path)
    assert export.main([str(tmp_path), *options]) == 3
    assert "no student that is trained" in capsys.readouterr().err


def test_finished_says_so_and_stops(finished, capsys):
    before = (finished / "summary.json").read_text()
    assert run.main(["--stage=all", f"--run-dir={finished}", *TINY]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert (finished / "summary.json").read_text() == before


def test_the_learning_rate_falls_to_zero_over_each_stage(finished):
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for stage, steps in (("task", 6), ("teachers/noise", 4), ("student", 4)):
        rates = [line["learning_rate"] for line in lines if line["stage"] == stage]
        expected = 2e-3 * (1 - np.arange(steps) / steps) ** 0.9
        np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_evaluating_again_gives_the_same_figures(finished):
    before = json.loads((finished / "summary.json").read_text())
    assert run.main(["--stage=evaluate", f"--run-dir={finished}", *TINY]) == 0
    after = json.loads((finished / "summary.json").read_text())
    assert (after["task"], after["teachers"], after["student"]) == (
        before["task"], before["teachers"], before["student"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "before"),
    [
        pytest.param("task", [], marks=pytest.mark.slow),
        pytest.param("teachers/noise", ["task"], marks=pytest.mark.slow),
        ("student", ["task", "teachers"]),
    ],
)
def test_stopped_and_resumed_equals_never_stopped(finished, tmp_path, monkeypatch, stage, before):
    summary = json.loads((finished / "summary.json").read_text())
    for name in before:
        shutil.copytree(finished / name, tmp_path / name)
    files.write_json(tmp_path / "summary.json", {name: summary[name] for name in before})
    append = run_folder.append_metrics

    def stop_at_step_2(path, record):
        append(path, record)
        if record["stage"] == stage and record["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    arguments = ["--stage=all", f"--run-dir={tmp_path}", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "append_metrics", stop_at_step_2)
        assert run.main(arguments) == 75
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)  # the clock may jump
    assert run.main(arguments) == 0
    for name in ("task", "teachers/noise", "student"):
        jax.tree.map(
            np.testing.assert_array_equal, params_of(tmp_path, name), params_of(finished, name)
        )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["stage"], line["step"]) for line in lines]
    trained = {"task": 6, "teachers/noise": 4, "teachers/blur": 4, "student": 4}
    expected = sum(n for name, n in trained.items() if name.split("/")[0] not in before)
    assert len(steps) == len(set(steps)) == expected


def refused(capsys, arguments) -> str:
    code = run.main(arguments)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and message.startswith("error: ")
    return message


def test_another_configuration_in_the_folder_is_refused(finished, capsys):
    before = (finished / "config.json").read_text()
    message = refused(
        capsys, ["--stage=all", f"--run-dir={finished}", *TINY, "--learning-rate=0.5"]
    )
    assert "learning_rate is 0.002 there and 0.5 here" in message
    assert (finished / "config.json").read_text() == before


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=os.path.getsize)


def emptied(step):
    shutil.rmtree(step)
    step.mkdir()


DAMAGE = {
    "bit flipped": lambda step: flip_a_bit(largest_file(step)),
    "truncated": lambda step: largest_file(step).write_bytes(b""),
    "file deleted": lambda step: largest_file(step).unlink(),
    "no sums": lambda step: (step / "sha256.json").unlink(),
    "empty": emptied,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    finished, tmp_path, caplog, damage
):
    copy = shutil.copytree(finished, tmp_path / "copy")
    DAMAGE[damage](copy / "task" / "6")
    assert run.main(["--stage=task", f"--run-dir={copy}", *TINY]) == 0
    assert "copy/task/6 is damaged" in caplog.text
    jax.tree.map(
        np.testing.assert_array_equal, params_of(copy, "task"), params_of(finished, "task")
    )


def test_no_whole_checkpoint_is_refused(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    for step in ("3", "6"):
        flip_a_bit(largest_file(copy / "task" / step))
    assert run.main(["--stage=all", f"--run-dir={copy}", *TINY]) == 3
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "copy/task holds no checkpoint that is whole; remove" in message


def test_a_student_of_another_teacher_is_refused(finished, tmp_path, capsys):
    """As if the noise teacher had been trained again, and had come out another one."""
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "teachers" / "noise")
    shutil.copytree(finished / "teachers" / "blur", copy / "teachers" / "noise")
    assert run.main(["--stage=all", f"--run-dir={copy}", *TINY]) == 3
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "student learnt from other networks" in message and "remove it" in message


def test_a_run_folder_can_be_moved_and_packed(finished, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "tar", finished)
    subprocess.run(["tar", "-xf", archive, "--one-top-level=moved"], cwd=tmp_path, check=True)
    moved = params_of(tmp_path / "moved", "student")
    jax.tree.map(np.testing.assert_array_equal, moved, params_of(finished, "student"))


def test_checkpoints_are_ordered_by_step_whatever_the_clock_said(finished, tmp_path, monkeypatch):
    copy = shutil.copytree(finished, tmp_path / "copy")
    next_year = time.time() + 3e7
    for step, written in (("3", next_year), ("6", 0.0)):
        for path in (copy / "task" / step, *(copy / "task" / step).rglob("*")):
            os.utime(path, (written, written))
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        found = params_of(copy, "task")
    time.tzset()
    jax.tree.map(np.testing.assert_array_equal, found, params_of(finished, "task"))


def test_one_run_at_a_time_in_a_folder(finished, capsys):
    with run_folder.lock(finished):
        message = refused(capsys, ["--stage=all", f"--run-dir={finished}", *TINY])
    assert f"in use by process {os.getpid()} on" in message


def test_a_scan_without_finite_values_is_skipped_and_named(finished, tmp_path, monkeypatch, capsys):
    """One step of six sees NaN: the run goes on, and nothing of it reaches the parameters."""
    batches, seen = data.batches, []

    def poisoned(*arguments):
        iterator = batches(*arguments)

        class Iterator:
            get_state, set_state = iterator.get_state, iterator.set_state

            def __next__(self):
                batch = next(iterator)
                seen.append(len(seen))
                return batch | {"image": batch["image"] * np.nan} if len(seen) in bad else batch

        return Iterator()

    load = data.load_subjects

    def as_images(*arguments):
        return [
            dataclasses.replace(subject, fractions=None, image=subject.draw(jax.random.key(0)))
            for subject in load(*arguments)
        ]

    monkeypatch.setattr(data, "load_subjects", as_images)
    monkeypatch.setattr(data, "batches", poisoned)
    bad = {4}
    arguments = ["--stage=task", *TINY]
    assert run.main([f"--run-dir={tmp_path / 'one'}", *arguments]) == 0
    assert re.search(r"no finite loss at step 4 \(.*\): skipped", capsys.readouterr().err)
    params = params_of(tmp_path / "one", "task")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))

    seen.clear()
    bad = set(range(2, 20))
    assert run.main([f"--run-dir={tmp_path / 'all'}", *arguments]) == 5
    assert "5 steps in a row" in capsys.readouterr().err


def test_a_full_disk_leaves_the_last_checkpoint(finished, tmp_path):
    """A limit on the size of a file stands for the disk: the error comes when orbax writes."""
    code = (
        "import resource, signal, sys\n"
        "from experiments import run, run_folder\n"
        "append = run_folder.append_metrics\n"
        "def fill(path, record):\n"
        "    append(path, record)\n"
        "    if record['step'] == 4: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "run_folder.append_metrics = fill\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "sys.exit(run.main(sys.argv[1:]))"
    )
    arguments = ["--stage=task", f"--run-dir={tmp_path}", *TINY]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert re.search(r"error: .*task/6 cannot be written \(File too large", done.stderr)
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 12, done.stderr
    assert run.main(arguments) == 0
    jax.tree.map(
        np.testing.assert_array_equal,
        params_of(tmp_path, "task"),
        params_of(finished, "task"),
    )
