"""Names of files as BIDS has them, `sub-01_ses-2_T1w`, and whose scan one is.

`sub`, `ses` and their like are entities, `T1w` is the suffix.
"""

import re

# fmt: off
CONTRASTS = frozenset((
    "T1w", "T2w", "PDw", "T2starw", "FLAIR", "UNIT1", "MP2RAGE", "PDT2", "inplaneT1", "inplaneT2",
    "angio", "defacemask", "T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap",
    "MTRmap", "MTsat", "MWFmap", "TB1map", "MEGRE", "MESE", "MPM", "MTR", "MTS", "TSE", "VFA",
    "IRT1", "bold", "cbv", "sbref", "phase", "phase1", "phase2", "phasediff", "magnitude",
    "magnitude1", "magnitude2", "fieldmap", "epi", "dwi", "asl", "m0scan", "pet", "ct", "CT",
    "TOF", "SWI", "swi", "Chimap", "QSM",
))
"""Suffixes of images; of all of them, only T1w is learnt from."""
SEGMENTATIONS = frozenset((
    "dseg", "probseg", "mask", "label", "labels", "seg", "aseg", "aparc+aseg", "roi",
))
# fmt: on
_DATE = r"(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_LATER = re.compile(
    r"(?<=.)[_-](?:(?:ses|session|visit|timepoint|time|tp|run|scan|baseline|followup|bl|fu|pre|post"
    rf"|wk|week|month|year)[_-]?\d*|mr\d+|[mvywt]\d+|{_DATE})$|(?<=_S_\d{{4}})_I\d+$",
    re.I,
)
"""How a name ends that says when a scan was taken, not whose it is."""
_WHEN = re.compile(
    r"(?:ses|session|visit|timepoint|time|tp|run|scan|baseline|followup|bl|fu|pre|post|wk|week"
    rf"|month|year|anat|mri|[tvmwy])(?:[_ -]?\d+)?|ses-.*|{_DATE}",
    re.I,
)
"""The same of a folder's name."""


def parse(stem: str) -> tuple[dict[str, str], list[str]]:
    """Entities of a file's name without its ending, and its suffixes, usually one.

    A part without a hyphen that is no known suffix belongs to the label before it, as in `sub-a_b`.
    A name that does not begin with an entity has none, and is a suffix as it stands.
    """
    suffixes: list[str] = []
    parts = stem.split("_")
    while len(parts) > 1 and _is_suffix(parts[-1]):
        suffixes.insert(0, parts.pop())
    entities: dict[str, str] = {}
    last = ""
    for part in parts:
        key, hyphen, value = part.partition("-")
        if hyphen and key.isalpha():
            last, entities[key] = key, value
        elif last and _is_suffix(part):  # sub-01_T1w_label-GM_mask
            suffixes.insert(0, part)
        elif last:
            entities[last] += f"_{part}"
        else:
            return {}, [stem]
    return entities, suffixes


def person_of(name: str) -> str:
    """Whose scan a subject of a data set is, by its name: all of one person's stay together.

    * `sub-01` of `sub-01_ses-1_run-2`, wherever in the name it stands;
    * of `p1/session2/T1` the folder, less what says when the scan was taken;
    * else the name, less the same: `OAS1_0001_MR2` is of `OAS1_0001`.
    """
    *folders, base = name.split("/")
    for part in (*folders, base):
        if part.startswith("sub-"):
            return _without_when(_person_in(part))
    while folders and _WHEN.fullmatch(folders[-1]):
        folders.pop()
    return "/".join(folders) if folders else _without_when(base)


def _person_in(part: str) -> str:
    """`sub-01` of `sub-01_ses-1`, `sub-a_b` of `sub-a_b`, which is no BIDS but occurs."""
    first, *rest = part.split("_")
    for more in rest:
        if "-" in more or _is_suffix(more):
            break
        first = f"{first}_{more}"
    return first


def _without_when(name: str) -> str:
    while (shorter := _LATER.sub("", name)) != name:
        name = shorter
    return name


def _is_suffix(part: str) -> bool:
    return part in CONTRASTS or part in SEGMENTATIONS
