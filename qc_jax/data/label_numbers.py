"""What the numbers of a label map mean.

The same numbers stand for other tissues in other programs: 1, 2, 3 are grey matter, white matter,
fluid in BIDS and fMRIPrep, fluid, grey matter, white matter in FSL FAST, and 2, 3 white matter and
cortex in FreeSurfer.  So they are taken from, in this order,

1. what the user says (`grey_matter_labels`);
2. a BIDS look-up table, `*_dseg.tsv` or `NAME.tsv`, beside the map or in a folder above it;
3. the map itself where there is no doubt: 0 and 1 alone, or FreeSurfer's numbers of a whole brain;

and refused otherwise.  Tissues are indices in `augment.tissues.TISSUES`.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qc_jax.augment.tissues import DEEP_GREY_MATTER, GREY_MATTER, TISSUES
from qc_jax.data import names, nifti
from qc_jax.errors import ConfigError

_AIR, _FLUID, _WHITE, _OTHER = map(TISSUES.index, ("air", "fluid", "white_matter", "soft_tissue"))
NUMBERS: dict[str, tuple[int, ...]] = {
    "air": (0,),
    "fluid": (4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63, 72, 136, 137, 163, 164, 506),
    "grey_matter": (3, 42, 8, 47, 11, 50, 12, 51, 17, 53, 18, 54, 26, 58),
    "deep_grey_matter": (10, 49, 13, 52),
    "white_matter": (2, 41, 7, 46, 16, 28, 60, 77, 85, 251, 252, 253, 254, 255, 5001, 5002),
    "bone": (165, 515),
    "fat": (511, 516),
}
"""FreeSurfer's, less those of the parcellations."""
_CORTEX = (range(1000, 3000), range(11100, 11300), range(12100, 12300))
_WHITE_MATTER = (range(3000, 5000), range(13100, 13300), range(14100, 14300))
LARGEST = 15000
_HEMISPHERES = (({3}, {42}), (range(1000, 2000), range(2000, 3000)), (_CORTEX[1], _CORTEX[2]))
"""Numbers of the left and of the right cortex, of which a whole brain has both."""
_SMALL = frozenset(
    (0, 2, 3, 4, 5, 7, 8, *range(10, 19), 24, 25, 26, 28, 29, 30, 31, *range(41, 45), 46, 47)
) | frozenset((*range(49, 55), 57, 58, *range(60, 64), 72, *range(77, 83), 84, 85, 98, 99))
"""Of the numbers below 100, those that FreeSurfer's maps of the whole brain hold."""
_KNOWN_RANGES = ((100, 1000), (1000, 5003), (7000, 7200), (8000, 8300), (11100, 14300))

_STANDARD = {
    **dict.fromkeys(("gm", "cgm", "sgm", "scgm", "dgm"), GREY_MATTER),
    **dict.fromkeys(("wm",), _WHITE),
    **dict.fromkeys(("csf",), _FLUID),
    **dict.fromkeys(("bg",), _AIR),
    **dict.fromkeys(("b", "st", "nb", "l", "bs", "cbm"), _OTHER),
}
"""BIDS's abbreviations.  A cerebellum as a whole is grey and white, and counts as neither."""
_MAPPING = ("bg", "gm", "wm", "csf", "b", "st", "nb", "l", "cgm", "sgm", "bs", "cbm")
"""BIDS's standard numbers, which the column `mapping` gives."""
_NAMES = (
    (_AIR, r"background|bg|unknown|air|clear label|nothing|none|outside|exterior"),
    (_OTHER, r"(soft|connective) tissue|non ?brain|other|lesions?|brain ?stem|pons|midbrain|medulla"
     r"( oblongata)?|cerebellum|bone|skull|scalp|skin|fat|muscle|marrow|dura|eyes?|vessels?|head"
     r"|extra ?cerebral|optic chiasm|optic nerve|undetermined|non wm hypointensities"
     r"|(5th|fifth) ventricle|substantia nigra"),
    (_WHITE, r".*\b(white matter|wm)\b.*|white|.*\bwm hypointensities\b|corpus ?callosum"
     r"|cc( .*)?|fornix|ventral ?dc|unsegmentedwhitematter|internal capsule"),
    (_FLUID, r".*\b(csf|cerebro ?spinal fluid|ventricles?|choroid plexus)\b.*|inf lat vent|fluid"),
    (GREY_MATTER, r".*\b(gr[ae]y matter|gm|cortex)\b.*|gr[ae]y|ctx .*|cortical|thalamus( proper)?"
     r"|caudate( nucleus)?|putamen|(globus )?pallid(um|us)|hippocampus|amygdala"
     r"|(nucleus )?accumbens( area)?|basal ganglia|insula|striatum"),
)  # fmt: skip
_SIDES = re.compile(r"\b(left|right|lh|rh|l|r|bilateral|both)\b")
_NOT = re.compile(r"\bnon?\b|\bnot\b")


