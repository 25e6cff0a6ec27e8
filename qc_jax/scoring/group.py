"""A study as one table of all records, with its data dictionary.

    OUTPUT/group_<suffix>.tsv       one row for each scan, refused ones with empty scores
    OUTPUT/group_<suffix>.json      what the columns mean
    OUTPUT/group_<suffix>.parquet   the same table, typed
    OUTPUT/group_<suffix>.html      see `group_report`

The suffix is that of BIDS, `T1w` for plain files.
"""

import contextlib
import fcntl
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from qc_jax import files
from qc_jax.errors import ConfigError
from qc_jax.scoring import acquisition, decision, group_report, ownership, ratings, record, scale
from qc_jax.scoring.decision import Decision, Rule
from qc_jax.scoring.participants import Participants, is_number, match, read_participants
from qc_jax.scoring.record import read_records
from qc_jax.scoring.record_fields import DECIDING, REFUSED, SCORED, Deciding, Record

__all__ = ["Participants", "read_participants", "read_records", "table", "write_group"]

_JOINED = {"sub": "participant_id", "ses": "session_id"}
_FORMULA = r"^[=+\-@]"
_LAST = ("model", "version", "file_now", "warnings", "reason", "file")
_PLAIN = re.compile(r".*[0-9a-f]{8}")
"""Name of the folder of a plain scan's outputs."""


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """One process at a time reads and writes the tables of an output folder, so that each finds the
    rows of all before it; where the file system has no locks, the files are whole all the same."""
    with files.writing(output), (output / ".qc_jax.lock").open("a") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- Records -----------------------------------------------------------------------------------


def chosen(
    records: Sequence[Record],
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    suffixes: Sequence[str] = (),
) -> list[Record]:
    """Records of some participants, sessions and contrasts; all by default.

    Raises:
      ConfigError: a participant without a record, or nothing is left.
    """
    subjects = {label.strip().removeprefix("sub-") for label in participants}
    visits = {label.strip().removeprefix("ses-") for label in sessions}
    known = {r["entities"].get("sub") for r in records}
    if subjects - known:
        raise ConfigError(f"no scan of sub-{', sub-'.join(sorted(subjects - known))} was scored")
    left = [
        r
        for r in records
        if (not subjects or r["entities"].get("sub") in subjects)
        and (not visits or r["entities"].get("ses") in visits)
        and (not suffixes or r["suffix"] in suffixes)
    ]
    if not left:
        raise ConfigError("none of the scored scans fits what was chosen")
    return left


# -- Table -------------------------------------------------------------------------------------


def table(
    records: Sequence[Record],
    participants: Participants | None = None,
    rule: Rule = Rule(),  # noqa: B008 (frozen)
) -> pl.DataFrame:
    """The records as a table, one row each, numbers as such and the rest as String.

    Args:
      records: see `record.scored`.
      participants: see `read_participants`; its columns come before those on the file.
      rule: by which scans are kept.
    """
    return _decided(_joined(records, participants)[0], rule)


def _joined(
    records: Sequence[Record], participants: Participants | None
) -> tuple[pl.DataFrame, list[str]]:
    rows = [_row(r) for r in records]
    notes: list[str] = []
    columns = dict.fromkeys(name for row in rows for name in row)
    schema = {name: _type(name) for name in columns}
    frame = pl.from_dicts(rows, schema=schema)
    if participants is not None and "participant_id" in frame.columns:
        scans = [(r["entities"].get("sub", ""), r["entities"].get("ses")) for r in records]
        others, notes = match(participants, scans)
        frame = frame.hstack(others)
    return _in_order(frame), notes


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(*(name for name in frame.columns if name not in _LAST), *_LAST)


def _type(column: str) -> type[pl.DataType]:
    numbers = {*DECIDING, *acquisition.NUMBERS}
    if column.startswith(("score_", "percentile_")) or column in numbers:
        return pl.Float64
    return pl.Boolean if column == "cause_named" else pl.String


