"""The output folder: whose it is, and what is replaced."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import qc_jax
from qc_jax import cli
from qc_jax.errors import OutputError
from qc_jax.scoring import (
    group,
    iqms,
    jobs,
    outputs,
    ownership,
    scan_report,
)
from qc_jax.scoring.wanted import Wanted


def save(path, head, scale=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.rint(scale * head).astype(np.int16)
    nib.save(nib.Nifti1Image(stored, np.diag([8.0, 8, 8, 1])), path)
    return path


def snapshot(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- Whose folder ------------------------------------------------------------------------------

RAW = {"Name": "Raw study", "BIDSVersion": "1.8.0", "DatasetType": "raw"}
DESCRIPTIONS = {
    "raw": json.dumps(RAW),
    "old_raw": json.dumps({"Name": "x", "BIDSVersion": "1.0.2"}),
    "mriqc": json.dumps(RAW | {"DatasetType": "derivative", "GeneratedBy": [{"Name": "MRIQC"}]}),
    "odd": json.dumps({"GeneratedBy": "fMRIPrep"}),
    "null": json.dumps({"GeneratedBy": None}),
    "list": "[]",
    "damaged": "{",
}


def test_a_folder_of_two_tools_is_not_ours(tmp_path):
    both = {"GeneratedBy": [{"Name": "fMRIPrep"}, {"Name": "qc_jax"}]}
    (tmp_path / "dataset_description.json").write_text(json.dumps(both))
    with pytest.raises(OutputError, match="belongs to fMRIPrep"):
        outputs.claim(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 200])
def test_a_description_of_ours_that_was_cut_short_is_mended(size, tmp_path):
    outputs.claim(tmp_path)
    scan_report.copy_viewer(tmp_path)
    path = tmp_path / "dataset_description.json"
    content = path.read_bytes()
    path.write_bytes(content[:size])
    outputs.claim(tmp_path)
    assert path.read_bytes() == content


def test_a_file_called_like_the_viewer_is_kept(tmp_path):
    path = tmp_path / scan_report.ASSETS / "niivue.umd.js"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(OutputError, match="not this viewer"):
        scan_report.copy_viewer(tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_a_folder_of_another_is_refused_before_a_byte_is_written(kind, tmp_path):
    (tmp_path / "dataset_description.json").write_text(DESCRIPTIONS[kind])
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match=r"belongs to .*name another folder"):
        outputs.claim(tmp_path)
    assert snapshot(tmp_path) == before


def test_raw_data_without_a_description_are_no_output_folder(tmp_path):
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(OutputError, match="folders of subjects"):
        outputs.claim(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["sub-01"]
    (tmp_path / "sub-01" / "anat").mkdir()
    with pytest.raises(OutputError, match="lies within sub-01"):
        outputs.claim(tmp_path / "sub-01")


def test_the_folder_of_a_subject_is_no_output_folder(tmp_path):
    (tmp_path / "dataset_description.json").write_text(DESCRIPTIONS["raw"])
    with pytest.raises(OutputError, match="lies within sub-01"):
        outputs.claim(tmp_path / "sub-01" / "qc")
    outputs.claim(tmp_path / "derivatives" / "qc_jax")


def test_a_link_to_a_description_that_is_not_there(tmp_path):
    """As in a data set of git-annex whose contents were not fetched."""
    (tmp_path / "dataset_description.json").symlink_to(tmp_path / ".git/annex/objects/x")
    with pytest.raises(OutputError, match="belongs to"):
        outputs.claim(tmp_path)


def test_a_description_of_ours_keeps_what_people_added(tmp_path):
    outputs.claim(tmp_path)
    path = tmp_path / "dataset_description.json"
    content = json.loads(path.read_text())
    content |= {"Authors": ["A. Person"], "GeneratedBy": [{"Name": "qc_jax", "Version": "0.1"}]}
    path.write_text(json.dumps(content))
    outputs.claim(tmp_path)
    found = json.loads(path.read_text())
    assert found["Authors"] == ["A. Person"]
    assert found["GeneratedBy"] == [{"Name": "qc_jax", "Version": qc_jax.__version__}]


@pytest.fixture(scope="module")
def scored(tmp_path_factory, head, model_path):
    """A BIDS folder of one scan, and its outputs at both levels."""
    folder = tmp_path_factory.mktemp("scored")
    save(folder / "bids/sub-01/anat/sub-01_T1w.nii.gz", head)
    (folder / "bids/sub-01/anat/sub-01_T1w.json").write_text('{"Manufacturer": "Acme"}')
    (folder / "bids/dataset_description.json").write_text(DESCRIPTIONS["raw"])
    where = [str(folder / "bids"), str(folder / "out")]
    assert cli.main([*where, "participant", "--model", str(model_path)]) == 0
    assert cli.main([*where, "group"]) == 0
    return folder


@pytest.mark.parametrize("level", ["participant", "group"])
def test_the_output_is_not_the_bids_folder(scored, level, model_path, capsys):
    before = snapshot(scored / "bids")
    where = [str(scored / "bids"), str(scored / "bids" / ".")]
    assert cli.main([*where, level, "--model", str(model_path)]) == 4
    assert "is the BIDS folder itself" in capsys.readouterr().err
    assert snapshot(scored / "bids") == before


@pytest.mark.parametrize("target", ["bids", "out", "mriqc"])
def test_metrics_replace_nothing_of_another(scored, target, tmp_path, capsys):
    if target == "mriqc":  # without a description
        place = tmp_path / "mriqc" / "sub-01" / "anat"
        place.mkdir(parents=True)
        (place / "sub-01_T1w.json").write_text('{"cjv": 0.4, "provenance": {"software": "mriqc"}}')
        (tmp_path / "mriqc" / "dataset_description.json").write_text(DESCRIPTIONS["mriqc"])
    folder = tmp_path / "mriqc" if target == "mriqc" else scored / target
    before = snapshot(folder)
    where = [str(scored / "bids"), str(scored / "out"), "group"]
    assert cli.main([*where, "--iqm-dir", str(folder)]) == 4
    assert snapshot(folder) == before and capsys.readouterr().err.startswith("error: ")


def test_metrics_replace_those_of_an_earlier_call_alone(scored, tmp_path):
    records = group.read_records(scored / "out")
    for _ in range(2):
        iqms.check(tmp_path, scored / "out", records)
        iqms.write_iqms(tmp_path, records)
    path = tmp_path / "sub-01/anat/sub-01_T1w.json"
    path.write_text('{"Manufacturer": "Acme"}')
    (tmp_path / "dataset_description.json").write_text(
        json.dumps({"GeneratedBy": [{"Name": "qc_jax"}]})
    )
    with pytest.raises(OutputError, match="was not made by qc_jax"):
        iqms.check(tmp_path, scored / "out", records)


def test_every_file_is_known_as_ours_and_no_other_is(scored, tmp_path):
    out = scored / "out"
    (job,) = [jobs.Job(scored, p.parent.relative_to(out), "sub-01", "sub-01_T1w", {"sub": "01"})
              for p in out.rglob("sub-01_T1w.json")]  # fmt: skip
    sources = json.loads((out / "sub-01/anat/sub-01_T1w.json").read_text())["scores"]
    names = Wanted(tuple(name for name in sources if name != "task")).possible_maps
    planned = list(outputs.planned_files(out, job, names))
    planned += group._files(out, "T1w")
    assert {path for path, _ in planned} | {
        out / "dataset_description.json",
        out / ".bidsignore",
        out / ".qc_jax.lock",
        out / scan_report.ASSETS / "niivue.umd.js",
        out / scan_report.ASSETS / "niivue.LICENSE.txt",
    } == set(snapshot(out))
    ownership.check_files(planned)
    others = {
        ".html": "<title>sub-01: fMRIPrep</title> made of qc_jax's report",
        ".tsv": "bids_name\tcjv\nsub-01_T1w\t0.4\n",
        ".json": '{"Manufacturer": "Acme", "SkullStripped": false}',
        ".js": "var x = 1;",
        ".parquet": "other rows",
        ".gz": "other voxels",
        ".png": "\x89PNG of another tool",
    }
    for path, kind in planned:
        other = tmp_path / path.name
        other.write_text(others[path.suffix])
        if path.suffix != ".json":
            assert not ownership.is_ours(other, kind), path.name
        with pytest.raises(OutputError, match="was not made by qc_jax"):
            ownership.check_files([(other, kind)])
        for size in (0, 5, 200, path.stat().st_size // 2):
            other.write_bytes(path.read_bytes()[:size])
            assert ownership.is_ours(other, kind), (path.name, size)
        other.unlink()


def test_a_map_of_another_tool_stops_the_scoring(head, model_path, tmp_path, capsys):
    """fMRIPrep writes a probability map of the same name."""
    save(tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz", head)
    outputs.claim(tmp_path / "out")
    path = save(tmp_path / "out/sub-01/anat/sub-01_label-GM_probseg.nii.gz", head)
    path.with_name("sub-01_label-GM_probseg.json").write_text('{"Resolution": "2 mm"}')
    before = snapshot(tmp_path / "out/sub-01")
    where = [str(tmp_path / "bids"), str(tmp_path / "out"), "participant"]
    assert cli.main([*where, "--model", str(model_path)]) == 4
    assert "sub-01_label-GM_probseg.nii.gz is there already" in capsys.readouterr().err
    assert snapshot(tmp_path / "out/sub-01") == before


def test_what_people_added_to_our_files_is_kept(scored, tmp_path):
    out = shutil.copytree(scored / "out", tmp_path / "out")
    records = group.read_records(out)
    table = out / "group_T1w.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{lines[0]}\tmy_rating", *(f"{line}\t3" for line in lines[1:])]))
    with pytest.raises(OutputError, match=r"group_T1w\.tsv .* was changed since"):
        group.write_group(out, records)
    assert "my_rating" in table.read_text()
    mask = out / records[0]["maps"]["segmentation"]
    image = nib.load(mask)
    corrected = nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine, image.header)
    nib.save(corrected, mask)
    with pytest.raises(OutputError, match=r"mask\.nii\.gz was changed since"):
        ownership.check_unchanged(out, records[0]["files"])
    mask.write_bytes(mask.read_bytes()[:-30])
    ownership.check_unchanged(out, records[0]["files"])  # that is damage


def test_metrics_are_not_put_among_raw_scans(scored):
    """Of a folder without a description."""
    raw = scored / "undescribed"
    if not raw.exists():
        shutil.copytree(scored / "bids", raw)
        (raw / "dataset_description.json").unlink()
        (raw / "sub-01/anat/sub-01_T1w.json").unlink()
    with pytest.raises(OutputError, match="holds scans"):
        iqms.check(raw, scored / "out", group.read_records(scored / "out"))


def test_a_second_data_set_does_not_replace_the_first(head, scored, model_path, tmp_path, capsys):
    out = shutil.copytree(scored / "out", tmp_path / "out")
    save(tmp_path / "other/sub-01/anat/sub-01_T1w.nii.gz", 2 * head)
    before = snapshot(out)
    where = [str(tmp_path / "other"), str(out), "participant", "--model", str(model_path)]
    assert cli.main(where) == 4
    assert "name an output folder for each data set" in capsys.readouterr().err
    assert snapshot(out) == before


@pytest.mark.parametrize("step", [0.001, 0.1])
def test_maps_are_whole_numbers_with_a_slope(step, tmp_path):
    data = np.linspace(0, 32767 * step, 24, dtype=np.float32).reshape(2, 3, 4)
    image = nib.Nifti1Image(np.zeros(data.shape, np.int16), np.diag([2.0, 2, 2, 1]))
    outputs.save_map(tmp_path / "map.nii.gz", image, data.T, step)
    written = nib.load(tmp_path / "map.nii.gz")
    assert written.get_data_dtype() == np.int16
    assert written.dataobj.slope == pytest.approx(step) and written.dataobj.inter == 0
    np.testing.assert_allclose(written.get_fdata(), data, atol=0.51 * step)
