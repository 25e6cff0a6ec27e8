"""What surrounds the scans of a study: output folders, names, tables, layouts, jobs at once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qc_jax.scoring import group, participants

_JOBS, _ROUNDS = 8, 50
_SIMULTANEOUS = """
import sys, time
from pathlib import Path
from qc_jax.scoring import group, outputs, scan_report
out, rounds, start = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
records = group.read_records(out)
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
for _ in range(rounds):
    outputs.claim(out)
    scan_report.copy_viewer(out)
    with group.alone(out):
        group.write_group(out, records)
"""

_HEADER = "participant_id\tage\tnote\n"
TABLES: dict[str, bytes] = {
    "plain": _HEADER.encode() + b"sub-01\t31\tok\nsub-02\t-5\tok\n",
    "bom and CRLF": b"\xef\xbb\xbf" + _HEADER.encode() + b"sub-01\t31\tok\r\n",
    "blank rows": _HEADER.encode() + b"sub-01\t31\tok\n\n\t\t\n\t\t\n",
    "a row a session": b"participant_id\tsession_id\tage\nsub-01\tses-1\t31\nsub-01\tses-2\t32\n",
    "blank in an id": _HEADER.encode() + b"sub-01 \t31\tok\n",
    "id without zero": _HEADER.encode() + b"1\t31\tok\n",
    "id in capitals": _HEADER.encode() + b"SUB-01\t31\tok\n",
    "inches": _HEADER.encode() + b"sub-01\t31\t5'10\" tall\n",
    "one quote": _HEADER.encode() + b'sub-01\t31\t"left handed\nsub-02\t4\tok\n',
    "quoted": _HEADER.encode() + b'"sub-01"\t"31"\t"ok"\n',
    "a cell more": _HEADER.encode() + b"sub-01\t31\tok\textra\n",
    "a cell less": _HEADER.encode() + b"sub-01\t31\n",
    "Latin-1": (_HEADER + "sub-01\t31\tGröße\n").encode("latin-1"),
    "UTF-16": (_HEADER + "sub-01\t31\tok\n").encode("utf-16"),
    "column twice": b"participant_id\tage\tage\nsub-01\t31\t32\n",
    "column in capitals": b"Participant_ID\tage\nsub-01\t31\n",
    "commas": b"participant_id,age\nsub-01,31\n",
}
"""Forms of participants.tsv; sub-01 is 31 years old in each, or has no one age."""
NO_TABLES = {"header alone": _HEADER.encode(), "empty": b"", "no ids": b"age\n31\n"}


def try_situations(folder: Path, head: np.ndarray, model: Path) -> dict[str, Any]:
    """Tries each situation.

    Args:
      folder: empty.
      head: `(X, Y, Z)` in [0, 1], at 8 mm.
      model: small weights.

    Returns:
      `situations`, and `wrong`: what did not come out as promised.
    """
    wrong, number = [], 0
    for part in (_folders, _names, _layout, _tables, _side_by_side):
        place = folder / part.__name__.strip("_")
        place.mkdir()
        for name, problem in part(place, lambda path: _save(path, head), _caller(model)):
            number += 1
            if problem:
                wrong.append(f"{name}: {problem}")
    return {"situations": number, "wrong": wrong}


Save = Callable[[Path], Path]
Call = Callable[..., tuple[int, str]]
Situations = Iterator[tuple[str, str]]
"""The name of each, and what was wrong."""


def _folders(folder: Path, save: Save, call: Call) -> Situations:
    """Output folders that belong to somebody else."""
    study = folder / "study"
    save(study / "sub-01/anat/sub-01_T1w.nii.gz")
    raw = {"Name": "Raw", "BIDSVersion": "1.8.0", "DatasetType": "raw"}
    (study / "sub-01/anat/sub-01_T1w.json").write_text('{"Manufacturer": "Acme"}')
    (study / "dataset_description.json").write_text(json.dumps(raw))
    out = folder / "out"
    assert call(study, out, "participant")[0] == 0
    other = folder / "mriqc"
    (other / "sub-01/anat").mkdir(parents=True)
    (other / "sub-01/anat/sub-01_T1w.json").write_text('{"cjv": 0.4}')
    shutil.copytree(other, folder / "bare")
    made_by = raw | {"DatasetType": "derivative", "GeneratedBy": [{"Name": "MRIQC"}]}
    (other / "dataset_description.json").write_text(json.dumps(made_by))
    for name, arguments, kept in (
        ("output is the study", (study, study, "participant"), study),
        ("group output is the study", (study, study, "group"), study),
        ("output of another tool", (study, other, "participant"), other),
        ("output in a subject's folder", (study, study / "sub-01", "participant"), study),
        ("output of nobody known", (study, folder / "bare", "participant"), folder / "bare"),
        ("metrics into the study", (study, out, "group", "--iqm-dir", study), study),
        ("metrics over the records", (study, out, "group", "--iqm-dir", out), out),
        ("metrics over MRIQC's", (study, out, "group", "--iqm-dir", other), other),
        ("metrics over somebody's", (study, out, "group", "--iqm-dir", folder / "bare"), out),
    ):
        before = _contents(kept)
        code, said = call(*arguments)
        problem = "" if code == 4 and said.startswith("error: ") else f"exit code {code}: {said}"
        yield name, problem or ("" if _contents(kept) == before else "files were changed")


def _names(folder: Path, save: Save, call: Call) -> Situations:
    """Scans that are called alike, names as long as can be, scans that moved."""
    first, second = (save(folder / who / "T1.nii.gz") for who in ("first", "second"))
    second.write_bytes(save(folder / "x.nii").read_bytes() + bytes(16))
    out = ("--output-dir", folder / "out")
    for scan in (first, second, first):
        code, said = call("score", scan, *out)
        yield f"{scan.parent.name} in a loop", "" if code == 0 else said
    files = sorted(record["file"] for record in group.read_records(folder / "out"))
    yield "both are kept", "" if files == [str(first), str(second)] else str(files)
    moved = folder / "third" / "T1.nii.gz"
    moved.parent.mkdir()
    first.rename(moved)
    call("score", moved, *out)
    number = len(group.read_records(folder / "out"))
    yield "a moved scan counts once", "" if number == 2 else f"{number} records"
    long = folder / "study" / "sub-01" / "anat" / f"sub-01_acq-{'a' * 220}_T1w.nii"
    save(long)
    code, said = call(folder / "study", folder / "long", "participant")
    yield "a name of 240 characters", "" if code == 0 else said
    (folder / "long" / "odd.json").write_text('{"status": "scored"}')
    (evil,) = group.read_records(folder / "long")
    (folder / "long" / "evil.json").write_text(json.dumps(evil | {"folder": "../.."}))
    code, said = call(folder / "study", folder / "long", "group", "--iqm-dir", folder / "iqms")
    yield "foreign records", "" if code == 0 else said


def _layout(folder: Path, save: Save, call: Call) -> Situations:
    """A BIDS folder with what real ones hold."""
    study = folder / "study"
    for name in (
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_part-mag_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_part-phase_T1w.nii.gz",
        "sub-03/anat/sub-03_run-1_T1w.nii.gz",
        "sub-03/anat/sub-03_run-2_T1w.nii.gz",
        "sub-04/anat/sub-04_UNIT1.nii.gz",
        "sub-05/func/sub-05_task-rest_bold.nii.gz",
        "sub-06/anat/sub-06_T1w.nii.gz",
        "sub-06/ses-2/anat/sub-06_ses-2_T1w.nii.gz",
    ):
        save(study / name)
    (study / "sub-01/anat/._sub-01_T1w.nii.gz").write_bytes(b"\0\5\x16\7" + bytes(4000))
    save(study / "sub-07/anat/x.nii").rename(study / "sub-07/anat/sub-07_T1w.NII")
    (study / ".bidsignore").write_text("sub-03/anat/sub-03_run-1_T1w.nii.gz\n")
    code, said = call(study, folder / "out", "participant")
    yield "exit code", "" if code == 0 else f"{code}: {said}"
    scored = {record["name"] for record in group.read_records(folder / "out")}
    wanted = {"sub-01_T1w", "sub-02_ses-1_part-mag_T1w", "sub-03_run-2_T1w", "sub-06_T1w"}
    wanted |= {"sub-06_ses-2_T1w", "sub-07_T1w"}
    yield "what is scored", "" if scored == wanted else str(sorted(scored ^ wanted))
    for what in ("part-phase", "run-1", "sub-04", "sub-05", "._sub-01"):
        yield f"{what} is named", "" if what in said else said


def _tables(folder: Path, save: Save, call: Call) -> Situations:
    """Forms of participants.tsv."""
    for name, content in {**TABLES, **NO_TABLES}.items():
        (folder / "participants.tsv").write_bytes(content)
        read = participants.read_participants(folder)
        problem = "was not found"
        if read is not None:
            frame, said = participants.match(read, [("01", None), ("02", None)])
            ages = frame["participant_age"].to_list() if name in TABLES else [31]
            split = name == "a row a session" and ages[0] is None and said
            problem = "" if ages[0] == 31 or split else f"age {ages[0]}, {said}"
            if name in NO_TABLES and not said:
                problem = "no warning"
        yield name, problem


def _side_by_side(folder: Path, save: Save, call: Call) -> Situations:
    """Jobs that begin and end at the same moment in one output folder."""
    save(folder / "study/sub-01/anat/sub-01_T1w.nii.gz")
    out, start = folder / "out", folder / "start"
    assert call(folder / "study", out, "participant")[0] == 0
    command = [sys.executable, "-c", _SIMULTANEOUS, str(out), str(_ROUNDS), str(start)]
    pipe = subprocess.PIPE
    jobs = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(_JOBS)]
    for job in jobs:
        assert job.stdout is not None
        job.stdout.readline()
    start.touch()
    for number, job in enumerate(jobs):
        _, said = job.communicate()
        yield f"job {number}", said.strip().splitlines()[-1] if job.returncode else ""
    rows = (out / "group_T1w.tsv").read_text().splitlines()
    yield "the table is whole", "" if len(rows) == 2 else f"{len(rows)} lines"


def _save(path: Path, head: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.rint(1000 * head).astype(np.int16), np.diag([8.0, 8, 8, 1]))
    nib.save(image, path)
    return path


def _contents(folder: Path) -> dict[str, bytes]:
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return {str(path): path.read_bytes() for path in paths}


def _caller(model: Path) -> Call:
    """Runs `qc-jax`: exit code, and what it said to people."""

    def call(*arguments: Any) -> tuple[int, str]:
        command = [sys.executable, "-m", "qc_jax.cli", *map(str, arguments)]
        scoring = "group" not in arguments
        done = subprocess.run(
            [*command, *(["--model", str(model)] if scoring else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr.strip()

    return call
