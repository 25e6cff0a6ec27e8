"""The whole chain in so many minutes: shares of the time, one program for teachers, going on."""

import io
import json
import logging
import shutil
import signal
import tarfile

import jax
import numpy as np
import pytest

import qc_jax
from experiments import bundle, export, pack, recipe, recipe_runner, scanning, time_box
from experiments.faults.training import TINY
from experiments.refine import in_time
from qc_jax.augment.tissues import TISSUES
from qc_jax.data import load_subjects, packed
from qc_jax.errors import ConfigError
from qc_jax.scoring import calibration
from tests.test_acquired import head  # noqa: F401 (a fixture)

SPEED = {"task": 0.004, "teachers": 0.009, "student": 0.0015}
"""Steps per second, by which 100 minutes are few steps."""


def test_time_is_shared_out_as_documented():
    assert sum(time_box.SHARES.values()) == pytest.approx(1.0)
    assert list(time_box.SHARES) == ["task", "teachers", "student"]
    left = 690.0
    seconds = {}
    for group in time_box.SHARES:
        seconds[group] = time_box.seconds_for(group, left, compilation=0.0)
        left -= seconds[group]
    assert left == pytest.approx(0.0)
    for group, share in time_box.SHARES.items():
        assert seconds[group] == pytest.approx(share * 690.0)
    later = time_box.seconds_for("task", 690.0, 60.0)
    assert later == pytest.approx(0.15 * (690.0 - 2 * 1.5 * 60.0))
    assert time_box.seconds_for("student", 100.0, 60.0) == pytest.approx(100.0)
    assert time_box.seconds_for("task", 100.0, 60.0) == 0.0
    assert time_box.steps_for(60.0, 16.0, 6) == 160
    assert time_box.steps_for(0.0, 16.0, 6) == 1


def test_a_checkpoint_is_due_every_so_many_seconds():
    times = iter([0.0, 50.0, 119.0, 121.0, 121.0, 200.0, 242.0, 242.0])
    due = time_box.every(120.0, lambda: next(times))
    assert [due(step) for step in range(5)] == [False, False, True, False, True]


@pytest.fixture(scope="module")
def stopped_and_finished(tmp_path_factory):
    """A recipe that SIGTERM stops in the student, called again; what both calls compiled."""
    folder = tmp_path_factory.mktemp("recipe")
    command = ["--minutes=100", f"--run-dir={folder / 'run'}", f"--output={folder / 'out'}", *TINY]
    begun: list[float] = []
    compiled: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: compiled.append(record.getMessage())  # type: ignore[method-assign]
    real_time, real_every = recipe_runner._time, time_box.every

    def timed(step_function, config, stages, *others):
        seconds, speed = real_time(step_function, config, stages, *others)
        assert seconds > 0 and speed > 0
        return 0.0, SPEED[stages[0].group]

    def stop_in_student(seconds):
        begun.append(seconds)
        last = len(begun) == 4

        def due(step):
            if last and step == 2:
                signal.raise_signal(signal.SIGTERM)
            return False

        return due

    logger = logging.getLogger("jax._src.dispatch")
    with pytest.MonkeyPatch.context() as patch, jax.log_compiles():
        logger.addHandler(listener)
        patch.setattr(recipe_runner, "TIMED_STEPS", 2)
        patch.setattr(recipe_runner, "_time", timed)
        patch.setattr(time_box, "every", stop_in_student)
        codes = [recipe.main(command)]
        between = json.loads((folder / "run" / "recipe.json").read_text())
        had_checkpoint = (folder / "run" / "student").is_dir()
        first = list(compiled)
        patch.setattr(time_box, "every", real_every)
        codes.append(recipe.main(command))
        logger.removeHandler(listener)
    assert had_checkpoint
    return folder, codes, between, first


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_stopped_recipe_goes_on(stopped_and_finished):
    folder, codes, between, _ = stopped_and_finished
    assert codes == [75, 0]
    plan = json.loads((folder / "run" / "recipe.json").read_text())
    assert plan == between
    lines = lines_of(folder / "run")
    for stage, group in (
        ("task", "task"),
        ("teachers/noise", "teachers"),
        ("teachers/blur", "teachers"),
        ("student", "student"),
    ):
        steps = plan[group]["steps"]
        assert [line["step"] for line in lines if line["stage"] == stage] == [*range(1, steps + 1)]
        weights = folder / "run" / "weights" / f"{stage}.safetensors"
        assert qc_jax.load_model(weights).training["steps"] == steps
        assert not (folder / "run" / stage).exists()


@pytest.mark.slow
def test_the_steps_are_the_share_of_the_time(stopped_and_finished):
    folder, _, plan, _ = stopped_and_finished
    left = 100 * 60 * (1 - time_box.KEPT_BACK)
    task = time_box.SHARES["task"] * left * SPEED["task"]
    teachers = time_box.SHARES["teachers"] / 0.85 * left * SPEED["teachers"] / 2
    assert plan["task"]["steps"] in (int(task) - 1, int(task))
    assert 1 <= plan["teachers"]["steps"] <= teachers
    assert plan["student"]["steps"] > 2
    lines = lines_of(folder / "run")
    steps = plan["student"]["steps"]
    rates = [line["learning_rate"] for line in lines if line["stage"] == "student"]
    np.testing.assert_allclose(rates, 2e-3 * (1 - np.arange(steps) / steps) ** 0.9, rtol=1e-5)


