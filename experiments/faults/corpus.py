"""Scans that are bad or awkward, each made from one small head, with what has to become of it.

A bad file has to be refused for the reason given.  An awkward one has to be scored; where it holds
the same head as the reference, only stored differently, its scores have to be the reference's, and
nothing else may be said of it than of the reference but for what is odd about it.
"""

import dataclasses
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from experiments.faults import forged, refused


@dataclasses.dataclass(frozen=True)
class Case:
    """A file of the corpus.

    Attributes:
      path: of the file.
      reason: regular expression that the refusal has to match; empty where it has to be scored.
      tolerance: relative, of the scores against the reference's; None where they may differ.
      warning: regular expression that one of its warnings has to match; empty where there is no
        reason for one beyond those of the reference.
    """

    path: Path
    reason: str = ""
    tolerance: float | None = None
    warning: str = ""


def make(folder: Path, head: np.ndarray) -> list[Case]:
    """Writes the corpus.

    Args:
      folder: empty.
      head: `(X, Y, Z)` in [0, 1], at `forged.VOXEL_SIZE`.

    Returns:
      The cases; the first is the reference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head = np.rint(10_000 * head.astype(np.float64))
    cases = [_write(folder, "reference.nii.gz", gzip.compress(forged.file(head)), "", 0.0)]
    for name, content, reason in refused.files(head):
        cases.append(_write(folder, name, content, reason, None))
    for name, content, tolerance in _awkward_files(head):
        cases.append(_write(folder, name, content, "", tolerance))
    return cases + list(_special_files(folder)) + list(_names(folder, forged.file(head)))


def _write(folder: Path, name: str, content: bytes, reason: str, tolerance: float | None) -> Case:
    (folder / name).write_bytes(content)
    return Case(folder / name, reason, tolerance, _WARNINGS.get(name, ""))


def _awkward_files(head: np.ndarray) -> Iterator[tuple[str, bytes, float | None]]:
    """Name, content and tolerance."""
    yield from _stored_differently(head)
    yield from _to_be_read_with_care(head)
    yield from _turned(head)
    yield from _other_grids_and_values(head)


def _stored_differently(head: np.ndarray) -> Iterator[tuple[str, bytes, float | None]]:
    """The same numbers, stored differently."""
    good = forged.file(head)
    affine = np.diag([forged.VOXEL_SIZE] * 3 + [1.0])
    for dtype in (np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64):
        yield f"{np.dtype(dtype).name}.nii", forged.file(head, dtype=dtype), 1e-5
    swapped = nib.Nifti1Image(head.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
    yield "big_endian.nii", swapped.to_bytes(), 1e-5
    yield "nifti2.nii", nib.Nifti2Image(head.astype(np.int16), affine).to_bytes(), 1e-5
    yield "slope.nii", forged.file(head, scl_slope=0.37, scl_inter=0.0), 1e-4
    yield "offset.nii", forged.file(head, scl_slope=1.0, scl_inter=50.0), None
    yield "members.nii.gz", gzip.compress(good[:5000]) + gzip.compress(good[5000:]), 1e-5
    yield "padded.nii.gz", gzip.compress(good) + bytes(512), 1e-5
    yield "trailing_bytes.nii", good + bytes(64), 1e-5
    yield "one_more_axis.nii", forged.file(head[..., None]), 1e-5
    yield "plain_named.nii.gz", good, 1e-5
    yield "gz_named.nii", gzip.compress(good), 1e-5


def _to_be_read_with_care(head: np.ndarray) -> Iterator[tuple[str, bytes, float | None]]:
    """The same head, a header that asks for care."""
    affine = np.diag([forged.VOXEL_SIZE] * 3 + [1.0])
    both: forged.Fields = {"sform_code": 1, "qform_code": 1}
    bad: forged.Fields = {"quatern_b": 0.0, "quatern_c": 0.8, "quatern_d": 0.7}
    yield "quaternion_unused.nii", forged.file(head, sform_code=1, qform_code=0, **bad), 1e-5
    yield "quaternion_nan_unused.nii", forged.file(head, sform_code=1, quatern_b=np.nan), 1e-5
    yield "quaternion_bad_beside_sform.nii", forged.file(head, **both, **bad), 1e-5
    yield "sform_bad_beside_qform.nii", forged.file(head, **both, srow_x=[0.0] * 4), 1e-5
    turn = np.sqrt(0.5) + 4e-7
    long: forged.Fields = {"quatern_b": turn, "quatern_c": turn, "sform_code": 0, "qform_code": 1}
    yield "quaternion_rounded.nii", forged.file(head.transpose(1, 0, 2)[..., ::-1], **long), 1e-3
    yield "pixdim_zero_sform.nii", forged.file(head, pixdim=[1, 0, 0, 0, 1, 1, 1, 1]), 1e-5
    yield "code_99.nii", forged.file(head, sform_code=99), 1e-5
    yield "forms_disagree.nii", forged.file(head, **both, qoffset_x=30.0), 1e-5
    for name, factor, code in (("metres", 1e-3, 1), ("micrometres", 1e3, 3), ("lie", 1.0, 1)):
        in_unit = np.diag([factor * forged.VOXEL_SIZE] * 3 + [1.0])
        yield f"units_{name}.nii", forged.file(head, in_unit, xyzt_units=code), 1e-5
    large = nib.Nifti1Image(head.astype(np.int16), affine)
    large.header.extensions.append(nib.nifti1.Nifti1Extension(6, b" " * 3 * 2**20))
    yield "extension_3MB.nii.gz", gzip.compress(large.to_bytes()), 1e-5


def _turned(head: np.ndarray) -> Iterator[tuple[str, bytes, float | None]]:
    """The same head, turned."""
    affine = np.diag([forged.VOXEL_SIZE] * 3 + [1.0])
    image = nib.Nifti1Image(head.astype(np.int16), affine)
    for codes in ("LPS", "LAS", "RPI", "PIR", "SRP", "ASL", "IPR", "SAL"):
        turn = nib.orientations.axcodes2ornt(codes)
        yield f"orientation_{codes}.nii", image.as_reoriented(turn).to_bytes(), 1e-3


def _other_grids_and_values(head: np.ndarray) -> Iterator[tuple[str, bytes, float | None]]:
    """Other grids, other values."""
    affine = np.diag([forged.VOXEL_SIZE] * 3 + [1.0])
    angle = np.deg2rad(20)
    oblique = affine.copy()
    oblique[:2, :2] = forged.VOXEL_SIZE * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    yield "oblique.nii", forged.file(head, oblique), None
    sheared = affine.copy()
    sheared[0, 1] = 2.0
    yield "sheared.nii", forged.file(head, sheared), None
    yield "thick_slices.nii", forged.file(head[..., ::2], affine @ np.diag([1, 1, 2, 1])), None
    yield "odd_size.nii", forged.file(head[1:, :-1, 1:]), None
    yield "slab.nii", forged.file(head[..., 8:16]), None
    yield "no_form.nii", forged.file(head, qform_code=0, sform_code=0), None
    background = np.where(head < 300, np.nan, head)
    background[8:-8, 8:-8, 8:-8] = head[8:-8, 8:-8, 8:-8]
    yield "nan_background.nii", forged.file(background, dtype=np.float32), None
    few = head.copy()
    few[12, 15, 12], few[12, 16, 12] = np.nan, np.inf
    yield "few_not_finite.nii", forged.file(few, dtype=np.float32), None
    hot = head.copy()
    hot[np.unravel_index(hot.argmax(), hot.shape)] = 3e7
    yield "hot_voxel.nii", forged.file(hot, dtype=np.float32), 2e-2
    mean = np.pad(head, ((3, 3), (3, 3), (0, 3)), constant_values=np.rint(head.mean()))
    yield "margin_of_the_mean.nii", forged.file(mean), None
    for scale in (1e30, 1e300, 1e-30):
        yield f"scale_{scale:g}.nii", forged.file(head * scale, dtype=np.float64), 1e-3
    yield "negative.nii", forged.file(head - 5000), None
    noise = np.random.default_rng(0).normal(1000, 300, head.shape)
    yield "noise_only.nii", forged.file(noise), None


_WARNINGS = {
    "trailing_bytes.nii": "after its last voxel, with 64 bytes",
    "one_more_axis.nii": "its only volume",
    "plain_named.nii.gz": "not compressed, unlike its name",
    "gz_named.nii": "is compressed, unlike its name",
    "quaternion_bad_beside_sform.nii": "a qform that cannot be used",
    "sform_bad_beside_qform.nii": "an sform that cannot be inverted",
    "pixdim_zero_sform.nii": "its sform has the voxel size",
    "code_99.nii": "sform_code 99 is unknown",
    "forms_disagree.nii": "up to 30.0 mm apart",
    "units_metres.nii": "its affine is in metres",
    "units_micrometres.nii": "its affine is in micrometres",
    "units_lie.nii": "says metres",
    "extension_3MB.nii.gz": "3.0 MB",
    "sheared.nii": "sheared",
    "thick_slices.nii": "voxels of 16 mm",
    "slab.nii": "only 8 slices",
    "no_form.nii": "no qform or sform",
    "nan_background.nii": "are not finite",
    "few_not_finite.nii": "are not finite",
    "hot_voxel.nii": "far outside of the range",
    "margin_of_the_mean.nii": "a margin of",
    "negative.nii": "values below zero",
}
"""What has to be said of a file, by its name."""


def _special_files(folder: Path) -> Iterator[Case]:
    """What is no regular file; what root may read is left out for root."""
    (folder / "directory.nii.gz").mkdir()
    yield Case(folder / "directory.nii.gz", "folder")
    links: dict[str, tuple[str, str]] = {
        "dangling.nii": ("gone.nii", "its link leads to"),
        "link_loop.nii": ("link_loop.nii", "symbolic links"),
        "dev_zero.nii": ("/dev/zero", "no regular file"),
    }
    for name, (target, reason) in links.items():
        (folder / name).symlink_to(target)
        yield Case(folder / name, reason)
    os.mkfifo(folder / "fifo.nii")
    yield Case(folder / "fifo.nii", "no regular file")
    if os.geteuid():
        (folder / "unreadable.nii").write_bytes(b"")
        (folder / "unreadable.nii").chmod(0)
        yield Case(folder / "unreadable.nii", "cannot be read")


_AWKWARD_NAMES: tuple[str | bytes, ...] = (
    " space .nii",
    "$(touch PWNED).nii",
    "; touch PWNED.nii",
    "u\u0308ber.nii",
    "new\nline.nii",
    "tab\tquote'\".nii",
    "=1+1.nii",
    "@SUM(A1).nii",
    "<img src=x onerror=alert(1)>.nii",
    "{0}%s%(a)s.nii",
    "-rf.nii",
    ".hidden.nii",
    b"latin-\xe9.nii",
    "n" * 240 + ".nii",
    "UPPER.NII.nii",
    "upper.nii.nii",
    "twice.nii",
    "twice.nii.gz",
)


def _names(folder: Path, content: bytes) -> Iterator[Case]:
    """The reference under names that shells, spreadsheets and browsers stumble over."""
    (folder / "names").mkdir()
    make_path: Callable[[str | bytes], Path] = lambda name: Path(os.fsdecode(name))  # noqa: E731
    for name in _AWKWARD_NAMES:
        path = folder / "names" / make_path(name)
        path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
        yield Case(path, "", 1e-5)