def _decided(frame: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """With what the rule says of each scan, and why, behind its status."""
    others = frame.drop("decision", "decision_reason", strict=False)
    made = [_decision(row, rule) for row in others.iter_rows(named=True)]
    behind = others.columns.index("status") + 1
    words = pl.Series("decision", [decided.word for decided in made], pl.String)
    reasons = pl.Series("decision_reason", [decided.why for decided in made], pl.String)
    return others.insert_column(behind, words).insert_column(behind + 1, reasons)


def _decision(row: Mapping[str, Any], rule: Rule) -> Decision:
    """Whether a scan is kept, by its row; as `record.decision_of` by its record."""
    if row["status"] == REFUSED:
        return decision.OF_REFUSED
    dice, volume, error = (row.get(name) for name in DECIDING)
    return decision.decide_known(dice, volume, error, row.get("cause_named"), rule)


_TOLD: tuple[Literal["sentence", "cause_named"] | Deciding, ...]
_TOLD = ("sentence", "cause_named", *DECIDING)
"""Fields of a record that have a column of their name."""


def _row(content: Record) -> dict[str, object]:
    entities = [_as_in_bids(*entity) for entity in content["entities"].items()]
    row: dict[str, object] = {
        "name": content["name"],
        **dict(entities),
        "status": content["status"],
    }
    if content["status"] == SCORED:
        row |= {key: content[key] for key in _TOLD if key in content}
        row |= {f"score_{name}": value for name, value in content["scores"].items()}
        percentiles = content.get("percentiles", {})
        row |= {  # of version 0.10 and before, records have one at the limit of detection as well
            f"percentile_{name}": percentiles.get(name)
            if scale.has_percentile(content, name)
            else None
            for name in content["scores"]
        }
        parameters = content.get("acquisition", {})
        row |= {n: v for n, v in parameters.items() if acquisition.is_parameter(n, v)}
    row |= {
        "model": f"{content['model']} {content['model_sha256'][:8]}",
        "version": content["version"],
        "file_now": "there" if os.path.exists(content["file"]) else "gone",
        "warnings": "; ".join(content["warnings"]),
        "reason": content["reason"],
        "file": content["file"],
    }
    # A name that is no UTF-8 can stand in a record, but in no table.
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in row.items()
    }


def _as_in_bids(entity: str, label: str) -> tuple[str, str]:
    """Name and value of the column of an entity; those that tables of BIDS have as well are as
    there, so that they can be joined."""
    if entity in _JOINED:
        return _JOINED[entity], f"{entity}-{label}"
    return entity, label


def warnings(records: Sequence[Record], participants: Participants | None) -> list[str]:
    """What is said above the plots of a study, over all of its contrasts."""
    frame, notes = _joined(records, participants)
    return [*notices(frame), *notes]


def notices(frame: pl.DataFrame) -> list[str]:
    """What has to be known before scans are compared: a sentence each."""
    said = []
    for column, what in (("model", "models"), ("version", "versions of qc_jax")):
        counts = frame[column].value_counts().sort(column).rows()
        if len(counts) > 1:
            parts = ", ".join(f"{name} ({number})" for name, number in counts)
            said.append(f"Scored with {len(counts)} {what}, whose scores need not compare: {parts}")
    gone = frame.filter(pl.col("file_now") == "gone")["name"].to_list()
    if gone:
        others = f" and {len(gone) - 5} others" if len(gone) > 5 else ""
        said.append(
            f"{len(gone)} of {frame.height} scans are not where they were scored: "
            f"{', '.join(gone[:5])}{others}"
        )
    return said


# -- Files -------------------------------------------------------------------------------------


def write_group(
    output: Path,
    records: Sequence[Record],
    participants: Participants | None = None,
    rule: Rule = Rule(),  # noqa: B008 (frozen)
    rated: Sequence[Path] = (),
) -> list[Path]:
    """Writes table, dictionary and report for every suffix among the records.

    Args:
      output: the output folder.
      records: of the scans.
      participants: see `table`.
      rule: by which scans are kept.
      rated: files and folders of ratings beside those of the output folder, see `ratings.read`.

    Returns:
      The reports.

    Raises:
      OutputError: they cannot be written, or are there and another's.
      ConfigError: ratings that are not there.
    """
    suffixes = sorted({r["suffix"] for r in records})
    people = ratings.read(output, rated)
    ownership.check_files(file for suffix in suffixes for file in _files(output, suffix))
    reports = []
    for suffix in suffixes:
        frame, notes = _joined([r for r in records if r["suffix"] == suffix], participants)
        reports.append(_write(output, suffix, _decided(frame, rule), notes, rule, people))
    return reports


def update_group(
    output: Path,
    records: Sequence[Record],
    rule: Rule = Rule(),  # noqa: B008 (frozen)
) -> list[Path]:
    """Writes the table of plain scans with these records, and as it was for the others.

    Only the records of scans that the table lacks are read, so that scoring one scan more costs the
    same whether there are ten or a hundred thousand.

    Args:
      output: the output folder.
      records: of this call.
      rule: by which all scans of the table are kept.

    Returns:
      The reports.

    Raises:
      OutputError: see `write_group`.
    """
    earlier = _earlier_table(output)
    if earlier is None:
        return write_group(output, read_records(output), rule=rule)
    ownership.check_files(_files(output, "T1w"))
    names = {e.name for e in os.scandir(output) if _PLAIN.fullmatch(e.name)}
    fresh = {r["name"]: r for r in records}
    for name in names - set(earlier["name"]) - set(fresh):
        content = record.read(output / name / f"{name}.json")
        if content is not None:
            fresh[name] = content
    kept = earlier.filter(pl.col("name").is_in(list(names - set(fresh))))
    there = pl.col("file").map_elements(os.path.exists, pl.Boolean)
    now = pl.when(there).then(pl.lit("there")).otherwise(pl.lit("gone"))
    kept = kept.with_columns(file_now=now)
    both = pl.concat([kept, table(list(fresh.values()))], how="diagonal").sort("name")
    return [_write(output, "T1w", _in_order(_decided(both, rule)), [], rule, ratings.read(output))]