@pytest.mark.slow
def test_each_group_of_stages_is_compiled_once(stopped_and_finished):
    _, _, _, compiled = stopped_and_finished
    steps = [m for m in compiled if "Finished XLA compilation" in m and "device_step" in m]
    assert len(steps) == 3


@pytest.mark.slow
def test_what_leaves_the_machine_is_small_and_whole(stopped_and_finished, tmp_path, monkeypatch):
    # A student of eight steps is nothing to calibrate.
    monkeypatch.setattr(calibration, "fit", lambda scans, sources: {})
    folder = stopped_and_finished[0]
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["bundle.tar.00", "metrics.jsonl"]
    parts = bundle.write_parts(folder / "run", tmp_path / "small", part=20_000)
    assert len(parts) > 1 and all(part.stat().st_size <= 20_000 for part in parts)
    content = b"".join(part.read_bytes() for part in parts)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    output = tmp_path / "student.safetensors"
    assert export.main([str(tmp_path / "unpacked"), "--output", str(output), "--draws", "3"]) == 0
    assert qc_jax.load_model(output).description.sources == ("noise", "blur")


@pytest.mark.slow
def test_a_source_head_is_trained_on_heads_that_were_scanned_meanwhile(
    stopped_and_finished,
    head,  # noqa: F811
    tmp_path,
    monkeypatch,
    capsys,
):
    run, to_scan = tmp_path / "run", tmp_path / "to_scan.npz"
    shutil.copytree(stopped_and_finished[0] / "run", run)
    scanning.write_heads(to_scan, [head])
    monkeypatch.setattr(in_time, "ENOUGH", 1)
    monkeypatch.setattr(in_time, "MOST_STEPS", 30)
    options = [f"--to-scan={to_scan}", "--processes=1", "--minutes=100", f"--output={tmp_path}"]
    assert recipe.main([f"--run-dir={run}", *TINY, *options]) == 0
    model = qc_jax.load_model(run / "weights" / "sources.safetensors")
    assert model.description.source_head and "30 steps" in model.training["source head"]
    student = qc_jax.load_model(run / "weights" / "student.safetensors")
    below = {**model.params["params"]}
    below.pop("sources")
    jax.tree.map(np.testing.assert_array_equal, below, student.params["params"])
    with tarfile.open(tmp_path / "bundle.tar.00") as archive:
        names = archive.getnames()
    assert "weights/sources.safetensors" in names and not any("draws" in name for name in names)
    assert recipe.main([f"--run-dir={run}", *TINY, "--to-scan=missing.npz"]) == 2
    assert "missing.npz holds no heads to scan" in capsys.readouterr().err


def test_only_the_last_checkpoint_is_taken_along(tmp_path):
    for step in ("9", "10"):
        (tmp_path / "run" / "teachers" / "blur" / step).mkdir(parents=True)
        (tmp_path / "run" / "teachers" / "blur" / step / "state").write_text(step)
    (part,) = bundle.write_parts(tmp_path / "run", tmp_path)
    with tarfile.open(part) as archive:
        found = {name for name in archive.getnames() if name.endswith("state")}
    assert found == {"teachers/blur/10/state"}


@pytest.mark.slow
def test_another_configuration_is_refused(stopped_and_finished, capsys):
    folder = stopped_and_finished[0]
    assert recipe.main([f"--run-dir={folder / 'run'}", *TINY, "--learning-rate=1e-4"]) == 2
    assert "another configuration" in capsys.readouterr().err


def heads_of(shape=(6, 8, 6)):
    drawn = np.random.default_rng(0).multinomial(255, np.ones(len(TISSUES)) / 8, (3, *shape))
    return {f"sub-{i}": fractions.astype(np.uint8) for i, fractions in enumerate(drawn)}


def test_packed_heads_come_back(tmp_path):
    heads, path = heads_of(), tmp_path / "heads.npz"
    packed.write_packed(path, heads, 8.0, (6, 8, 6))
    found = load_subjects(f"packed:{path}", 8.0, (6, 8, 6), 0, 0, tmp_path)
    assert [subject.name for subject in found] == list(heads)
    for subject in found:
        np.testing.assert_array_equal(subject.fractions, heads[subject.name])


def test_what_is_no_packed_file_is_refused(tmp_path):
    path = tmp_path / "heads.npz"
    with pytest.raises(ConfigError, match="holds no packed heads"):
        packed.read_packed(path, 8.0, (6, 8, 6))
    packed.write_packed(path, heads_of(), 8.0, (6, 8, 6))
    with pytest.raises(ConfigError, match="--voxel-size 8"):
        packed.read_packed(path, 4.0, (6, 8, 6))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ConfigError, match="holds no packed heads"):
        packed.read_packed(path, 8.0, (6, 8, 6))
    assert pack.main(["somewhere", f"--output={path}"]) == 2
    assert pack.main(["labels:somewhere", f"--output={path}", "--scans", "a.nii.gz"]) == 2
