"""Forms, codes and units of a header: what is used, what is said, what is refused."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest

from qc_jax.data import geometry, nifti
from qc_jax.errors import ScanError
from qc_jax.scoring import outputs

SHAPE = (40, 50, 45)
AFFINE = nib.affines.from_matvec(
    np.diag([4.0, 4, 4]) @ nib.eulerangles.euler2mat(0, 0, 0.2), [-80, -100, -70]
)
TURNED = {f"quatern_{axis}": value for axis, value in zip("bcd", (0.8, 0.5, 0.5), strict=True)}
NOTHING = {f"quatern_{axis}": np.nan for axis in "bcd"}
HALF = np.sqrt(0.5)


def stored(path, affine=AFFINE, kind=nib.Nifti1Image, **fields):
    """A file whose two forms are those of an affine, and these header fields."""
    data = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
    image = kind(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    content = bytearray(image.to_bytes())
    header = np.ndarray((), kind.header_class.template_dtype, content)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(content)
    return path


def pixdim(*sizes):
    return [1, *sizes, 1, 1, 1, 1]


SOUND = {
    "plain": ({}, ""),
    "sform alone": ({"qform_code": 0}, ""),
    "qform alone": ({"sform_code": 0}, ""),
    "unused quaternion of nonsense": ({"qform_code": 0, **TURNED}, ""),
    "unused quaternion of NaN": ({"qform_code": 0, **NOTHING}, ""),
    "unused offset of NaN": ({"qform_code": 0, "qoffset_x": np.nan}, ""),
    "unused sform of NaN": ({"sform_code": 0, "srow_x": [np.nan] * 4}, ""),
    "handedness 0": ({"pixdim": [0, 4, 4, 4, 1, 1, 1, 1]}, ""),
    "handedness NaN": ({"pixdim": [np.nan, 4, 4, 4, 1, 1, 1, 1]}, ""),
    "negative pixdim": ({"pixdim": pixdim(-4, -4, 4)}, ""),
    "quaternion of nonsense beside an sform": (TURNED, "a qform that cannot be used .*; its sform"),
    "quaternion of NaN beside an sform": (NOTHING, "a qform that cannot be used .*; its sform"),
    "sform of zeros beside a qform": (
        {"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4},
        "an sform that cannot be inverted .*; its qform is used",
    ),
    "sform of NaN beside a qform": ({"srow_y": [np.nan] * 4}, "an sform that cannot be inverted"),
    "pixdim 0": ({"pixdim": pixdim(0, 0, 0), "qform_code": 0}, "its sform has the voxel size"),
    "pixdim NaN": ({"pixdim": pixdim(np.nan, 4, 4), "qform_code": 0}, "its sform has the voxel"),
    "pixdim infinite": ({"pixdim": pixdim(np.inf, 4, 4)}, "its sform has the voxel size"),
    "unknown sform_code": ({"sform_code": 99}, "sform_code 99 is unknown; the sform is used"),
    "unknown qform_code": ({"qform_code": 99}, "qform_code 99 is unknown; the qform is not used"),
    "unknown qform_code alone": ({"qform_code": 99, "sform_code": 0}, "the qform is used"),
    "negative sform_code": ({"sform_code": -1}, "sform_code -1 is unknown; the sform is not used"),
}


def save_empty_map(folder, image):
    path = folder / "map.nii.gz"
    outputs.save_map(path, image, np.zeros(SHAPE[::-1], np.float32), step=0.001)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", SOUND)
def test_the_form_in_use_is_used_whatever_the_other_holds(tmp_path, name, kind):
    fields, warning = SOUND[name]
    path = stored(tmp_path / "a.nii", kind=kind, **fields)
    image, warnings = nifti.read_image(path)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    assert bool(warnings) == bool(warning) and re.search(warning, " ".join(warnings))
    # The maps can be written, and lie where the scan lies.
    saved = save_empty_map(tmp_path, image)
    np.testing.assert_allclose(nifti.read_image(saved).image.affine, AFFINE, atol=1e-4)


UNUSABLE = {
    "quaternion of nonsense": ({**TURNED, "sform_code": 0}, r"quaternion \[0.8 0.5 0.5\]"),
    "quaternion of NaN": ({**NOTHING, "sform_code": 0}, r"a qform that cannot be used"),
    "both": ({**TURNED, "srow_x": [0] * 4}, "an sform that cannot be inverted .* and a qform"),
    "pixdim 0": ({"sform_code": 0, "pixdim": pixdim(0, 4, 4)}, r"pixdim \[0 4 4\]"),
    "no form, no pixdim": (
        {"sform_code": 0, "qform_code": 0, "pixdim": pixdim(0, 0, 0)},
        r"neither sform nor qform, and pixdim \[0 0 0\]",
    ),
    "sform and pixdim": ({"pixdim": pixdim(1, 1, 1)}, "contradicts itself"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_no_usable_form_is_refused_when_the_file_is_read(tmp_path, name):
    fields, reason = UNUSABLE[name]
    with pytest.raises(ScanError, match=reason) as error:
        nifti.read_image(stored(tmp_path / "a.nii", **fields))
    assert "a.nii" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("excess", "said"), [(4e-7, False), (5e-5, False), (2e-3, True)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_quaternion_off_by_rounding_is_the_rotation_next_to_it(tmp_path, kind, excess, said):
    """nibabel raises for it."""
    turned = nib.affines.from_matvec(nib.quaternions.quat2mat([0, 0, HALF, HALF]) * 4, [1, 2, 3])
    fields = {"quatern_b": 0, "quatern_c": HALF + excess, "quatern_d": HALF + excess}
    path = stored(tmp_path / "a.nii", turned, kind, sform_code=0, **fields)
    if excess > 1e-6:
        with pytest.raises(ValueError, match="w2 should be positive"):
            nib.load(path)
    image, warnings = nifti.read_image(path)
    np.testing.assert_allclose(image.affine, turned, atol=1e-3)
    np.testing.assert_allclose(image.get_qform(), turned, atol=1e-3)
    assert ("quaternion of length 1.0" in " ".join(warnings)) == said


def test_maps_keep_both_forms_their_codes_and_the_unit(tmp_path):
    path = stored(tmp_path / "a.nii", sform_code=4, xyzt_units=10)
    other = nib.affines.from_matvec(np.diag([4.0, 4, 4]), [1, 2, 3])
    image = nib.load(path)
    image.set_qform(other, 1)
    nib.save(image, tmp_path / "b.nii")
    image = nifti.read_image(tmp_path / "b.nii").image
    header = nib.load(save_empty_map(tmp_path, image)).header
    np.testing.assert_allclose(header.get_sform(), AFFINE, atol=1e-4)
    np.testing.assert_allclose(header.get_qform(), other, atol=1e-4)
    assert (header["sform_code"], header["qform_code"]) == (4, 1)
    assert header.get_xyzt_units()[0] == "mm"


def test_maps_keep_a_code_that_nibabel_does_not_know(tmp_path):
    """So that map and scan lie on each other whatever a reader makes of the code."""
    image = nifti.read_image(stored(tmp_path / "a.nii", sform_code=99, qform_code=0)).image
    content = gzip.decompress(save_empty_map(tmp_path, image).read_bytes())
    assert np.ndarray((), nib.Nifti1Header.template_dtype, content)["sform_code"] == 99


UNITS = {
    # factor of the affine, code: mm of the affine's unit, the map's code, what is said
    "mm": (1.0, 2, 1.0, 2, ""),
    "mm and seconds": (1.0, 10, 1.0, 2, ""),
    "nothing said": (1.0, 0, 1.0, 2, ""),
    "unknown code": (1.0, 7, 1.0, 2, ""),
    "metres": (1e-3, 1, 1e3, 1, "its affine is in metres"),
    "metres and seconds": (1e-3, 9, 1e3, 1, "its affine is in metres"),
    "micrometres": (1e3, 3, 1e-3, 3, "its affine is in micrometres"),
    "metres said of mm": (1.0, 1, 1.0, 2, "says metres, but .* in millimetres"),
    "micrometres said of mm": (1.0, 3, 1.0, 2, "says micrometres, but .* in millimetres"),
}


@pytest.mark.parametrize("name", UNITS)
def test_units(tmp_path, name):
    scale, code, factor, of_map, said = UNITS[name]
    affine = np.diag([scale] * 3 + [1.0]) @ AFFINE
    image, warnings = nifti.read_image(stored(tmp_path / "a.nii", affine, xyzt_units=code))
    np.testing.assert_allclose(image.affine, affine, rtol=1e-4)
    expected = np.diag([factor] * 3 + [1.0]) @ affine
    np.testing.assert_allclose(geometry.affine_in_mm(image), expected, rtol=1e-4)
    np.testing.assert_allclose(
        nifti.read_volume(tmp_path / "a.nii")[1], expected, rtol=1e-4, atol=1e-3
    )
    doubts = geometry.doubts(image)
    assert warnings == () and bool(doubts) == bool(said) and re.search(said, " ".join(doubts))
    written = nib.load(save_empty_map(tmp_path, image))
    np.testing.assert_allclose(written.affine, affine, rtol=1e-4)
    assert written.header["xyzt_units"] == of_map


@pytest.mark.parametrize(("scale", "code"), [(1e-3, 2), (1e-3, 0), (1e3, 0), (1e-6, 1), (30, 1)])
def test_what_is_no_head_in_any_unit_that_it_may_be_in_is_refused(tmp_path, scale, code):
    affine = np.diag([scale] * 3 + [1.0]) @ AFFINE
    with pytest.raises(ScanError, match=r"voxels of .* mm"):
        nifti.read_image(stored(tmp_path / "a.nii", affine, xyzt_units=code))


SHEARED = AFFINE @ nib.affines.from_matvec([[1, 0.25, 0], [0, 1, 0], [0, 0, 1]])
FLIPPED = AFFINE @ np.diag([-1.0, 1, 1, 1])


def test_what_is_doubtful_about_the_place_of_voxels(tmp_path):
    def doubts(**fields):
        return geometry.doubts(nifti.read_image(stored(tmp_path / "a.nii", **fields)).image)

    assert doubts() == ()
    assert doubts(affine=FLIPPED) == ()
    (none,) = doubts(sform_code=0, qform_code=0)
    assert none == "no qform or sform: orientation and left and right are a guess"
    (sheared,) = doubts(affine=SHEARED, qform_code=0)
    assert sheared == "its affine is sheared: two axes of its voxels meet at 76.0 degrees"
    (apart,) = doubts(qoffset_x=-75)
    assert apart == "its sform, which is used, and its qform lie up to 5.0 mm apart"
    assert doubts(qoffset_x=-78) == ()  # less than a voxel
    (turned,) = doubts(pixdim=[-1, 4, 4, 4, 1, 1, 1, 1])
    assert turned.endswith("apart, and differ in what is left and right")


def test_an_image_that_nibabel_loaded_is_doubted_alike(tmp_path):
    path = stored(tmp_path / "a.nii", sform_code=0, qform_code=0)
    assert "no qform or sform" in geometry.doubts(nib.load(path))[0]
    image = nib.load(stored(tmp_path / "b.nii", **TURNED))  # get_qform raises
    assert geometry.doubts(image) == ()
    assert geometry.doubts(nib.MGHImage(np.zeros(SHAPE, np.float32), AFFINE)) == ()
    four = nib.Nifti1Image(np.zeros((*SHAPE, 1), np.int16), AFFINE)
    assert geometry.doubts(four) == ("shape (40, 50, 45, 1): its only volume is scored",)
