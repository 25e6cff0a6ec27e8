"""A study's `participants.tsv`, as people export it: it never costs a report.

What can be read is read; what cannot be joined to a scan is said, with its row.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from qc_jax.errors import some_of

_ID = "participant_id"
_OTHER_IDS = ("participant", "subject_id", "subject", "sub", "id")
_SESSION = ("session_id", "session", "ses")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*|)(\.\d*)?([eE][+-]?\d+)?")
"""Of a text that is a number; whole ones with zeros before them are names."""


@dataclasses.dataclass(frozen=True)
class Participants:
    """The rows of the table.

    Attributes:
      path: of the file.
      columns: names but for the first, which is `participant_id`.
      rows: number of the line in the file, label of the person and cells, None where empty.
      warnings: what was odd in the file, a sentence each.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, str, tuple[str | None, ...]], ...]
    warnings: tuple[str, ...]


def read_participants(bids_folder: Path) -> Participants | None:
    """The table of a study, None where it has none; what is odd is a warning, never an error."""
    path = bids_folder / "participants.tsv"
    if not path.exists() and not path.is_symlink():
        return None
    try:
        text, warnings = decoded(path.read_bytes())
    except OSError as error:
        return Participants(path, (), (), (f"{path} cannot be read ({error.strerror})",))
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip('\t ,;"')]
    if not lines:
        return Participants(path, (), (), (f"{path} is empty",))
    separator, header = "\t", lines[0][1]
    if "\t" not in header:
        separator = max(",;", key=header.count) if {",", ";"} & set(header) else "\t"
        if separator != "\t":
            warnings.append(f"its columns are separated by {separator!r}, not by tabs")
    names = [name.strip() for name in _cells(header, separator)]
    where = _position(names, (_ID, *_OTHER_IDS))
    if where is None:
        warnings.append(f"it has no column {_ID}, so that none of it is joined")
        return Participants(path, (), (), _said(path, warnings))
    if names[where] != _ID:
        warnings.append(f"its column {names[where]!r} is taken for {_ID}")
    rows = []
    for number, line in lines[1:]:
        cells = _cells(line, separator)
        surplus = [cell for cell in cells[len(names) :] if cell.strip()]
        if surplus:
            warnings.append(
                f"line {number} has more cells than there are columns: left out {surplus}"
            )
        cells = (cells + [""] * len(names))[: len(names)]
        label = re.sub(r"(?i)^\s*sub-", "", cells[where]).strip()
        if not label:
            warnings.append(f"line {number} has no {_ID}: left out")
            continue
        rows.append((number, label, tuple(_value(c) for i, c in enumerate(cells) if i != where)))
    columns = _distinct([name for i, name in enumerate(names) if i != where], warnings)
    return Participants(path, columns, tuple(rows), _said(path, warnings))


def match(
    participants: Participants, scans: Sequence[tuple[str, str | None]]
) -> tuple[pl.DataFrame, list[str]]:
    """What the table says of each scan.

    A person of several rows has one for each session, or what all of the rows agree on.

    Args:
      participants: the table.
      scans: labels of subject and session (or None) of each scan.

    Returns:
      A row for each scan, columns `participant_<name>`, numbers as such; and a warning for whatever
      could not be joined, with the lines of the file.
    """
    found = _people(participants, {subject for subject, _ in scans})
    session = _position(participants.columns, _SESSION)
    values: list[tuple[str | None, ...]] = []
    disagreeing = collections.defaultdict(set)
    for subject, own_session in scans:
        rows = [cells for _, _, cells in found.get(subject, ())]
        if session is not None and own_session is not None:
            rows = [r for r in rows if _alike(r[session], own_session)] or rows
        agreed = []
        for column, cells in zip(participants.columns, zip(*rows, strict=True), strict=False):
            agreed.append(cells[0] if len(set(cells)) == 1 else None)
            if len(set(cells)) > 1 and column != participants.columns[session or 0]:
                disagreeing[subject].add(column)
        values.append(tuple(agreed) or (None,) * len(participants.columns))
    frame = pl.DataFrame(
        {
            _column(name): _typed([row[i] for row in values])
            for i, name in enumerate(participants.columns)
        }
    )
    return frame, [*participants.warnings, *_not_joined(participants, found, scans, disagreeing)]


def _column(name: str) -> str:
    """`participant_id` is the table's own."""
    return "participant_other_id" if name == "id" else f"participant_{name}"


