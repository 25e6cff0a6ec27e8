"""Runs whose data, machine, folder or options are not what they should be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from experiments import ablations, command, export, limits, machine, presets, run, run_folder
from experiments.faults.training import TINY as TWO_LEVELS
from qc_jax.errors import UNFORESEEN, ConfigError, OutputError

TINY = (*TWO_LEVELS, "--depth", "1")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A run folder whose task network is trained."""
    folder = tmp_path_factory.mktemp("task")
    assert run.main(["--stage=task", f"--run-dir={folder}", *TINY]) == 0
    return folder


@pytest.fixture
def copy(task, tmp_path):
    return shutil.copytree(task, tmp_path / "copy")


def call(capsys, folder, *more) -> tuple[int, str]:
    """Exit code, and the last line of standard error."""
    code = run.main(["--stage=task", f"--run-dir={folder}", *TINY, *more])
    lines = capsys.readouterr().err.strip().splitlines()
    assert not any(line.startswith("Traceback") for line in lines)
    return code, lines[-1]


# -- Options -----------------------------------------------------------------------------------


def test_every_number_of_the_configuration_has_a_range():
    for preset in presets.PRESETS.values():
        limits.check(preset)
    for (*_, name), value in limits.leaves(presets.Config()).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if name != "norm" and all(type(n) in (int, float) for n in numbers):  # it is 1 or 2
            assert name in limits.RANGES, name


@pytest.mark.parametrize(
    "option",
    [
        "--voxel-size 0", "--voxel-size -3", "--voxel-size nan", "--voxel-size inf",
        "--checkpoint-every 0", "--checkpoint-every -1", "--log-every 0", "--seed -1",
        f"--seed {10**30}", "--learning-rate 0", "--learning-rate nan", "--plateau.epsilon -1",
        "--subjects 0", "--steps-task 0", "--depth 0", "--depth 99", "--patch 0 8 8",
        "--field-of-view -16 20 16", "--overlap 1", "--artefact-rate 1", "--rotation inf",
        "--deformation -1", "--student-loss.ssim-weight nan", "--plateau.window 0",
        "--evaluation-draws 0",
        "--grey-matter-labels 0", "--process 1", "--processes 0", "--run-dir=",
        "--batch-size 0",
        "--warm-up -1",
    ],
)  # fmt: skip
def test_nonsense_in_an_option_is_one_sentence(capsys, tmp_path, option):
    code, line = call(capsys, tmp_path / "new", *option.split())
    name = option.split("=")[0].split()[0]
    assert code == 2 and line.startswith(f"error: {name} ") and len(line) < 200
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (export.main, ["x", "--output=x", "--draws", "0"]),
        (ablations.main, ["--steps", "-1"]),
    ],
)
def test_other_commands_have_ranges_too(capsys, main, arguments):
    assert main(arguments) == 2
    assert "choose a number from 1 to" in capsys.readouterr().err


# -- Data --------------------------------------------------------------------------------------


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([12.0, 12, 12, 1])), path)


@pytest.fixture
def heads(tmp_path):
    """A folder of four heads, and the run that was trained with them."""
    distance = np.linalg.norm(np.indices((16, 20, 16)) - [[[[7]]], [[[9]]], [[[7]]]], axis=0)
    for i in range(4):
        tissue = np.select([distance < 3 + i / 4, distance < 5], [2, 1], 0)
        save(tmp_path / f"data/p{i}/T1.nii", np.array([0, 0.5, 1.0], np.float32)[tissue])
        save(tmp_path / f"data/p{i}/T1_label.nii", (tissue == 1).astype(np.uint8))
    return tmp_path / "data"


def invert(folder):
    for path in folder.rglob("T1.nii"):
        save(path, 1 - nib.load(path).get_fdata(dtype=np.float32))


def exchange(folder):
    labels = [nib.load(folder / f"p{i}/T1_label.nii").get_fdata().astype(np.uint8) for i in (0, 3)]
    save(folder / "p3/T1_label.nii", labels[0])
    save(folder / "p0/T1_label.nii", labels[1])


