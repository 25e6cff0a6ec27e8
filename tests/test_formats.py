"""Scans of other formats: the same voxels at the same places as NIfTI, or a sentence."""

import sys

import nibabel as nib
import nrrd
import numpy as np
import pytest

from qc_jax.data import formats, geometry
from qc_jax.errors import ConfigError, ScanError, UnreadableError
from qc_jax.scoring import folders

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 0, 2.0, -30], [0, 1.0, 0, 10], [0, 0, 0, 1]])
DATA = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)


def as_nrrd(path):
    header = {
        "space": "left-posterior-superior",
        "space directions": (np.diag([-1.0, -1, 1]) @ AFFINE[:3, :3]).T,
        "space origin": np.diag([-1.0, -1, 1]) @ AFFINE[:3, 3],
        "kinds": ["domain"] * 3,
    }
    nrrd.write(str(path), DATA, header)


WRITERS = {
    "scan.mgz": lambda path: nib.save(nib.MGHImage(DATA, AFFINE), path),
    "scan.mgh": lambda path: nib.save(nib.MGHImage(DATA.astype(np.float32), AFFINE), path),
    "scan.nrrd": as_nrrd,
    "scan.img": lambda path: nib.save(nib.Nifti1Pair(DATA, AFFINE), path),
    "scan.nii.gz": lambda path: nib.save(nib.Nifti1Image(DATA, AFFINE), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_scan_is_the_same_in_every_format(name, tmp_path):
    WRITERS[name](tmp_path / name)
    image, warnings = formats.read_scan(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(image.dataobj), DATA)
    np.testing.assert_allclose(geometry.affine_in_mm(image), AFFINE, atol=1e-5)
    assert warnings == () and image.get_filename() == str(tmp_path / name)


def test_a_minc_file_is_read(tmp_path):
    import h5py

    path = tmp_path / "scan.mnc"
    with h5py.File(path, "w") as file:
        volume = file.create_group("minc-2.0/image/0")
        image = volume.create_dataset("image", data=DATA)
        image.attrs["dimorder"] = np.bytes_("zspace,yspace,xspace")
        image.attrs["valid_range"] = np.array([0.0, 1000.0])
        image.attrs["signtype"] = np.bytes_("signed__")
        for kind, value in (("image-max", 1000.0), ("image-min", 0.0)):
            volume.create_dataset(kind, data=np.float64(value)).attrs["dimorder"] = np.bytes_("")
        for name, length in zip(("zspace", "yspace", "xspace"), DATA.shape, strict=True):
            axis = file.create_dataset(f"minc-2.0/dimensions/{name}", data=0)
            direction = np.array([name == n for n in ("xspace", "yspace", "zspace")], float)
            for key, value in (("length", length), ("start", 1.0), ("step", 2.0)):
                axis.attrs[key] = value
            axis.attrs["spacing"] = np.bytes_("regular__")
            axis.attrs["direction_cosines"] = direction
    image, _ = formats.read_scan(path)
    np.testing.assert_allclose(np.asarray(image.dataobj), DATA, atol=1e-3)
    assert nib.affines.voxel_sizes(image.affine) == pytest.approx([2, 2, 2])


def test_an_analyze_pair_says_that_left_and_right_are_a_guess(tmp_path, monkeypatch):
    image = nib.AnalyzeImage(DATA, np.diag([1.0, 2, 3, 1]))
    nib.save(image, tmp_path / "scan.img")
    loaded = []
    load = nib.load
    monkeypatch.setattr(formats.nib, "load", lambda path: loaded.append(path) or load(path))
    assert any("a guess" in text for text in formats.read_scan(tmp_path / "scan.img").warnings)
    assert len(loaded) == 1


def test_a_reader_that_is_missing_can_be_installed_meanwhile(tmp_path, monkeypatch):
    as_nrrd(tmp_path / "scan.nrrd")
    monkeypatch.setitem(sys.modules, "nrrd", None)
    with pytest.raises(UnreadableError, match="install it"):
        formats.read_scan(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("name", ["a.mgz", "a.img", "a.mnc", "a.nrrd"])
def test_damage_is_one_sentence(name, tmp_path):
    with pytest.raises(ScanError, match="does not exist"):
        formats.read_scan(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ScanError, match=f"{name} cannot be read"):
        formats.read_scan(tmp_path / name)


def test_a_scan_that_says_not_where_it_is_and_one_of_many_volumes_are_refused(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), DATA)
    with pytest.raises(ScanError, match="does not say where"):
        formats.read_scan(tmp_path / "a.nrrd")
    nib.save(nib.MGHImage(np.stack([DATA, DATA], -1), AFFINE), tmp_path / "b.mgz")
    with pytest.raises(ScanError, match="more than one volume"):
        formats.read_scan(tmp_path / "b.mgz")


def test_the_scans_of_a_folder(tmp_path):
    for name in ("a.nii.gz", "b/c.mgz", "b/.hidden.nii", "b/notes.txt", "d/e.img", "d/e.hdr"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"")
    (tmp_path / "out" / "qc_jax_assets").mkdir(parents=True)
    (tmp_path / "out" / "x.nii.gz").write_bytes(b"")
    found = [p.relative_to(tmp_path).as_posix() for p in folders.scans_of([tmp_path])]
    assert found == ["a.nii.gz", "b/c.mgz", "d/e.img", "series"]
    assert folders.scans_of([tmp_path / "d/e.hdr"]) == [tmp_path / "d/e.img"]
    assert folders.scans_of([tmp_path / "gone.nii"]) == [tmp_path / "gone.nii"]


def test_a_folder_without_scans_beside_others_is_a_scan_that_will_be_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    scans = [tmp_path / "empty", tmp_path / "scan.nii"]
    assert folders.scans_of(scans) == scans


def test_a_folder_without_scans_and_one_of_bids_are_usage_errors(tmp_path):
    with pytest.raises(ConfigError, match="holds no scan"):
        folders.scans_of([tmp_path])
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a BIDS data set"):
        folders.scans_of([tmp_path])
