"""What becomes of bad scans, of many scans, and of scoring that is killed."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil

from experiments.faults import corpus, forged
from qc_jax.data import nifti
from qc_jax.errors import ScanError
from qc_jax.scoring import group
from qc_jax.scoring.record_fields import Record, Scored


def score_corpus(folder: Path, head: np.ndarray, model: Path) -> dict[str, Any]:
    """Scores the whole corpus in one call of `qc-jax score`.

    Returns:
      `inputs`, `refused_rightly`, `scored_rightly`, `records_lost`, `wrong` (what was not as it
      has to be), `exit_code`, `gigabytes` (largest memory of all processes together), `seconds`.
    """
    cases = corpus.make(folder / "in", head)
    arguments = ["score", *(str(case.path) for case in cases), "--output-dir", str(folder / "out")]
    call = _call([*arguments, "--json"], model, folder)
    records = {r["file"]: r for r in map(json.loads, call.pop("output").splitlines())}
    reference = records[str(cases[0].path)]
    wrong, refused, scored = [], 0, 0
    for case in cases:
        problem = _problem(case, records.get(str(case.path)), reference)
        if problem:
            wrong.append(f"{case.path.name}: {problem}")
        elif case.reason:
            refused += 1
        else:
            scored += 1
    executed = [str(path) for path in folder.rglob("PWNED")]
    return {
        "inputs": len(cases),
        "refused_rightly": refused,
        "scored_rightly": scored,
        "records_lost": len(cases) - len(records),
        "wrong": wrong + executed,
        **call,
    }


def _problem(case: corpus.Case, record: Record | None, reference: Scored) -> str:
    """What is wrong with the record of a case beside that of the reference; empty where nothing
    is."""
    if record is None:
        return "no record"
    if case.reason:
        if record["status"] != "refused" or "scores" in record:
            return "was not refused"
        if "\n" in record["reason"] or not re.search(case.reason, record["reason"]):
            return f"refused with {record['reason']!r}"
        return ""
    if record["status"] != "scored":
        return f"was refused: {record['reason']}"
    values = np.array(list(record["scores"].values()))
    if not np.isfinite(values).all():
        return f"has scores {record['scores']}"
    said = [text for text in record["warnings"] if case.warning and re.search(case.warning, text)]
    if case.warning and not said:
        return f"warns of {record['warnings']}, not of {case.warning!r}"
    if case.tolerance is None:
        return ""
    scores = reference.get("scores", {})
    if not np.allclose(values, list(scores.values()), rtol=max(case.tolerance, 1e-6)):
        return f"scores {record['scores']} are not those of the reference, {scores}"
    known = {_words(text) for text in (*reference["warnings"], *said)}
    more = [text for text in record["warnings"] if _words(text) not in known]
    return f"warns of {more} as well" if more else ""


def _words(text: str) -> str:
    return re.sub(r"[\d.]+", "", text)


def score_many(
    folder: Path, head: np.ndarray, model: Path, number: int, bad: int
) -> dict[str, Any]:
    """Scores a BIDS folder of so many scans in one go, some of them bad.

    Returns:
      `scans`, `records`, `refused`, `exit_code`, `gigabytes`, `seconds`, and the median seconds of
      a scan in the first and in the last third, `seconds_first` and `seconds_last`.
    """
    stored, rng = np.rint(10_000 * head).astype(np.int16), np.random.default_rng(0)
    for index in range(number):
        name = f"sub-{index:04d}"
        path = folder / "bids" / name / "anat" / f"{name}_T1w.nii"
        path.parent.mkdir(parents=True)
        noisy = np.abs(stored + rng.normal(0, 100, head.shape)).astype(np.int16)
        content = nib.Nifti1Image(noisy, np.diag([forged.VOXEL_SIZE] * 3 + [1.0])).to_bytes()
        every = number // bad if bad else number + 1
        path.write_bytes(content[:5000] if index % every == every - 1 else content)
    where = [str(folder / "bids"), str(folder / "out")]
    call = _call([*where, "participant"], model, folder)
    records = group.read_records(folder / "out")
    spent = [sum(r["seconds"].values()) for r in records if r["status"] == "scored"]
    third = len(spent) // 3
    return {
        "scans": number,
        "records": len(records),
        "refused": sum(r["status"] == "refused" for r in records),
        # The very first scan compiles the network.
        "seconds_first": float(np.median(spent[1:third])),
        "seconds_last": float(np.median(spent[-third:])),
        **{key: call[key] for key in ("exit_code", "gigabytes", "seconds")},
    }


def kill_scoring(
    folder: Path, head: np.ndarray, model: Path, scans: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Kills `qc-jax score` blindly with SIGKILL, then calls it again.

    Returns:
      `kills`, `while_working` (the others came after the end), `half_records` (files that are no
      whole record) and `wrong` (runs whose second call did not complete all scans once).
    """
    paths = []
    for index in range(scans):
        paths.append(folder / f"{index}.nii")
        image = nib.Nifti1Image(np.rint(10_000 * head).astype(np.int16), np.diag([8.0, 8, 8, 1]))
        nib.save(image, paths[-1])
    found = {"kills": 0, "while_working": 0, "half_records": 0, "wrong": 0}
    for seed in seeds:
        out = folder / f"out{seed}"
        command = _command(["score", *map(str, paths), "--output-dir", str(out)], model)
        began = time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait = np.random.default_rng(seed).uniform(2.0, 12.0)
        while process.poll() is None and time.monotonic() - began < wait:
            time.sleep(0.01)
        process.kill()
        found["kills"] += 1
        found["while_working"] += process.wait() == -signal.SIGKILL
        for path in out.rglob("*.json"):
            try:
                json.loads(path.read_text())
            except ValueError:
                found["half_records"] += not path.name.startswith(".")
        again = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
        records = group.read_records(out)
        whole = [r["status"] for r in records] == ["scored"] * scans
        found["wrong"] += again.returncode != 0 or not whole
        shutil.rmtree(out)
    return found


