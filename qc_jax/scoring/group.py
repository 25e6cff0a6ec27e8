"""A study at a glance: one table of all records with its data dictionary, and a report.

OUTPUT/group_T1w.tsv     one row for each scan, refused ones with empty scores
OUTPUT/group_T1w.json    what the columns mean
OUTPUT/group_T1w.html    distributions, outliers, sortable table
"""

import csv
import io
import json
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc_jax.errors import ConfigError, OutputError
from qc_jax.scoring import outputs
from qc_jax.scoring.scan_report import environment

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENOUGH = 8
"""Scans from which quartiles mean something."""


def read_records(output: Path) -> list[dict[str, Any]]:
    """Every record below an output folder, by name.

    Raises:
      ConfigError: there is none.
    """
    records = {}
    for path in sorted(output.rglob("*.json")):
        if path.name.startswith("."):
            continue
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


def write_group(output: Path, records: Sequence[dict[str, Any]]) -> None:
    """Writes table, dictionary and report.

    Raises:
      OutputError: they cannot be written.
    """
    rows = [_row(record) for record in records]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, delimiter="\t", lineterminator="\n", restval="n/a")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    outputs.write_json(output / "group_T1w.json", {name: _describe(name) for name in columns})
    names = _score_names(records)
    table = [*(f"score_{name}" for name in names), "predicted_dice", "grey_matter_volume_ml"]
    plots = [_plot(name, rows) for name in table if any(name in row for row in rows)]
    page = (
        environment()
        .get_template("group.html")
        .render(
            records=records,
            rows=rows,
            columns=[c for c in columns if c not in ("file", "reason", "name", "warnings")],
            plots=plots,
            describe=_describe,
            link=lambda name: urllib.parse.quote(f"{name}.html"),
            refused=[record for record in records if record["status"] == outputs.REFUSED],
        )
    )
    try:
        for name, content in (("group_T1w.tsv", buffer.getvalue()), ("group_T1w.html", page)):
            partial = output / f".{name}"
            partial.write_text(content, encoding="utf-8", errors="backslashreplace")
            partial.replace(output / name)
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror})") from error


def _score_names(records: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.get("scores", {})))


def _row(record: dict[str, Any]) -> dict[str, Any]:
    row = {"name": record["name"], **record["entities"], "status": record["status"]}
    if record["status"] == outputs.SCORED:
        row |= {
            key: record[key]
            for key in (
                "sentence",
                "predicted_dice",
                "grey_matter_volume_ml",
                "grey_matter_volume_error_ml",
            )
            if key in record
        }
        row |= {f"score_{name}": value for name, value in record["scores"].items()}
        row |= {f"percentile_{name}": v for name, v in record.get("percentiles", {}).items()}
    return row | {
        "warnings": "; ".join(record["warnings"]),
        "reason": record["reason"],
        "file": record["file"],
    }


def _cell(value: Any) -> str:
    """Text for a table; what a spreadsheet would take for a formula is quoted."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split()) if any(c in str(value) for c in "\t\r\n") else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text or "n/a"


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


def _describe(column: str) -> dict[str, str]:
    kind, _, source = column.partition("_")
    if kind == "score":
        text = f"geometric mean of the logits' variance due to {source}; lower is better"
        return {"Description": text, "Units": "logits^2"}
    if kind == "percentile":
        text = f"percentile of score_{source} within clean reference scans; lower is better"
        return {"Description": text, "Units": "%"}
    text, units = _COLUMNS.get(column, (f"BIDS entity {column}", None))
    return {"Description": text} | ({"Units": units} if units else {})


def _plot(column: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Points of a strip plot, 0 to 100 on both axes; scores on a logarithmic axis."""
    chosen = [row for row in rows if column in row]
    values = np.array([row[column] for row in chosen], float)
    logarithmic = column.startswith("score_")
    axis = np.log(np.maximum(values, np.finfo(float).tiny)) if logarithmic else values
    low, high = axis.min(), axis.max()
    positions = 50 + 0 * axis if high == low else 3 + 94 * (axis - low) / (high - low)
    heights = 50 + 30 * np.random.default_rng(0).uniform(-1, 1, len(values))
    first, third = np.quantile(axis, (0.25, 0.75))
    reach = 1.5 * (third - first)
    outlying = (axis > third + reach) | (axis < first - reach)
    if len(values) < _ENOUGH:
        outlying[:] = False
    return {
        "column": column,
        "low": f"{values.min():.3g}",
        "high": f"{values.max():.3g}",
        "logarithmic": logarithmic,
        "points": [
            {"x": x, "y": y, "name": row["name"], "value": f"{v:.4g}", "outlier": bool(o)}
            for x, y, row, v, o in zip(
                positions.tolist(), heights.tolist(), chosen, values, outlying, strict=True
            )
        ],
        "outliers": [row["name"] for row, o in zip(chosen, outlying, strict=True) if o],
    }
