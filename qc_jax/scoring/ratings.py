"""What people say of scans: ratings saved by the pages, read back, and how far they agree.

A page saves `name`, `rating` (keep, look or drop), `cause`, `note`, `rater` and `date` of each
scan, as TSV or as JSON.  They are read from the folder `ratings` of an output folder, and from
wherever else is asked for.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from qc_jax.errors import ConfigError, some_of
from qc_jax.scoring import ownership
from qc_jax.scoring.decision import DROP, KEEP, LOOK
from qc_jax.scoring.participants import decoded

FIELDS = ("name", "rating", "cause", "note", "rater", "date")
COLUMN = "rating_"
"""What the columns of the group table begin with; the name of the rater follows."""
TOOL = "qc_jax"
_WORDS = (KEEP, LOOK, DROP)


class Ratings(NamedTuple):
    """Of all raters.

    Attributes:
      by_rater: keep, look or drop by the name of a scan, by the name of a rater.
      warnings: what could not be read, a sentence each.
    """

    by_rater: dict[str, dict[str, str]]
    warnings: tuple[str, ...]


class Agreement(NamedTuple):
    """Of two who rated the same scans.

    Attributes:
      first, second: who.
      number: of scans that both rated.
      share: of them that got the same rating.
      kappa: of Cohen; None where both gave a single rating, the same, to all.
    """

    first: str
    second: str
    number: int
    share: float
    kappa: float | None


def read(output: Path, others: Sequence[Path] = ()) -> Ratings:
    """The ratings of an output folder's own `ratings` folder, and of other files and folders.

    Of several ratings of a scan by one rater the one with the latest date counts.

    Raises:
      ConfigError: one of the others is not there.
    """
    paths = _files(output / ownership.RATINGS)
    for path in others:
        if not path.exists():
            raise ConfigError(f"{path} does not exist; name ratings that a page has saved")
        paths += _files(path) if path.is_dir() else [path]
    found, warnings = [], []
    for path in paths:
        try:
            rows = _rows(path)
        except (OSError, ValueError, AttributeError, TypeError):
            warnings.append(f"{path} holds no ratings that can be read: left out")
            continue
        bad = [row["name"] for row in rows if row["rating"] not in _WORDS]
        if bad:
            warnings.append(f"{path} has no {', '.join(_WORDS)} for {some_of(bad)}: left out")
        found += [row for row in rows if row["rating"] in _WORDS]
    by_rater: dict[str, dict[str, str]] = {}
    for row in sorted(found, key=lambda row: row["date"]):
        by_rater.setdefault(_rater(row["rater"]), {})[row["name"]] = row["rating"]
    return Ratings(dict(sorted(by_rater.items())), tuple(warnings))


def join(frame: pl.DataFrame, ratings: Ratings) -> pl.DataFrame:
    """A group table with a column for each rater behind what the tool decides."""
    frame = frame.drop(pl.selectors.starts_with(COLUMN))
    behind = frame.columns.index("decision_reason") + 1
    for rater, given in reversed(ratings.by_rater.items()):
        column = pl.Series(COLUMN + rater, [given.get(n) for n in frame["name"]], pl.String)
        frame = frame.insert_column(behind, column)
    return frame


def unknown(frame: pl.DataFrame, ratings: Ratings) -> list[str]:
    """A sentence on the ratings of scans that a table does not hold."""
    known = set(frame["name"])
    names = {name for given in ratings.by_rater.values() for name in given} - known
    if not names:
        return []
    return [f"No scan of this table is called {some_of(sorted(names))}, which was rated"]


def agreements(frame: pl.DataFrame) -> list[Agreement]:
    """Of each two raters in a group table, the tool first, who rated a scan in common."""
    given = {TOOL: frame.filter(pl.col("status") == "scored").select("name", "decision").rows()}
    for column in frame.columns:
        if column.startswith(COLUMN):
            rows = frame.select("name", column).drop_nulls().rows()
            given[column.removeprefix(COLUMN)] = rows
    made = [
        agreement(first, second, dict(given[first]), dict(given[second]))
        for first, second in itertools.combinations(given, 2)
    ]
    return [one for one in made if one.number]


def agreement(
    first: str, second: str, of_first: Mapping[str, str], of_second: Mapping[str, str]
) -> Agreement:
    """How far two agree on the scans that both rated.

    kappa = (share - chance) / (1 - chance), where chance is the share that two would agree on who
    draw from their own ratings at random (Cohen 1960, doi:10.1177/001316446002000104).
    """
    both = sorted(of_first.keys() & of_second.keys())
    if not both:
        return Agreement(first, second, 0, 0.0, None)
    pairs = [(of_first[name], of_second[name]) for name in both]
    share = float(np.mean([a == b for a, b in pairs]))
    chance = sum(
        np.mean([a == word for a, _ in pairs]) * np.mean([b == word for _, b in pairs])
        for word in _WORDS
    )
    kappa = float((share - chance) / (1 - chance)) if chance < 1 else None
    return Agreement(first, second, len(both), share, kappa)


# -- Files ---------------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix in (".tsv", ".json"))


def _rows(path: Path) -> list[dict[str, str]]:
    """With all of `FIELDS`, empty where they are missing; ValueError where it holds no ratings."""
    text, _ = decoded(path.read_bytes())
    rows: Iterable[Mapping[str, Any]]
    if path.suffix == ".json":
        rows = json.loads(text)
    else:
        head, *lines = [line.split("\t") for line in text.splitlines() if line.strip()]
        rows = [dict(zip(head, line, strict=False)) for line in lines]
    made = []
    for row in rows:
        if not {"name", "rating"} <= row.keys():
            raise ValueError("no name or no rating")
        texts = {field: str(row.get(field) or "").strip() for field in FIELDS}
        # What a page put before a text that a spreadsheet would take for a formula.
        made.append({k: re.sub(r"^'(?=[=+\-@])", "", text) for k, text in texts.items()})
    return made


def _rater(name: str) -> str:
    """As a part of the name of a column."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:40] or "anonymous"