def tissue_table() -> np.ndarray:
    """FreeSurfer number to index in `TISSUES`; numbers not named are soft tissue."""
    table = np.full(LARGEST, _OTHER, np.uint8)
    for ranges, tissue in ((_CORTEX, GREY_MATTER), (_WHITE_MATTER, _WHITE)):
        for parcels in ranges:
            table[parcels] = tissue
    for name, numbers in NUMBERS.items():
        table[list(numbers)] = TISSUES.index(name)
    return table


def whole_numbers(path: Path, data: np.ndarray, probability: bool = False) -> np.ndarray:
    """A label map's values as int64.

    Args:
      path: of the map.
      data: of any shape.
      probability: whether values from 0 to 1 may be one of grey matter, which is there from 1/2 on.

    Raises:
      ConfigError: they are no whole numbers from 0 on.
    """
    numbers = np.rint(data).astype(np.int64)
    if probability and data.min() >= 0 and data.max() <= 1:
        return numbers
    wrong = (data < 0) | (np.abs(data - numbers) > 1e-3)
    if wrong.any():
        raise ConfigError(
            f"{path} is no label map: it holds {data[wrong][0]:g}, and labels are whole numbers "
            "from 0 on; was it resampled without nearest neighbours?"
        )
    return numbers


def is_freesurfer(numbers: set[int]) -> bool:
    """Whether these can only be FreeSurfer's of a whole brain: both hemispheres' cortex, white
    matter, and no number that its maps do not hold.

    Maps of the whole head have numbers from 500 to 599 besides, which nobody else has.
    """
    head = any(500 <= n < 600 for n in numbers)
    sides = any(
        all(numbers & set(side) for side in pair) or (head and numbers & set(pair[0]))
        for pair in _HEMISPHERES
    )
    known = all(
        n in _SMALL or any(first <= n < end for first, end in _KNOWN_RANGES) for n in numbers
    )
    table = tissue_table()
    return known and sides and any(table[n] == _WHITE for n in numbers)


def tissues_of(
    path: Path, labels: np.ndarray, grey_matter_labels: Sequence[int] = (), top: Path | None = None
) -> np.ndarray:
    """The tissue of every voxel of a label map, uint8; what is not known is soft tissue.

    Args:
      path: of the map.
      labels: whole numbers from 0 on, of any shape.
      grey_matter_labels: those that are grey matter, where the user says so.
      top: the highest folder that look-up tables are taken from; the map's own by default.

    Raises:
      ConfigError: the numbers can be read in several ways, a table that cannot be read or lacks
        one of them, or no grey matter.
    """
    present = [int(n) for n in np.unique(labels)]
    if grey_matter_labels:
        meaning = {n: GREY_MATTER if n in grey_matter_labels else _OTHER for n in present}
        meaning[0] = _AIR
        said = f"--grey-matter-labels={' '.join(map(str, grey_matter_labels))}"
    elif table_path := find_table(path, top or path.parent):
        meaning, said = read_table(table_path, present), f"grey matter by {table_path}"
    elif description := _nnunet_description(path):
        meaning = read_nnunet_labels(description, present)
        said = f"grey matter by {description}"
    elif set(present) <= {0, 1} or (_is_mask(path) and len(set(present) - {0}) == 1):
        meaning, said = {n: GREY_MATTER if n else _AIR for n in present}, "1"
    elif is_freesurfer(set(present)):
        table = tissue_table()
        meaning, said = {n: int(table[n]) for n in present}, "FreeSurfer's cortex"
    else:
        raise ConfigError(
            f"{path} holds the numbers {in_words(present)}, which mean one thing in BIDS, another "
            "in FSL and a third in FreeSurfer; say which are grey matter with "
            "--grey-matter-labels, or put a table dseg.tsv beside it or into the folder of the "
            "data set, with the columns index and name and a line for each number"
        )
    if not any(meaning[n] in (GREY_MATTER, DEEP_GREY_MATTER) for n in present):
        raise ConfigError(
            f"{path} holds no grey matter: its numbers are {in_words(present)}, and none of them "
            f"is {said}; is it the right file?"
        )
    found = np.array([meaning[n] for n in present], np.uint8)
    return found[np.searchsorted(present, labels)]