def _people(participants: Participants, subjects: set[str]) -> dict[str, list[tuple]]:
    """The rows of each subject: of its very label, else of the one that differs in case or in
    leading zeros alone."""
    by_label = collections.defaultdict(list)
    for row in participants.rows:
        by_label[row[1]].append(row)
    labels, others = collections.defaultdict(set), collections.defaultdict(set)
    for label in by_label:
        labels[_loose(label)].add(label)
    for subject in subjects:
        others[_loose(subject)].add(subject)
    found = {}
    for subject in subjects:
        loose = _loose(subject)
        if subject in by_label:
            found[subject] = by_label[subject]
        elif len(labels[loose]) == 1 and len(others[loose]) == 1:
            found[subject] = by_label[next(iter(labels[loose]))]
    return found


def _not_joined(
    participants: Participants,
    found: Mapping[str, Sequence[tuple]],
    scans: Sequence[tuple[str, str | None]],
    disagreeing: Mapping[str, set[str]],
) -> list[str]:
    texts = []
    loosely = [
        f"{rows[0][1]!r} is taken for sub-{s}" for s, rows in found.items() if rows[0][1] != s
    ]
    if loosely:
        texts.append(f"the row of {some_of(sorted(loosely))}")
    if disagreeing:
        columns = sorted({name for names in disagreeing.values() for name in names})
        who = some_of([f"sub-{subject}" for subject in sorted(disagreeing)])
        texts.append(f"several rows of {who} disagree on {', '.join(columns)}: left empty")
    used = {number for rows in found.values() for number, *_ in rows}
    unused = [f"{label} (line {n})" for n, label, _ in participants.rows if n not in used]
    if unused:
        texts.append(f"no scan belongs to the row of {some_of(unused)}")
    missing = sorted({subject for subject, _ in scans} - set(found))
    if missing and participants.columns:
        texts.append(f"there is no row for {some_of([f'sub-{subject}' for subject in missing])}")
    return list(_said(participants.path, texts))


def _said(path: Path, texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{path.name}: {text}" for text in texts)


def decoded(content: bytes) -> tuple[str, list[str]]:
    """The text of a file, and in what encoding it is where that is not UTF-8."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace"), ["it is encoded as UTF-16, not as UTF-8"]
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return content.decode("latin-1"), ["it is not encoded as UTF-8: read as Latin-1"]


def _cells(line: str, separator: str) -> list[str]:
    """Cells without the quotes around them, if both are there; a lone one is an inch."""
    return [
        cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell
        for cell in line.split(separator)
    ]


def _value(cell: str) -> str | None:
    stripped = cell.strip()
    return None if stripped.lower() in ("", "n/a", "nan") else stripped


def _position(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Of the first of these names, whatever their case."""
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in wanted if name in lower), None)


def _distinct(names: Sequence[str], warnings: list[str]) -> tuple[str, ...]:
    """Names of columns, those that are missing or there twice numbered."""
    distinct: list[str] = []
    for position, name in enumerate(names, 2):
        name = name or f"column_{position}"
        if name in distinct:
            warnings.append(f"it has the column {name!r} twice: the other is {name}_{position}")
            name = f"{name}_{position}"
        distinct.append(name)
    return tuple(distinct)


def _loose(label: str) -> str:
    """A label without case, and a number without its leading zeros."""
    return (label.lstrip("0") or "0") if label.isdecimal() else label.casefold()


def _alike(cell: str | None, session: str) -> bool:
    return cell is not None and _loose(cell.removeprefix("ses-")) == _loose(session)


def _typed(values: Sequence[str | None]) -> pl.Series:
    """A column of whole numbers, of numbers or of text."""
    there = [value for value in values if value is not None]
    numbers = [value for value in there if value not in ("NA", "-", ".")]
    if numbers and all(map(is_number, numbers)):
        values = [None if value in ("NA", "-", ".") else value for value in values]
        there = numbers
    if there and all(_WHOLE.fullmatch(value) for value in there):
        return pl.Series([None if v is None else int(v) for v in values], dtype=pl.Int64)
    if there and all(is_number(value) for value in there):
        return pl.Series([None if v is None else float(v) for v in values], dtype=pl.Float64)
    return pl.Series(values, dtype=pl.String)


def is_number(text: str) -> bool:
    """Whether a text is a number, and not a label such as 007."""
    digits = any(character.isdigit() for character in text)
    return bool(NUMBER.fullmatch(text)) and digits and math.isfinite(float(text))
