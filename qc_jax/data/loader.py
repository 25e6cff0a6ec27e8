"""Subjects, their split, and batches through grain.

A batch is a dict: `index` `(B,)` int32, the position in the batch that makes a sample's key, and
`subject` `(B,)` int32, whose head it is.  Subjects with an image, not fractions, bring `image`
`(B, X, Y, Z)` float32 in [0, 1] and `labels` `(B, X, Y, Z)` int8 along; the fractions stay on the
device, where images are drawn from them (`stacked_fractions`).
"""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from qc_jax.augment import tissues
from qc_jax.data import label_maps, names, packed, pairs, population
from qc_jax.errors import ConfigError
from qc_jax.extras import extra

if TYPE_CHECKING:
    import grain

_draw_image = jax.jit(tissues.draw_image)


@dataclasses.dataclass(frozen=True)
class Subject:
    """One head: either tissue fractions, from which images are drawn, or one fixed image.

    Attributes:
      name: unique in its data set.
      labels: `(X, Y, Z)` int8, 1 in grey matter.
      fractions: `(X, Y, Z, T)` uint8, or None.
      image: `(X, Y, Z)` float32 in [0, 1], or None.
    """

    name: str
    labels: np.ndarray
    fractions: np.ndarray | None = None
    image: np.ndarray | None = None

    def draw(self, key: jax.Array) -> np.ndarray:
        """An image of this head, `(X, Y, Z)`; of another contrast for each key, if it can."""
        if self.fractions is not None:
            return np.asarray(_draw_image(key, self.fractions))
        assert self.image is not None, f"{self.name} has neither fractions nor an image"
        return self.image

    @property
    def person(self) -> str:
        """Whose head it is, see `names.person_of`."""
        return names.person_of(self.name)

    def digest(self) -> str:
        """SHA-256 of all that is learnt from this head."""
        found = hashlib.sha256()
        for array in (self.fractions, self.image, self.labels):
            if array is not None:
                found.update(f"{array.shape} {array.dtype} ".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


def load_subjects(
    data: str,
    voxel_size: float,
    field_of_view: tuple[int, int, int],
    population_size: int,
    seed: int,
    cache_folder: Path,
    grey_matter_labels: Sequence[int] = (),
) -> list[Subject]:
    """All subjects of a data set.

    Args:
      data: "" for the embedded population, `labels:DIR` for label maps, `packed:FILE` for heads
        that `packed` wrote, else a folder of pairs.
      voxel_size: of the common grid, in mm.
      field_of_view: voxels of the common grid.
      population_size: subjects of the embedded population.
      seed: of the embedded population.
      cache_folder: keeps what is dear to make.
      grey_matter_labels: numbers that are grey matter in the labels of pairs, where the user says
        so; see `label_numbers`.

    Raises:
      ConfigError: data that cannot be used, or fewer than three people to split.
    """
    drawn = not data or data.startswith(("labels:", "packed:"))
    if grey_matter_labels and drawn:
        raise ConfigError(
            "--grey-matter-labels is for images with labels, --data=DIR; of label maps all tissues "
            "are needed, by FreeSurfer's numbers"
        )
    if not drawn:
        subjects, folder = [], Path(data).expanduser()
        for name, (image, label) in pairs.find_pairs(folder).items():
            scan, labels = pairs.read_pair(
                image, label, voxel_size, field_of_view, grey_matter_labels, folder
            )
            subjects.append(Subject(name, labels, image=scan))
    else:
        if data.startswith("packed:"):
            path = Path(data.removeprefix("packed:")).expanduser()
            heads = packed.read_packed(path, voxel_size, field_of_view)
        elif data:
            folder = Path(data.removeprefix("labels:")).expanduser()
            heads = label_maps.load_label_maps(folder, voxel_size, field_of_view, cache_folder)
        else:
            config = population.PopulationConfig(population_size, voxel_size, field_of_view, seed)
            heads = population.load_population(config, cache_folder)
        subjects = [
            Subject(n, np.asarray(tissues.labels_of(f)), fractions=f) for n, f in heads.items()
        ]
    people = {subject.person for subject in subjects}
    if len(people) < 3:
        scans = f", of {len(people)} people" if len(people) < len(subjects) else ""
        raise ConfigError(
            f"{data or 'the population'} holds {len(subjects)} subjects{scans}; at least 3 are "
            "needed to train, validate and test on different people"
        )
    return subjects


def stacked_fractions(subjects: Sequence[Subject]) -> np.ndarray | None:
    """`(S, X, Y, Z, T)` uint8 of all subjects, or None where they are images."""
    fractions = [subject.fractions for subject in subjects if subject.fractions is not None]
    return np.stack(fractions) if len(fractions) == len(subjects) else None


def read_split(path: Path, subjects: Sequence[str]) -> dict[str, list[str]]:
    """A split into train, validation and test from a JSON file that names the subjects of each.

    Raises:
      ConfigError: unreadable, not these three parts, not each of these subjects once, or scans of
        one person in two parts.
    """
    split = read_any_split(path)
    named = sorted(name for part in split.values() for name in part)
    if named != sorted(subjects):
        odd = sorted(set(named) ^ set(subjects)) or _repeated(named)
        raise ConfigError(
            f"{path} has to name each subject of the data once; look at {', '.join(odd[:5])}"
        )
    return split


def read_any_split(path: Path) -> dict[str, list[str]]:
    """As `read_split`, of whichever subjects.

    Raises:
      ConfigError: see there.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        split = {part: list(map(str, who)) for part, who in content.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read as a split ({error}); it is a JSON object that names the "
            "subjects of train, validation and test"
        ) from error
    if set(split) != {"train", "validation", "test"} or not all(split.values()):
        raise ConfigError(f"{path} has to name subjects for train, validation and test")
    parts = collections.defaultdict(set)
    for part, who in split.items():
        for name in who:
            parts[names.person_of(name)].add(part)
    torn = sorted(person for person, found in parts.items() if len(found) > 1)
    if torn:
        where = " and in ".join(sorted(parts[torn[0]]))
        raise ConfigError(
            f"{path} has scans of {', '.join(torn[:5])} in {where}; all scans of a person have to "
            "be in one part, or the network is measured on people whom it knows"
        )
    return split


def _repeated(named: Sequence[str]) -> list[str]:
    return sorted(name for name, number in collections.Counter(named).items() if number > 1)


def split_subjects(subjects: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Names into train, validation and test, 80/10/10 of the people, at least one each; sorted
    within.  All scans of a person (`names.person_of`) are in one part."""
    scans = collections.defaultdict(list)
    for name in subjects:
        scans[names.person_of(name)].append(name)
    order = np.random.default_rng(seed).permutation(sorted(scans))
    held_back = max(round(0.1 * len(order)), 1)
    parts = np.split(order, [held_back, 2 * held_back])
    split = {
        part: sorted(name for person in people for name in scans[str(person)])
        for part, people in zip(("validation", "test", "train"), parts, strict=True)
    }
    return {part: split[part] for part in ("train", "validation", "test")}


def batches(
    subjects: Sequence[Subject], batch_size: int, seed: int, part: int = 0, parts: int = 1
) -> "grain.DatasetIterator":
    """An endless, shuffled iterator of batches, whose state can be saved and set.

    Every epoch shuffles anew; all of it depends on `seed` alone.

    Args:
      subjects: to draw from.
      batch_size: samples in a batch of this part.
      seed: of everything random.
      part: which samples: every `parts`-th from this one on, so that the batches of all parts
        together are those of one part that is `parts` times as large, whose state is the same.
      parts: how many processes share a batch.
    """

    with extra("train"):
        import grain

    def load(index: int) -> dict[str, np.ndarray]:
        number = {"subject": np.array(index, np.int32)}
        image = subjects[index].image
        if image is None:
            return number
        return {**number, "image": image, "labels": subjects[index].labels}

    def with_index(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**batch, "index": np.arange(part, batch_size * parts, parts, dtype=np.int32)}

    dataset = (
        grain.MapDataset.range(len(subjects))
        .seed(seed)
        .shuffle()
        .repeat()
        .map(load)[part::parts]
        # Without a remainder: grain's length of an endless data set in batches of one overflows.
        .batch(batch_size, drop_remainder=True)
        .map(with_index)
    )
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    return iter(dataset.to_iter_dataset(options))


def clean_scans(
    subjects: Sequence[Subject], seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image and labels of every subject, the contrast fixed by seed and position."""
    for index, subject in enumerate(subjects):
        key = jax.random.fold_in(jax.random.key(seed), index)
        yield subject.name, subject.draw(key), subject.labels