def in_words(numbers: Sequence[int]) -> str:
    """`0, 1, 2 and 3`; of many the first."""
    first = [str(n) for n in numbers[:8]]
    if len(numbers) > 8:
        return f"{', '.join(first)} and {len(numbers) - 8} others"
    return " and ".join(filter(None, (", ".join(first[:-1]), first[-1])))


def find_table(path: Path, top: Path) -> Path | None:
    """The look-up table of a label map by BIDS's rule of inheritance: the nearest folder's, of
    those there whose entities are all the map's own the one with the most.

    `NAME.tsv` beside the map comes first; `top` is the highest folder to look in.
    """
    own = path.with_name(f"{nifti.stem(path)}.tsv")
    if own.is_file():
        return own
    if _is_mask(path):
        return None
    entities, _ = names.parse(nifti.stem(path))
    folders = [path.parent, *path.parent.parents]
    last = folders.index(top) if top in folders else 0
    for folder in folders[: last + 1]:
        fitting = []
        for table in sorted(folder.glob("*dseg.tsv")):
            of_table, suffixes = names.parse(table.name.removesuffix(".tsv"))
            known = suffixes == ["dseg"] and not table.name.startswith(".")
            if known and of_table.items() <= entities.items():
                fitting.append((len(of_table), table))
        if fitting:
            return max(fitting)[1]
    return None


def read_table(path: Path, present: Sequence[int]) -> dict[int, int]:
    """Number to tissue, of every number that is present, and of 0.

    The column `mapping` counts first, then BIDS's abbreviations, then the name.

    Raises:
      ConfigError: unreadable, without its columns, or one number is missing or not understood.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter="\t"))
    except csv.Error as error:
        raise ConfigError(f"{path} is no table ({error})") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "index" not in header or not {"name", "abbreviation", "mapping"} & set(header):
        raise ConfigError(
            f"{path} has the columns {', '.join(header) or 'none'}; index and name are needed, "
            "separated by tabulators"
        )
    meaning: dict[int, int] = {}
    called: dict[int, str] = {}
    for cells in rows[1:]:
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        index = row.get("index", "").removesuffix(".0")
        if not index.isdecimal() or len(index) > 9:
            raise ConfigError(f"{path} has {index!r} in the column index, where numbers have to be")
        number = int(index)
        tissue = _tissue_of_row(path, row)
        called[number] = row.get("name") or row.get("abbreviation") or row.get("mapping", "")
        if tissue is None:
            continue
        if meaning.setdefault(number, tissue) != tissue:
            raise ConfigError(f"{path} says two things of the number {number}; leave one of them")
    meaning.setdefault(0, _AIR)
    for number in present:
        if number not in meaning:
            what = f"calls the number {number} {called[number]!r}" if number in called else (
                f"does not say what the number {number} is"
            )  # fmt: skip
            raise ConfigError(
                f"{path} {what}; write a name like 'Gray Matter', 'White Matter' or 'CSF', or a "
                "column mapping with BIDS's standard numbers (1 grey matter, 2 white matter, 3 "
                "CSF), or name the numbers with --grey-matter-labels"
            )
    return meaning


def _nnunet_description(path: Path) -> Path | None:
    """nnU-Net's `dataset.json` beside the folder `labelsTr` of a label map."""
    description = path.parent.parent / "dataset.json"
    return description if path.parent.name == "labelsTr" and description.is_file() else None


