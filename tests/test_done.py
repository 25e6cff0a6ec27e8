"""Names of scans, and which of them are done: known by their contents, made again where damaged."""

import os
import shutil
from unittest import mock

import pytest

import qc_jax
from qc_jax import cli
from qc_jax.errors import UnreadableError
from qc_jax.scoring import (
    group,
    jobs,
    local,
    ownership,
    record,
    scan_report,
    study,
    worker,
)
from qc_jax.scoring.wanted import Wanted
from tests.test_outputs import save

# -- Names -------------------------------------------------------------------------------------


def test_equal_base_names_are_kept_apart_and_counted_once(head, model_path, tmp_path):
    first, second = (save(tmp_path / n / "T1.nii.gz", s * head) for n, s in (("a", 1), ("b", 2)))
    out, options = tmp_path / "out", ["--model", str(model_path), "--output-dir"]
    for scan in (first, second):  # a loop, a job each
        assert cli.main(["score", str(scan), *options, str(out)]) == 0
    looped = group.read_records(out)
    assert [r["file"] for r in sorted(looped, key=lambda r: r["file"])] == [str(first), str(second)]
    together = {job.scan: job.name for job in jobs.plain_jobs([second, first])}
    assert {r["name"] for r in looped} == set(together.values())
    assert cli.main(["score", str(first), *options, str(out)]) == 0
    table = (out / "group_T1w.tsv").read_text().splitlines()
    assert len(table) == 3 and len(list(out.glob("T1_*.html"))) == 2


def test_a_name_is_that_of_the_file_wherever_it_is_seen_from(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    scan = tmp_path / "deep" / "T1.nii"
    scan.write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    monkeypatch.chdir(tmp_path)
    relative = jobs.plain_jobs([scan.relative_to(tmp_path), scan, tmp_path / "link" / "T1.nii"])
    assert len(relative) == 1
    assert relative[0].name == jobs.plain_jobs([tmp_path / "link" / "T1.nii"])[0].name


# -- What is done ------------------------------------------------------------------------------


class Here:
    """Scores in this process, which is quicker to start than a `worker.Worker`."""

    def __init__(self, model, limits, command, begun):
        self.model = model

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def score(self, job, output, asked, progress):
        return worker.record_for(job, output, self.model, asked, progress)


@pytest.fixture
def call(head, model_path, tmp_path, monkeypatch):
    """Scores one scan, and says whether that was work."""
    monkeypatch.setattr(local, "Worker", Here)
    scan, model = save(tmp_path / "in" / "scan.nii", head), qc_jax.load_model(model_path)
    worked = []
    score_one = worker.score_one
    monkeypatch.setattr(worker, "score_one", lambda *a: worked.append(a) or score_one(*a))

    def score(path=scan):
        worked.clear()
        (made,) = study.score_study(
            jobs.plain_jobs([path]), tmp_path / "out", model, Wanted(("blur",))
        )
        return made, bool(worked)

    return scan, tmp_path / "out", score


def test_damage_is_made_again(call):
    _, out, score = call
    made, fresh = score()
    assert fresh and not score()[1]
    folder = out / made["folder"]
    assert set(made["files"]) == {
        p.relative_to(out).as_posix()
        for p in [
            *folder.iterdir(),
            out / f"{made['name']}.html",
            out / ownership.THUMBNAILS / f"{made['name']}.png",
        ]
        if p.name != f"{made['name']}.json"
    }
    for name, damage in (
        ("*mask.nii.gz", "cut"),
        ("*blur_statmap.nii.gz", "gone"),
        ("*blur_statmap.json", "cut"),
        ("*_volumes.js", "gone"),
        (f"../{made['name']}.html", "gone"),
        (f"{made['name']}.json", "cut"),
    ):
        (path,) = [folder / name] if ".." in name else folder.glob(name)
        whole = path.stat().st_size
        if damage == "cut":
            path.write_bytes(path.read_bytes()[: whole // 2])
        else:
            path.unlink()
        assert score()[1], name
        assert abs(path.stat().st_size - whole) < 0.02 * whole + 40, name
    viewer = out / scan_report.ASSETS / "niivue.umd.js"
    size = viewer.stat().st_size
    viewer.write_bytes(viewer.read_bytes()[:1000])
    assert not score()[1] and viewer.stat().st_size == size


def test_a_scan_is_known_by_its_contents(call, head, monkeypatch):
    scan, out, score = call
    made, _ = score()
    before = scan.stat()
    # Other contents of the same size, and the same times.
    content = bytearray(scan.read_bytes())
    content[len(content) // 2] ^= 1
    scan.write_bytes(content)
    os.utime(scan, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed, fresh = score()
    assert fresh and changed["name"] == made["name"] and changed["sha256"] != made["sha256"]
    # The same contents, touched, moved, copied, seen from elsewhere, or with a newer patch.
    scan.touch()
    assert not score()[1]
    moved = scan.parent.parent / "elsewhere" / "scan.nii"
    moved.parent.mkdir()
    scan.rename(moved)
    found, fresh = score(moved)
    assert not fresh and found["name"] == made["name"] and found["file"] == str(moved)
    shutil.copyfile(moved, scan)  # now there are two, and each has a record
    copied, fresh = score(scan)
    assert copied["name"] == made["name"] and copied["file"] == str(scan)
    found, fresh = score(moved)
    assert fresh and found["name"] != made["name"] and len(group.read_records(out)) == 2
    major, minor, _ = qc_jax.__version__.split(".")
    monkeypatch.setattr(qc_jax, "__version__", f"{major}.{minor}.99")
    assert not score()[1] and len(group.read_records(out)) == 2
    monkeypatch.setattr(qc_jax, "__version__", f"{major}.{int(minor) + 1}.0")
    assert record.finished(out, jobs.plain_jobs([scan])[0], qc_jax.load_model(), Wanted()) is None


def test_a_refusal_stands_unless_its_cause_may_pass(call, monkeypatch):
    scan, _, score = call
    for error in (MemoryError("out of memory"), UnreadableError(f"{scan} cannot be read")):
        with monkeypatch.context() as patch:
            patch.setattr(worker.formats, "read_scan", mock.Mock(side_effect=error))
            made, _ = score()
        assert made["status"] == "refused" and made["passing"]
    assert score()[0]["status"] == "scored"
    scan.write_bytes(scan.read_bytes()[:5000])
    refused, fresh = score()
    assert fresh and refused["status"] == "refused" and not refused["passing"]
    assert score() == (refused, False)


def test_a_scan_that_changes_while_it_is_read_is_tried_again(call, monkeypatch):
    scan, _, score = call
    read = worker.formats.read_scan
    with monkeypatch.context() as patch:
        patch.setattr(worker.formats, "read_scan", lambda path: (scan.touch(), read(path))[1])
        made, _ = score()
    assert "was changed while it was read" in made["reason"] and made["passing"]
    assert score()[0]["status"] == "scored"