def _earlier_table(output: Path) -> pl.DataFrame | None:
    """The table of an output folder of plain scans alone, or None."""
    path = output / "group_T1w.parquet"
    if not path.is_file() or not ownership.is_ours(path, "table"):
        return None
    if any(e.name.startswith("sub-") and not _PLAIN.fullmatch(e.name) for e in os.scandir(output)):
        return None
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return None
    needed = {*_LAST, "decision"}  # which tables of version 0.10 and before lack
    complete = needed <= set(frame.columns) and "participant_id" not in frame.columns
    return frame if complete else None


def _files(output: Path, suffix: str) -> list[tuple[Path, ownership.Kind]]:
    kinds: dict[str, ownership.Kind] = {
        "json": "columns",
        "parquet": "table",
        "tsv": "table",
        "html": "report",
    }
    return [(output / f"group_{suffix}.{ending}", kind) for ending, kind in kinds.items()]


def _write(
    output: Path,
    suffix: str,
    frame: pl.DataFrame,
    notes: Sequence[str],
    rule: Rule,
    people: ratings.Ratings,
) -> Path:
    frame = ratings.join(frame, people)
    said = [*notices(frame), *notes, *people.warnings, *ratings.unknown(frame, people)]
    dictionary, parquet, tsv, report = (path for path, _ in _files(output, suffix))
    described = {column: describe(column) for column in frame.columns}
    files.write_json(dictionary, described)
    files.write_whole(parquet, frame.write_parquet)
    files.write_whole(tsv, functools.partial(_write_tsv, frame))
    page = group_report.page(frame, described, tsv.name, rule, said)
    files.write_text(report, page)
    return report


def _write_tsv(frame: pl.DataFrame, path: Path) -> None:
    """With six digits; text that a spreadsheet would take for a formula is quoted."""
    text = pl.selectors.string().str.replace_all(r"[\t\r\n]+", " ").str.strip_chars()
    safe = text.map_elements(_no_formula, pl.String).replace("", None)
    rounded = pl.selectors.float().round_sig_figs(6)
    written = frame.with_columns(safe).with_columns(rounded)
    written.write_csv(path, separator="\t", null_value="n/a", quote_style="never")


def _no_formula(text: str) -> str:
    return f"'{text}" if re.match(_FORMULA, text) and not is_number(text) else text


_COLUMNS = {
    "name": ("scan", None),
    "participant_id": ("subject, as in participants.tsv", None),
    "session_id": ("session, as in sessions.tsv", None),
    "voxel_size_mm": ("edges of a voxel, from the header", "mm"),
    "matrix": ("voxels along each axis, from the header", None),
    "status": ("scored or refused", None),
    "decision": ("for measuring grey matter: keep, look (at it first) or drop", None),
    "decision_reason": ("why, with the thresholds that were asked for", None),
    "cause_named": ("whether the probable cause can be believed: true or false", None),
    "sentence": ("probable cause of the uncertainty in words, with its probability", None),
    "predicted_dice": ("predicted Dice coefficient of the grey matter; higher is better", "1"),
    "grey_matter_volume_ml": ("volume of the segmented grey matter", "mL"),
    "grey_matter_volume_error_ml": ("one standard deviation of the volume", "mL"),
    "model": ("weights that scored the scan, and the start of their SHA-256", None),
    "version": ("of qc_jax that scored the scan", None),
    "file_now": ("whether the scan was still at its path: there or gone", None),
    "warnings": ("what may make the scores doubtful", None),
    "reason": ("why a scan was refused", None),
    "file": ("path of the scan", None),
}


def describe(column: str) -> dict[str, str]:
    """The entry of a column in the data dictionary."""
    kind, _, what = column.partition("_")
    if kind == "score":
        text = f"median of the logits' variance due to {what}; lower is better"
        return {"Description": text, "Units": "logits^2"}
    if kind == "rating":
        return {"Description": f"keep, look or drop, as {what} rated it"}
    if kind == "percentile":
        text = f"percentile of score_{what} within clean reference scans; n/a: nothing found"
        return {"Description": text, "Units": "%"}
    if column in {*acquisition.TEXTS, *acquisition.NUMBERS}:
        text, units = "as in the sidecar of the scan", acquisition.NUMBERS.get(column)
        return {"Description": text} | ({"Units": units} if units else {})
    if kind == "participant" and column not in _COLUMNS:
        return {"Description": f"{what}, from participants.tsv"}
    text, units = _COLUMNS.get(column, (f"BIDS entity {column}", None))
    return {"Description": text} | ({"Units": units} if units else {})