@pytest.mark.parametrize(
    ("change", "named"), [(invert, "p0/T1, p1/T1"), (exchange, "p0/T1, p3/T1")]
)
def test_a_run_whose_data_have_changed_is_refused(capsys, tmp_path, heads, change, named):
    options = [f"--data={heads}", "--steps-task", "2"]
    assert call(capsys, tmp_path / "run", *options)[0] == 0
    assert call(capsys, tmp_path / "run", *options)[0] == 0
    change(heads)
    code, line = call(capsys, tmp_path / "run", *options)
    assert code == 2 and f"data.json was written: {named}" in line and "--run-dir" in line


def test_labels_that_say_nothing_stop_a_run_and_an_option_says_it(capsys, tmp_path, heads):
    for path in heads.rglob("T1_label.nii"):
        save(path, 2 * nib.load(path).get_fdata().astype(np.uint8))
    code, line = call(capsys, tmp_path / "run", f"--data={heads}")
    assert code == 2 and "T1_label.nii holds the numbers 0 and 2" in line
    more = ["--grey-matter-labels", "2", "--steps-task", "2"]
    assert call(capsys, tmp_path / "run", f"--data={heads}", *more)[0] == 0


# -- Machine -----------------------------------------------------------------------------------


def test_another_number_of_threads_is_said_and_the_run_goes_on(copy, caplog, capsys):
    path = copy / "machine.json"
    facts = json.loads(path.read_text())
    assert facts == machine.facts() and facts["CPU threads of XLA"] >= 1
    path.write_text(json.dumps(facts | {"CPU threads of XLA": 99}))
    assert call(capsys, copy)[0] == 0
    assert "CPU threads of XLA 99 then and" in caplog.text and "to rounding" in caplog.text


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_threads_are_those_that_xla_has(threads):
    code = "from experiments import machine; print(machine.cpu_threads())"
    environment = os.environ | {"PJRT_NPROC": threads}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == threads


def test_a_device_that_is_not_there(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "nonsense"}
    arguments = ["-m", "experiments.run", "--stage=task", f"--run-dir={tmp_path}", *TINY]
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert "error: JAX_PLATFORMS=nonsense: jax finds no such device" in done.stderr
    assert "Traceback" not in done.stderr


# -- Run folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "splits.json", "data.json", "machine.json",
                                  "summary.json"])  # fmt: skip
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"3"])
def test_a_damaged_file_is_one_sentence(copy, capsys, name, content):
    (copy / name).write_bytes(content)
    code, line = call(capsys, copy)
    assert code == 2 and name in line and line.startswith("error: ") and len(line) < 400


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{}"),
        ("splits.json", '{"train": 3, "validation": [], "test": []}'),
        ("splits.json", '{"train": ["sub-001"]}'),
        ("data.json", "{}"),
        ("summary.json", '{"task": 3}'),
        ("summary.json", '{"task": {"dice": "high"}}'),
        ("summary.json", '{"task": {"auc": 1.0}}'),
        ("summary.json", '{"task": {"dice": 1.0}, "teachers": {"noise": []}}'),
    ],
)
def test_fields_that_are_missing_or_wrong_are_one_sentence(copy, capsys, name, content):
    (copy / name).write_text(content)
    code, line = call(capsys, copy)
    assert code == 2 and line.startswith("error: ") and len(line) < 3000


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["network"].pop("depth"), lambda c: c["network"].update(depth="two"),
        lambda c: c["network"].update(depth=True), lambda c: c.update(network=2),
        lambda c: c["heads"].update(voxel_size=-12.0), lambda c: c["sample"].update(patch=[8, 8]),
        lambda c: c.update(more=1), lambda c: c.update(sources="noise"),
        lambda c: c.update(seed=1.5), lambda c: c["heads"].update(field_of_view=[16, None, 16]),
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_not_exported(copy, capsys, change):
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    assert export.main([str(copy), f"--output={copy / 'a.safetensors'}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_torn_line_of_metrics_is_dropped(copy, capsys):
    path = copy / "metrics.jsonl"
    before = path.read_text()
    path.write_bytes(before.encode() + b'{"stage": "task", "step": 1')
    run_folder.forget_metrics_after(path, "task", 12)
    assert path.read_text() == before
    path.write_bytes(b"\xff\n[1]\n3\n" + before.encode())
    run_folder.forget_metrics_after(path, "task", 11)
    assert path.read_text().splitlines() == before.splitlines()[:-1]
    shutil.rmtree(copy / "task" / "12")
    path.write_bytes(before.encode()[:-20])
    assert call(capsys, copy)[0] == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))


