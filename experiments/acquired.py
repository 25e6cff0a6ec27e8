"""Heads as scanners and pipelines leave them, with and without artefacts, on the grid of a model.

A draw is a head, a protocol and the steps of a pipeline; its versions are the clean scan, each
cause alone, some of them in a part of the head, and two of these together.
Draws are kept in a folder, so that what learns from them can be changed without making them again.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy import ndimage

from experiments import kept
from qc_jax import augment
from qc_jax.augment import acquisition, fold_over, local, pipeline, tissues
from qc_jax.augment.protocol import Axes, Protocol, as_stored, draw_protocol
from qc_jax.data import cache, grid, label_maps, nifti, read_split
from qc_jax.errors import ConfigError
from qc_jax.models import Description
from qc_jax.scoring.conform import Conformed, centre_of_box, conform_to, from_zero, to_grid

_EDGE, _GRID = 1.0, (192, 240, 240)
"""mm and voxels of the label maps."""
_LOCAL, _STRIPPED, _DEFACED, _MOVED, _SCALED = 0.4, 0.25, 0.2, 0.5, 0.3
"""Shares of the artefacts that are in a part of the head, and of the draws with these steps."""
_BRAIN_ALONE, _ON_GRID = 0.2, 0.5
"""Shares of the label maps that are spoilt when all but the brain is gone, and of the real scans
that are spoilt on the grid of their file with no noise but their own, as people do to try a tool:
ghosts lie in air that is zero else, and what a scan has of itself is not an artefact."""
_TOGETHER = ("motion", "ghosting", "pulsation", "residue", "spike", "noise", "blur")
_BRAIN = [
    tissues.TISSUES.index(name)
    for name in ("fluid", "grey_matter", "white_matter", "deep_grey_matter")
]
_GREY = [tissues.GREY_MATTER, tissues.DEEP_GREY_MATTER]


class Head(NamedTuple):
    """What is scanned.

    Attributes:
      name: of the person.
      fractions: `(X, Y, Z, T)` uint8 of tissues at 1 mm, or None for a real scan.
      image: `(X, Y, Z)` of a real scan, or None.
      affine: `(4, 4)`, voxels to mm.
    """

    name: str
    fractions: np.ndarray | None
    image: np.ndarray | None
    affine: np.ndarray


class Draw(NamedTuple):
    """V versions of a scan, the clean one first, on the grid of a model.

    Attributes:
      images: `(V, X, Y, Z)` float16, in [0, 1].
      masks: `(V, X, Y, Z)` bool, the head that is found in each.
      grey_matter: `(X, Y, Z)` uint8, its share of each voxel times 255; all 0 of a real scan.
      regions: `(V, X, Y, Z)` uint8, how much of the artefact is where, times 255.
      scan, axes: `(V, ...)`, see `native.Native`.
      slices: `(V, 3, C, ...)`, see `native.OnGrid`.
      present: `(V, N)`, fraction of the severity of each cause, NaN where it is absent.
      kinds: `(V,)` text, of the artefacts, joined by a plus.
    """

    images: np.ndarray
    masks: np.ndarray
    grey_matter: np.ndarray
    regions: np.ndarray
    scan: np.ndarray
    axes: np.ndarray
    slices: np.ndarray
    present: np.ndarray
    kinds: np.ndarray


def folder_for(parent: Path, heads: Sequence[Head], description: Description, seed: int) -> Path:
    """The folder of the draws of these heads, on this grid, by this seed; others lie apart."""
    grid_of = description.voxel_size, description.field_of_view
    digests = [_digest(head) for head in heads]
    return kept.folder_for(parent, (), description.sources, grid_of, seed, digests)


def _digest(head: Head) -> str:
    what = head.image if head.fractions is None else head.fractions
    assert what is not None, f"{head.name} has neither fractions nor an image"
    found = hashlib.sha256(f"{head.name} {what.shape} {head.affine.tolist()}".encode())
    found.update(np.ascontiguousarray(what).data)
    return found.hexdigest()


def kept_draw(
    heads: Sequence[Head], description: Description, index: int, seed: int, folder: Path
) -> Draw:
    """A draw of the heads, which take turns, from the folder where it was made before."""

    def make() -> Draw:
        head = heads[index % len(heads)]
        return draw(np.random.default_rng([seed, index]), head, description)

    return kept.arrays_or_make(path_of(folder, index), Draw, make)


def path_of(folder: Path, index: int) -> Path:
    """Of a draw that is kept."""
    return folder / f"{index:04d}.npz"


def groups(labels: Path, split: Path, scans: Sequence[Path]) -> dict[str, list[Head]]:
    """Heads to learn from, to calibrate on and to judge by, of different people, label maps and
    scans in turn; those to judge by are label maps alone.

    Args:
      labels: folder of label maps with FreeSurfer's numbers.
      split: JSON file with the names of `train`, `validation` and `test`.
      scans: real ones without artefacts, of a person each; one in four is for validation.

    Raises:
      ConfigError: a file that cannot be used.
    """
    maps = label_maps.load_label_maps(labels, _EDGE, _GRID, cache.default_folder())
    members = read_split(split, list(maps))
    real = [real_head(path) for path in sorted(scans)]
    found = {}
    for part in ("train", "validation"):
        of_maps = [Head(n, maps[n], None, np.eye(4)) for n in maps if n in members[part]]
        of_scans = [h for i, h in enumerate(real) if (i % 4 == 3) == (part == "validation")]
        number = max(len(of_maps), len(of_scans))
        kinds = [kind for kind in (of_maps, of_scans) if kind]
        found[part] = [kind[i % len(kind)] for i in range(number) for kind in kinds]
    found["test"] = [Head(n, maps[n], None, np.eye(4)) for n in maps if n in members["test"]]
    return found


def real_head(path: Path) -> Head:
    """A scan without artefacts, from its file."""
    data, affine = nifti.read_volume(path)
    return Head(nifti.stem(path), None, from_zero(data), affine)


class _Session(NamedTuple):
    """What all versions of a draw have in common.

    Attributes:
      key: of what the scanner draws.
      image: `(X, Y, Z)`, the head.
      voxel_size: `(3,)` mm of it.
      affine: `(4, 4)` of it.
      protocol: how it is scanned.
      still: see `acquisition.lying_still`.
      remains: `(X, Y, Z)` bool, what is left of the head by a pipeline; None for all.
    """

    key: jax.Array
    image: np.ndarray
    voxel_size: tuple[float, ...]
    affine: np.ndarray
    protocol: Protocol
    still: jax.Array
    remains: np.ndarray | None


class _Scan(NamedTuple):
    """A version as it leaves the scanner, `(X, Y, Z)`, with its affine and where its artefacts are,
    `(X, Y, Z)` in [0, 1] or None for everywhere."""

    image: jax.Array
    affine: np.ndarray
    protocol: Protocol
    region: jax.Array | None


def draw(rng: np.random.Generator, head: Head, description: Description) -> Draw:
    """Scans a head clean, with each cause alone, and with two together.

    Args:
      rng: everything random comes from it.
      head: see `Head`.
      description: of the model whose grid the versions come to.
    """
    key = jax.random.key(int(rng.integers(2**31)))
    image, fractions = _anatomy(rng, key, head)
    session = _session(rng, key, head, image, fractions)
    later = int(rng.integers(2**31))
    versions = _versions(rng, description.sources)
    grid_of = description.voxel_size, description.field_of_view
    conformed: list[Conformed] = []
    regions, centre = [], None
    for kinds, part in versions:
        scan = _scan(rng, session, kinds, part)
        data, affine = _processed(np.random.default_rng(later), scan)
        if centre is None:
            centre = centre_of_box(data, affine, *grid_of)
        conformed.append(conform_to(data, affine, *grid_of, centre))
        where = np.full(description.field_of_view, 255 * bool(kinds), np.uint8)
        if scan.region is not None:
            region = np.asarray(scan.region)
            where = _bytes(grid.resample(region, scan.affine, *grid_of, centre))
        regions.append(where)

    grey_matter = np.zeros(description.field_of_view, np.uint8)
    if fractions is not None:
        grey = fractions[..., _GREY].sum(axis=-1, dtype=np.float32) / 255
        assert centre is not None  # there is a clean version
        grey_matter = _bytes(grid.resample(grey, head.affine, *grid_of, centre))
    scans, axes, slices = map(np.stack, zip(*(c.k_space for c in conformed), strict=True))
    return Draw(
        np.stack([version.image for version in conformed]).astype(np.float16),
        np.stack([version.mask for version in conformed]),
        grey_matter,
        np.stack(regions),
        scans,
        axes,
        slices.astype(np.float16),
        _present(versions, description.sources),
        np.array(["+".join(kind.name for kind, _ in kinds) or "clean" for kinds, _ in versions]),
    )


def _anatomy(
    rng: np.random.Generator, key: jax.Array, head: Head
) -> tuple[np.ndarray, np.ndarray | None]:
    """The image of a head, of a label map in a shape and contrast of its own, and its fractions."""
    if head.fractions is None:
        assert head.image is not None, f"{head.name} has neither fractions nor an image"
        return head.image, None
    fractions = head.fractions
    if rng.random() < 0.75:
        fractions = _deform(jax.random.fold_in(key, 1), fractions)
    image = _draw_image(jax.random.fold_in(key, 2), fractions)
    image = augment.bias_field(jax.random.fold_in(key, 3), image, 0.3)
    return np.asarray(image), np.asarray(fractions)


def _session(
    rng: np.random.Generator,
    key: jax.Array,
    head: Head,
    image: np.ndarray,
    fractions: np.ndarray | None,
) -> _Session:
    """A protocol for the head, and what a pipeline leaves of it."""
    brain = None
    as_it_is = bool(rng.random() < (_ON_GRID if fractions is None else _BRAIN_ALONE))
    if fractions is not None:
        brain = fractions[..., _BRAIN].sum(axis=-1, dtype=np.float32) > 127
        if as_it_is:
            image = np.where(_around(rng, brain), image, np.float32(0))
    size = tuple(map(float, np.linalg.norm(head.affine[:3, :3], axis=0)))
    protocol = draw_protocol(rng, fold_over.head_box(image, size), max(size))
    if as_it_is:
        protocol = as_stored(image.shape, size, Axes(*map(int, rng.permutation(3))))
    remains = _remains(rng, brain)
    still = acquisition.lying_still(image, size, protocol)
    return _Session(key, image, size, head.affine, protocol, still, remains)


def _scan(
    rng: np.random.Generator,
    session: _Session,
    kinds: Sequence[tuple[acquisition.Kind, float]],
    part: int | None,
) -> _Scan:
    """One version: with these kinds at these fractions, in a part of the head by this seed."""
    size, own, severities = session.voxel_size, session.protocol, {}
    for kind, fraction in kinds:
        severity = float(kind.severity(fraction))
        if kind.name == "fold_over":
            box = fold_over.head_box(session.image, size)
            own = fold_over.random_narrow(rng, session.protocol, box, severity)
        else:
            severities[kind.name] = severity
    region = None if part is None else local.random_slab(jax.random.key(part), own.stored)
    still = session.still if own is session.protocol else None
    scan = acquisition.acquire(session.key, session.image, size, own, severities, region, still)
    affine = own.affine(session.affine, session.image.shape, size)
    if session.remains is not None:
        there = to_grid(session.remains, session.affine, own.stored, affine, order=0) > 0
        scan = pipeline.remove(scan, ~there)
    return _Scan(scan, affine, own, region)


def _present(
    versions: Sequence[tuple[list[tuple[acquisition.Kind, float]], int | None]],
    sources: Sequence[str],
) -> np.ndarray:
    """`(V, N)`, see `Draw`."""
    present = np.full((len(versions), len(sources)), np.nan, np.float32)
    for row, (kinds, _) in zip(present, versions, strict=True):
        for kind, fraction in kinds:
            row[sources.index(kind.cause)] = fraction
    return present


def check_sources(sources: Sequence[str]) -> None:
    """Raises ConfigError for a source that no artefact of an acquisition stands for."""
    known = {kind.cause for kind in acquisition.KINDS}
    for source in sources:
        if source not in known:
            raise ConfigError(
                f"{source} is no artefact of an acquisition, so that no scan can be made with it; "
                f"there are {', '.join(sorted(known))}"
            )


def _versions(
    rng: np.random.Generator, sources: Sequence[str]
) -> list[tuple[list[tuple[acquisition.Kind, float]], int | None]]:
    """Kinds with fractions of their severities, and a seed of the part of the head, or None."""
    alone = []
    for cause in rng.permutation(len(sources)):
        of_cause = [k for k in acquisition.KINDS if k.cause == sources[cause]]
        kind = of_cause[rng.integers(len(of_cause))]
        # The square root: harm is what has to be named, and half of mild ones do none.
        alone.append((kind, float(np.sqrt(rng.random()))))
    versions: list = [([], None)]
    for kind, fraction in alone:
        part = kind.name != "fold_over" and rng.random() < _LOCAL
        versions.append(([(kind, fraction)], int(rng.integers(2**31)) if part else None))
    together = [one for one in alone if one[0].name in _TOGETHER][:2]
    versions.append((together, None))
    return versions


def _remains(rng: np.random.Generator, brain: np.ndarray | None) -> np.ndarray | None:
    """The brain and a margin, or all but the face, of a head whose brain is known; None for all."""
    step = rng.random()
    if brain is None or step > _STRIPPED + _DEFACED:
        return None
    if step > _STRIPPED:
        return ~pipeline.face(brain, float(rng.uniform(0.2, 0.4)))
    return _around(rng, brain)


def _around(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """The brain and a margin of 1 to 3 voxels, without holes."""
    wider = ndimage.binary_dilation(brain, iterations=int(rng.integers(1, 4)))
    return ndimage.binary_fill_holes(wider)


def _processed(rng: np.random.Generator, version: _Scan) -> tuple[np.ndarray, np.ndarray]:
    """What pipelines do, and where the voxels are then."""
    scan, to_world = version.image, version.affine
    if rng.random() < _MOVED:
        scan, to_old = pipeline.random_move(rng, scan, version.protocol.stored_voxel_size)
        to_world = to_world @ to_old
    if rng.random() < _SCALED:
        scan = pipeline.random_scale(rng, scan)
    return from_zero(np.asarray(scan)), to_world


def _bytes(share: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(share, 0.0, 1.0)).astype(np.uint8)


_deform = jax.jit(functools.partial(tissues.deform, amount=2.0))
_draw_image = jax.jit(tissues.draw_image)
