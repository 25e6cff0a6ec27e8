"""A study as one table of all records, with its data dictionary.

    OUTPUT/group_<suffix>.tsv       one row for each scan, refused ones with empty scores
    OUTPUT/group_<suffix>.json      what the columns mean
    OUTPUT/group_<suffix>.parquet   the same table, typed
    OUTPUT/group_<suffix>.html      see `group_report`

The suffix is that of BIDS, `T1w` for plain files.
"""

import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from qc_jax.errors import ConfigError, OutputError
from qc_jax.scoring import group_report, outputs

_FORMULA = r"^[=+\-@]"
_NUMBERS = ("predicted_dice", "grey_matter_volume_ml", "grey_matter_volume_error_ml")


def read_records(output: Path) -> list[dict[str, Any]]:
    """Every record below an output folder, by name.

    Raises:
      ConfigError: there is none.
    """
    records = {}
    for path in _possible_records(output):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("status") in (
            outputs.SCORED,
            outputs.REFUSED,
        ):
            records[content["name"]] = content
    if not records:
        raise ConfigError(f"{output} holds no scored scans; run the participant level first")
    return [records[name] for name in sorted(records)]


def _possible_records(output: Path) -> Iterator[Path]:
    """JSON files that are not the sidecar of a map: of a dozen files a scan, the one to open."""
    for folder, _, names in os.walk(output):
        maps = {name.removesuffix(".nii.gz") for name in names if name.endswith(".nii.gz")}
        for name in names:
            if name.endswith(".json") and not name.startswith(".") and name[:-5] not in maps:
                yield Path(folder, name)


def table(records: Sequence[dict[str, Any]], participants: pl.DataFrame | None = None):
    """The records as a table, one row each, numbers as Float64 and the rest as String.

    Args:
      records: see `outputs.record_of`.
      participants: see `read_participants`; its columns come before those on the file.
    """
    rows = [_row(record) for record in records]
    columns = dict.fromkeys(name for row in rows for name in row)
    schema = {name: pl.Float64 if _is_number(name) else pl.String for name in columns}
    found = pl.from_dicts(rows, schema=schema)
    if participants is not None and "sub" in found.columns:
        found = found.join(participants, on="sub", how="left", maintain_order="left")
    last = ("warnings", "reason", "file")
    return found.select(*(name for name in found.columns if name not in last), *last)


def _is_number(column: str) -> bool:
    return column.startswith(("score_", "percentile_")) or column in _NUMBERS


def _row(record: dict[str, Any]) -> dict[str, Any]:
    row = {"name": record["name"], **record["entities"], "status": record["status"]}
    if record["status"] == outputs.SCORED:
        row |= {key: record[key] for key in ("sentence", *_NUMBERS) if key in record}
        row |= {f"score_{name}": value for name, value in record["scores"].items()}
        row |= {f"percentile_{name}": v for name, v in record.get("percentiles", {}).items()}
    row |= {
        "warnings": "; ".join(record["warnings"]),
        "reason": record["reason"],
        "file": record["file"],
    }
    # A name that is no UTF-8 can stand in a record, but in no table.
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in row.items()
    }


def read_participants(bids_folder: Path) -> pl.DataFrame | None:
    """The columns of a study's `participants.tsv`, by `sub`; None where there is no such file.

    Raises:
      ConfigError: it is no table with one row for each `participant_id`.
    """
    path = bids_folder / "participants.tsv"
    if not path.is_file():
        return None
    try:
        found = pl.read_csv(path, separator="\t", null_values="n/a", infer_schema=False)
        subjects = found["participant_id"].str.strip_prefix("sub-")
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read ({reason}); it has to be a table with tabs and a column "
            "participant_id"
        ) from error
    if subjects.is_duplicated().any():
        twice = subjects.filter(subjects.is_duplicated())[0]
        raise ConfigError(f"{path} has more than one row for sub-{twice}; leave one")
    others = found.drop("participant_id")
    return others.rename(lambda name: f"participant_{name}").with_columns(sub=subjects)


def write_group(
    output: Path, records: Sequence[dict[str, Any]], participants: pl.DataFrame | None = None
) -> list[Path]:
    """Writes table, dictionary and report for every suffix among the records.

    Returns:
      The reports.

    Raises:
      OutputError: they cannot be written.
    """
    reports = []
    for suffix in sorted({record["suffix"] for record in records}):
        found = table([r for r in records if r["suffix"] == suffix], participants)
        name = f"group_{suffix}"
        described = {column: describe(column) for column in found.columns}
        outputs.write_json(output / f"{name}.json", described)
        page = group_report.page(found, described, f"{name}.tsv")
        try:
            outputs.write_whole(output / f"{name}.parquet", found.write_parquet)
            outputs.write_whole(output / f"{name}.tsv", functools.partial(_write_tsv, found))
            outputs.write_whole(
                output / f"{name}.html",
                functools.partial(Path.write_text, data=page, encoding="utf-8"),
            )
        except OSError as error:
            raise OutputError(f"{output} cannot be written ({error.strerror})") from error
        reports.append(output / f"{name}.html")
    return reports


def _write_tsv(found: pl.DataFrame, path: Path) -> None:
    """With six digits; text that a spreadsheet would take for a formula is quoted."""
    text = pl.selectors.string().str.replace_all(r"[\t\r\n]+", " ").str.strip_chars()
    safe = text.str.replace(_FORMULA, "'${0}").replace("", None)
    rounded = pl.selectors.float().round_sig_figs(6)
    written = found.with_columns(safe).with_columns(rounded)
    written.write_csv(path, separator="\t", null_value="n/a", quote_style="never")


_COLUMNS = {
    "name": ("scan", None),
    "sub": ("subject", None),
    "ses": ("session", None),
    "status": ("scored or refused", None),
    "sentence": ("probable cause of the uncertainty in words, with its probability", None),
    "predicted_dice": ("predicted Dice coefficient of the grey matter; higher is better", "1"),
    "grey_matter_volume_ml": ("volume of the segmented grey matter", "mL"),
    "grey_matter_volume_error_ml": ("one standard deviation of the volume", "mL"),
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
    if kind == "percentile":
        text = f"percentile of score_{what} within clean reference scans; lower is better"
        return {"Description": text, "Units": "%"}
    if kind == "participant":
        return {"Description": f"{what}, from participants.tsv"}
    text, units = _COLUMNS.get(column, (f"BIDS entity {column}", None))
    return {"Description": text} | ({"Units": units} if units else {})
