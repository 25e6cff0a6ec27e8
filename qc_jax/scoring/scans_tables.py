"""What was found of each scan as columns for the `*_scans.tsv` of its data set.

BIDS keeps what is known of a scan in the table of its session, and lets a data set add columns that
a sidecar describes (bids-specification 353).  Nothing is written into the data set itself: the
tables are made in a folder of their own, with all that those of the data set hold, and whoever
keeps the data copies them over.

    FOLDER/sub-*/[ses-*/]sub-*[_ses-*]_scans.tsv
    FOLDER/scans.json                              what the columns mean, for all of them
"""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qc_jax import files
from qc_jax.errors import OutputError, one_line
from qc_jax.scoring import ownership
from qc_jax.scoring.decision import DROP, KEEP, LOOK, Rule
from qc_jax.scoring.participants import decoded
from qc_jax.scoring.record import decision_of
from qc_jax.scoring.record_fields import DECIDING, Record

_FIRST, _NOTHING = "filename", "n/a"
_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "qcjax_decision": {
        "Description": "What to do with the scan for measuring grey matter",
        "Levels": {
            KEEP: "measure it",
            LOOK: "look at it first: in between, doubtful, or refused",
            DROP: "leave it out",
        },
    },
    "qcjax_cause": {"Description": "Probable cause of what is wrong with the scan, in words"},
    "qcjax_predicted_dice": {
        "Description": "Predicted Dice coefficient of the grey matter; higher is better",
        "Units": "1",
    },
    "qcjax_grey_matter_volume_ml": {
        "Description": "Volume of the segmented grey matter",
        "Units": "mL",
    },
    "qcjax_grey_matter_volume_error_ml": {
        "Description": "One standard deviation of that volume",
        "Units": "mL",
    },
    "qcjax_version": {"Description": "Version of qc_jax and SHA-256 of the weights, its beginning"},
}
_Row = dict[str, str]


def check(folder: Path, records: Sequence[Record]) -> None:
    """Raises OutputError where `write` would replace what it did not make."""
    ownership.check_folder(folder)
    ownership.check_without_scans(folder, {made["folder"] for made in records})
    wanted: list[tuple[Path, ownership.Kind]] = [(folder / "scans.json", "scans columns")]
    wanted += [(folder / place, "scans") for place in _by_table(records)]
    ownership.check_files(wanted)


def write(folder: Path, bids_folder: Path, records: Sequence[Record], rule: Rule) -> list[str]:
    """Writes a table for each session with a record, and the sidecar of all of them.

    Args:
      folder: for the tables.
      bids_folder: the data set, whose tables they begin with.
      records: of its scans.
      rule: by which scans are kept.

    Returns:
      A sentence for each table of the data set that cannot be read, which then has none here.

    Raises:
      OutputError: one cannot be written, or no record is of a scan in a BIDS data set.
    """
    tables, said = _by_table(records), []
    if not tables:
        raise OutputError(f"{folder}: no scan was scored as one of a BIDS data set")
    for place, of_session in tables.items():
        columns: list[str] = [_FIRST]
        rows: dict[str, _Row] = {}
        if (bids_folder / place).exists():
            try:
                columns, rows = _read(bids_folder / place)
            except (OSError, ValueError) as error:
                said.append(f"{bids_folder / place} is left as it is: {one_line(error)}")
                continue
        for made in of_session:
            name = _name_within(made, place)
            rows[name] = {**rows.get(name, {}), _FIRST: name, **_cells(made, rule)}
        columns = [*(c for c in columns if c not in _COLUMNS), *_COLUMNS]
        lines = [columns, *([row.get(c, _NOTHING) for c in columns] for row in rows.values())]
        files.write_text(folder / place, "".join("\t".join(line) + "\n" for line in lines))
    described = files.read_object(bids_folder / "scans.json")
    theirs = {name: about for name, about in described.items() if name not in _COLUMNS}
    files.write_json(folder / "scans.json", {**_COLUMNS, **theirs})
    return said


def _by_table(records: Sequence[Record]) -> dict[Path, list[Record]]:
    """Records by the path of their table within a data set."""
    tables = collections.defaultdict(list)
    for made in records:
        if made["entities"]:
            session = Path(made["folder"]).parent  # of the folder of the modality
            tables[session / f"{'_'.join(session.parts)}_scans.tsv"].append(made)
    return tables


def _name_within(made: Record, place: Path) -> str:
    """Of a scan, as its table calls it."""
    return (Path(made["folder"]) / Path(made["file"]).name).relative_to(place.parent).as_posix()


def _cells(made: Record, rule: Rule) -> _Row:
    found: Mapping[str, Any] = made
    numbers = {f"qcjax_{n}": f"{found[n]:.6g}" for n in DECIDING if n in found}
    return {
        **dict.fromkeys(_COLUMNS, _NOTHING),
        **numbers,
        "qcjax_decision": decision_of(made, rule).word,
        "qcjax_cause": " ".join(str(made.get("sentence", _NOTHING)).split()),
        "qcjax_version": f"{made['version']} {made['model_sha256'][:8]}",
    }


def _read(path: Path) -> tuple[list[str], dict[str, _Row]]:
    """Names of the columns, and the rows by the name of their scan.

    Raises:
      ValueError: it is no table of scans.
    """
    text, _ = decoded(path.read_bytes())
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    if not lines or _FIRST not in lines[0]:
        raise ValueError(f"it has no column {_FIRST}")
    columns = lines[0]
    if len(set(columns)) < len(columns) or any(len(line) > len(columns) for line in lines):
        raise ValueError("its columns are not clear")
    rows = [dict(zip(columns, line, strict=False)) for line in lines[1:]]
    named = {row.get(_FIRST, ""): row for row in rows}
    if len(named) < len(rows):
        raise ValueError("it has two rows of one scan")
    return columns, named
