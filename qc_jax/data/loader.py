"""Subjects, their split, and batches through grain.

A batch is a dict: `index` `(B,)` int32, the position in the batch that makes a sample's key, and
`subject` `(B,)` int32, whose head it is.  Subjects with an image, not fractions, bring `image`
`(B, X, Y, Z)` float32 in [0, 1] and `labels` `(B, X, Y, Z)` int8 along; the fractions stay on the
device, where images are drawn from them (`stacked_fractions`).
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import grain
import jax
import numpy as np

from qc_jax.augment import tissues
from qc_jax.data import label_maps, pairs, population
from qc_jax.errors import ConfigError

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


def load_subjects(
    data: str,
    voxel_size: float,
    field_of_view: tuple[int, int, int],
    population_size: int,
    seed: int,
    cache_folder: Path,
) -> list[Subject]:
    """All subjects of a data set.

    Args:
      data: "" for the embedded population, `labels:DIR` for label maps, else a folder of pairs.
      voxel_size: of the common grid, in mm.
      field_of_view: voxels of the common grid.
      population_size: subjects of the embedded population.
      seed: of the embedded population.
      cache_folder: keeps what is dear to make.

    Raises:
      ConfigError: data that cannot be used, or fewer than three subjects to split.
    """
    if data and not data.startswith("labels:"):
        subjects = []
        for name, (image, label) in pairs.find_pairs(Path(data)).items():
            scan, labels = pairs.read_pair(image, label, voxel_size, field_of_view)
            subjects.append(Subject(name, labels, image=scan))
    else:
        if data:
            folder = Path(data.removeprefix("labels:"))
            heads = label_maps.load_label_maps(folder, voxel_size, field_of_view, cache_folder)
        else:
            config = population.PopulationConfig(population_size, voxel_size, field_of_view, seed)
            heads = population.load_population(config, cache_folder)
        subjects = [
            Subject(n, np.asarray(tissues.labels_of(f)), fractions=f) for n, f in heads.items()
        ]
    if len(subjects) < 3:
        raise ConfigError(
            f"{data or 'the population'} holds {len(subjects)} subjects; at least 3 are needed to "
            "train, validate and test on different people"
        )
    return subjects


def stacked_fractions(subjects: Sequence[Subject]) -> np.ndarray | None:
    """`(S, X, Y, Z, T)` uint8 of all subjects, or None where they are images."""
    fractions = [subject.fractions for subject in subjects if subject.fractions is not None]
    return np.stack(fractions) if len(fractions) == len(subjects) else None


def read_split(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """A split into train, validation and test from a JSON file that names the subjects of each.

    Raises:
      ConfigError: unreadable, not these three parts, or not each of these subjects once.
    """
    try:
        split = {part: list(map(str, who)) for part, who in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read as a split ({error})") from error
    if set(split) != {"train", "validation", "test"} or not all(split.values()):
        raise ConfigError(f"{path} has to name subjects for train, validation and test")
    named = sorted(name for part in split.values() for name in part)
    if named != sorted(names):
        odd = sorted(set(named) ^ set(names)) or sorted({n for n in named if named.count(n) > 1})
        raise ConfigError(
            f"{path} has to name each subject of the data once; look at {', '.join(odd[:5])}"
        )
    return split


def split_subjects(names: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Names into train, validation and test, 80/10/10, at least one each; sorted within."""
    order = np.random.default_rng(seed).permutation(sorted(names))
    held_back = max(round(0.1 * len(order)), 1)
    parts = np.split(order, [held_back, 2 * held_back])
    split = dict(
        zip(("validation", "test", "train"), (sorted(map(str, p)) for p in parts), strict=True)
    )
    return {part: split[part] for part in ("train", "validation", "test")}


def batches(
    subjects: Sequence[Subject], batch_size: int, seed: int, part: int = 0, parts: int = 1
) -> grain.DatasetIterator:
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