def read_nnunet_labels(path: Path, present: Sequence[int]) -> dict[int, int]:
    """Number to tissue by the names in nnU-Net's `dataset.json`, of every number that is present.

    Raises:
      ConfigError: it cannot be read, or a name is not understood.
    """
    try:
        named = json.loads(path.read_bytes())["labels"].items()
        # {"1": "GM"} in its first version, {"GM": 1} since the second.
        pairs = [(k, v) if str(k).isdecimal() else (v, k) for k, v in named]
        called = {int(number): str(name) for number, name in pairs}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} names no labels ({error!r})") from error
    meaning = {0: _AIR}
    for number in present:
        tissue = tissue_of_name(called.get(number, ""))
        if number and tissue is None:
            raise ConfigError(
                f"{path} calls the number {number} {called.get(number, 'nothing')!r}; write a name "
                "like 'Gray Matter', or name the numbers with --grey-matter-labels"
            )
        if number and tissue is not None:
            meaning[number] = tissue
    return meaning


def tissue_of_name(name: str) -> int | None:
    """The tissue that a name in a look-up table stands for, in BIDS's, FreeSurfer's or plain
    words; None where it is not understood."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    words = _SIDES.sub("", words).strip()
    words = re.sub(r"\s+", " ", words)
    if words in _STANDARD:
        return _STANDARD[words]
    fitting = [tissue for tissue, pattern in _NAMES if re.fullmatch(pattern, words)]
    if fitting and fitting[0] in (_AIR, _OTHER):
        return fitting[0]
    return fitting[0] if len(fitting) == 1 and not _NOT.search(words) else None


def _tissue_of_row(path: Path, row: dict[str, str]) -> int | None:
    """Of a row of a look-up table.

    Raises:
      ConfigError: it contradicts itself.
    """
    said = {}
    mapping = row.get("mapping", "").removesuffix(".0")
    if mapping.isdecimal() and int(mapping) < len(_MAPPING):
        said["mapping"] = _STANDARD[_MAPPING[int(mapping)]]
    abbreviation = row.get("abbreviation", "").lower()
    if abbreviation in _STANDARD:
        said["abbreviation"] = _STANDARD[abbreviation]
    named = tissue_of_name(row.get("name", ""))
    if named is not None:
        said["name"] = named
    if len({tissue == GREY_MATTER for tissue in said.values()}) > 1:
        raise ConfigError(
            f"{path} contradicts itself about the number {row['index']}: "
            + ", ".join(f"{column} {row[column]!r}" for column in said)
            + " are not the same tissue"
        )
    return next(iter(said.values()), None)


def _is_mask(path: Path) -> bool:
    """A BIDS mask of grey matter, whose name says what it is."""
    entities, suffixes = names.parse(nifti.stem(path))
    return suffixes[-1:] == ["mask"] and entities.get("label") == "GM"


# -- Plausible or not --------------------------------------------------------------------------

_WHOLE_HEAD = 120.0
"""mm that the field of view of a whole head has at least along every axis."""
_VOLUMES = (100.0, 1500.0)
"""mL of grey matter in a head: a newborn's has some 150, the largest of adults below 1000, the
template's, which is an average, 1200."""
_ENOUGH = 500
"""Voxels of a tissue to take its intensity from."""


def check_volume(path: Path, grey_matter: np.ndarray, affine: np.ndarray) -> None:
    """Raises ConfigError for more or less grey matter than a head has, where the map is of one."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if (edges * grey_matter.shape).min() < _WHOLE_HEAD:
        return
    volume = float(grey_matter.sum() * np.abs(np.linalg.det(affine[:3, :3])) / 1000)
    if not _VOLUMES[0] <= volume <= _VOLUMES[1]:
        raise ConfigError(
            f"{path} has {volume:.0f} mL of grey matter, and a head has {_VOLUMES[0]:.0f} to "
            f"{_VOLUMES[1]:.0f} mL; is it labelled as a whole, and are the numbers those of grey "
            "matter?"
        )


def contradiction(image: np.ndarray, tissue: np.ndarray) -> str | None:
    """How a T1-weighted image contradicts its labels, in words: fluid is darker than grey matter,
    and grey matter than white.  None where it does not, or where these are not known."""
    grey = (tissue == GREY_MATTER) | (tissue == DEEP_GREY_MATTER)
    masks = {"fluid": tissue == _FLUID, "grey matter": grey, "white matter": tissue == _WHITE}
    medians = {
        name: float(np.median(image[mask])) for name, mask in masks.items() if mask.sum() >= _ENOUGH
    }
    if "grey matter" not in medians or list(medians.values()) == sorted(medians.values()):
        return None
    return ", ".join(f"{name} {median:.3g}" for name, median in medians.items())