# -- What nobody foresaw -----------------------------------------------------------------------


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("two\nlines"), UNFORESEEN, "unforeseen, ValueError: two lines; QC_JAX_DEBUG=1"),
        (AssertionError(), UNFORESEEN, "unforeseen, AssertionError: AssertionError;"),
        (OSError(28, "No space left on device", "x"), 4, "x: No space left on device"),
        (OSError(5, "Input/output error"), UNFORESEEN, "unforeseen, OSError"),
        (OutputError("x cannot be written"), 4, "x cannot be written"),
        (MemoryError(), 2, "memory of this machine"),
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), 2, "memory of the device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_end_has_its_code_and_a_sentence(capsys, monkeypatch, error, code, said):
    monkeypatch.delenv("QC_JAX_DEBUG", raising=False)
    assert command.exit_code_of(raising(error)) == code
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}") or said in err
    assert len(err.splitlines()) == 1
    monkeypatch.setenv("QC_JAX_DEBUG", "1")
    command.exit_code_of(raising(error))
    assert ("Traceback" in capsys.readouterr().err) == (code == UNFORESEEN)


def test_a_configuration_of_an_earlier_version_is_one_sentence(copy, capsys):
    """There all fields stood side by side."""
    (copy / "config.json").write_text(json.dumps({"data": "", "depth": 3, "patch": [8, 8, 8]}))
    code, line = call(capsys, copy)
    assert code == 2 and "of another version of this package" in line and "--run-dir" in line


def test_a_configuration_is_like_its_default(task):
    assert run_folder.read_config(task) == run.parse([f"--run-dir={task}", *TINY]).config
    with pytest.raises(ConfigError, match="is missing; name a run folder"):
        run_folder.read_config(task / "none")


# -- Signals while XLA compiles ----------------------------------------------------------------

# A mutex locked twice stands for the compiler: code that is not Python's, and that no signal stops.
STUCK = """
import ctypes, sys
from experiments import run, signals, train
signals.PATIENCE = float(sys.argv[1])
def compile_for_ever(*arguments):
    lock = ctypes.create_string_buffer(64)
    print("compiling", flush=True)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
train.build.step_of = lambda *arguments: compile_for_ever
sys.exit(run.main(sys.argv[2:]))
"""


def start_stuck(folder, patience):
    arguments = ["-c", STUCK, patience, "--stage=task", f"--run-dir={folder}", *TINY]
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "compiling\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_a_training_that_compiles(tmp_path, number, code):
    process, began = start_stuck(tmp_path, "1"), time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code and 1 <= time.monotonic() - began < 15
    assert errors.strip().splitlines()[-1].endswith("run the same command to go on")
    with run_folder.lock(tmp_path):  # the next one may
        pass


def test_a_second_signal_does_not_wait(tmp_path):
    process, began = start_stuck(tmp_path, "1000"), time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75 and time.monotonic() - began < 15


@pytest.mark.slow
def test_a_signal_ends_a_real_compilation(tmp_path):
    """Of a network that takes XLA half a minute and more."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment["QC_JAX_CACHE"] = str(tmp_path / "cache")
    command_line = [sys.executable, "-m", "experiments.run", "--stage=task", "--subjects=3"]
    command_line += [f"--run-dir={tmp_path / 'run'}", "--depth=5", "--base-features=32"]
    command_line += ["--patch", "64", "64", "64", "--field-of-view", "64", "80", "64"]
    process = subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "task").exists():
        time.sleep(0.1)
    time.sleep(5)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75 and time.monotonic() - began < 30