def fuzz_headers(folder: Path, head: np.ndarray) -> dict[str, int]:
    """Sets every byte of a header to three values: each has to end in a volume or a refusal.

    Returns:
      `headers`, `read`, `refused`, and `other` exceptions.
    """
    found = {"headers": 0, "read": 0, "refused": 0, "other": 0}
    image = nib.Nifti1Image(np.rint(1000 * head).astype(np.int16), np.diag([8.0, 8, 8, 1]))
    good, path = image.to_bytes(), folder / "fuzzed.nii"
    for position in range(352):
        for value in (0x00, 0x7F, 0xFF):
            path.write_bytes(good[:position] + bytes([value]) + good[position + 1 :])
            found["headers"] += 1
            try:
                data, affine = nifti.read_volume(path)
            except ScanError:
                found["refused"] += 1
            except Exception:  # which is what is looked for
                found["other"] += 1
            else:
                finite = np.isfinite(data).all() and np.isfinite(affine).all()
                found["read" if finite else "other"] += 1
    return found


def _command(arguments: Sequence[str], model: Path) -> list[str]:
    return [sys.executable, "-m", "qc_jax.cli", *arguments, "--model", str(model)]


def _call(arguments: Sequence[str], model: Path, folder: Path) -> dict[str, Any]:
    """Runs `qc-jax` and watches it: exit code, standard output, memory and seconds."""
    began, largest = time.monotonic(), 0
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        process = subprocess.Popen(_command(arguments, model), stdout=out, stderr=err)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                family = [watched, *watched.children(recursive=True)]
                largest = max(largest, sum(member.memory_info().rss for member in family))
            except psutil.NoSuchProcess:
                continue  # it ended between the two looks
            time.sleep(0.05)
        out.seek(0)
        return {
            "exit_code": process.returncode,
            "output": out.read(),
            "gigabytes": largest / 2**30,
            "seconds": time.monotonic() - began,
        }
