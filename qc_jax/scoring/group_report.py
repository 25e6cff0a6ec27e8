"""The report of a study: a queue to rate, distributions, outliers, and a table of all scans.

Of a few thousand scans every one is a point; of more, counts are drawn, with the furthest outliers
as points.  The table is in the page as data, so that every scan can be found.
"""

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from qc_jax.scoring import ratings, scale
from qc_jax.scoring.decision import DROP, KEEP, LOOK, Rule
from qc_jax.scoring.ownership import THUMBNAILS
from qc_jax.scoring.record_fields import DECIDING, REFUSED
from qc_jax.scoring.scan_report import TITLES, environment

_ENOUGH = 8
"""Scans from which quartiles mean something."""
_MOST = 2000
"""Scans up to which each is shown: what a browser draws and sorts without a wait."""
_OUTLIERS = 50
"""Points for the furthest outliers, where not every scan is one."""
_BINS = 60


def page(
    found: pl.DataFrame,
    described: Mapping[str, Mapping[str, str]],
    table_file: str,
    rule: Rule,
    notices: Sequence[str] = (),
) -> str:
    """The report as HTML.

    Args:
      found: see `group.table`.
      described: the data dictionary.
      table_file: name of the table beside the report.
      rule: by which the scans were decided on.
      notices: what has to be known before scans are compared, above the plots.
    """
    refused = found.filter(pl.col("status") == REFUSED)
    plotted = [name for name in found.columns if name.startswith("score_")]
    plotted += [n for n in ("predicted_dice", "grey_matter_volume_ml") if n in found.columns]
    worst_first = found.height > _MOST
    rows = _worst_first(found) if worst_first else found
    hidden = ["file", "reason", "name", "warnings", "decision_reason", "cause_named"]
    # What is the same of all scans needs no column on the page.
    hidden += [c for c in ("model", "version", "file_now") if found[c].n_unique() == 1]
    columns = [c for c in found.columns if c not in hidden and not c.startswith("percentile_")]
    return (
        environment()
        .get_template("group.html")
        .render(
            number=found.height,
            decisions={word: (found["decision"] == word).sum() for word in (KEEP, LOOK, DROP)},
            rule=rule,
            number_refused=refused.height,
            refused=refused.head(_MOST).select("name", "reason").to_dicts(),
            agreements=ratings.agreements(found),
            causes=[
                name.removeprefix("score_")
                for name in found.columns
                if name.startswith("score_") and name != "score_task"
            ],
            titles=TITLES,
            queue=found.height > refused.height,
            groupable=_groupable(found),
            worst_first=worst_first,
            data=_data(rows, columns, plotted, rule),
            columns=columns,
            plots=[_plot(name, found.select("name", name).drop_nulls()) for name in plotted],
            described=described,
            notices=notices,
            link=lambda name: urllib.parse.quote(f"{name}.html"),
            table_file=table_file,
        )
    )


def _data(
    rows: pl.DataFrame, columns: Sequence[str], plotted: Sequence[str], rule: Rule
) -> dict[str, Any]:
    """What `group.js` reads; repeated words are stored once."""
    needed = dict.fromkeys(
        ["name", "status", "decision", "decision_reason", *columns, *plotted, *_groupable(rows)]
    )
    held: dict[str, Any] = {}
    for name in needed:
        column = rows[name]
        if column.dtype.is_float():
            # Six digits, as in the table beside the page.
            column = column.round_sig_figs(6)
        if column.dtype == pl.String and column.n_unique() <= 0.5 * rows.height:
            words = column.drop_nulls().unique(maintain_order=True).to_list()
            places = {word: i for i, word in enumerate(words)}
            held[name] = {"words": words, "places": [places.get(v, -1) for v in column]}
        else:
            held[name] = column.to_list()
    axes = {name: scale.axis_of(name) for name in plotted}
    return {
        "columns": held,
        "table": columns,
        "numbers": [name for name in columns if rows[name].dtype.is_float()],
        "queue": most_doubtful_first(rows, rule),
        "axes": {
            name: {"low": axis.low, "high": axis.high, "logarithmic": axis.logarithmic}
            for name, axis in axes.items()
        },
        "thumbnails": THUMBNAILS,
    }


def most_doubtful_first(found: pl.DataFrame, rule: Rule) -> list[int]:
    """Rows of the scored scans of a table: those to look at first, and of each decision those whose
    predicted Dice coefficient lies nearest to a threshold; without one, the highest score first."""
    rows = found.with_row_index("row").filter(pl.col("status") != REFUSED)
    if "predicted_dice" in rows.columns:
        dice = pl.col("predicted_dice")
        doubt = pl.min_horizontal((dice - rule.keep_dice).abs(), (dice - rule.drop_dice).abs())
    elif "score_task" in rows.columns:
        doubt = -pl.col("score_task")
    else:  # no scan was scored
        return []
    order = (pl.col("decision") != LOOK, doubt, pl.col("name"))
    return rows.sort(*order, nulls_last=True)["row"].to_list()


def _groupable(found: pl.DataFrame) -> list[str]:
    """Columns that split the scans: of participants, of the scanner, of BIDS, and decisions."""
    measured = ("score_", "percentile_", ratings.COLUMN)
    others = {"name", "participant_id", "sentence", "decision_reason", "file", "reason", "warnings"}
    chosen = [
        name
        for name in found.columns
        if name not in others
        and not name.startswith(measured)
        and name not in DECIDING
        and found[name].drop_nulls().n_unique() > 1
        and (found[name].dtype.is_numeric() or found[name].n_unique() <= _few(name, found.height))
    ]
    people = [name for name in chosen if name.startswith("participant_")]
    return people + [name for name in chosen if name not in people]


def _few(column: str, number: int) -> float:
    """Different texts up to which a column splits so many scans.  What a study says of people is
    offered unless it is another one of each: the largest groups are drawn, the others together."""
    return number - 1 if column.startswith("participant_") else 0.5 * number


def _worst_first(found: pl.DataFrame) -> pl.DataFrame:
    if "predicted_dice" in found.columns:
        return found.sort("predicted_dice", nulls_last=True)
    if "score_task" in found.columns:
        return found.sort("score_task", descending=True, nulls_last=True)
    return found


def _plot(column: str, found: pl.DataFrame) -> dict[str, Any]:
    """A strip of points, or bars of counts with outliers; 0 to 100 on both axes.

    The axis is that of the column, whatever the study, see `scale.axis_of`; outliers are told on
    it, by the quartiles of the study, so that what is beyond an end is as far out as the end.
    """
    values = found[column].to_numpy()
    axis = scale.axis_of(column)
    positions = axis.positions(values)
    # Evenly, so that of scans with the same score as few as possible lie on one another.
    heights = np.random.default_rng(0).permutation(np.linspace(15, 85, len(values)))
    first, third = np.quantile(positions, (0.25, 0.75))
    beyond = np.maximum(positions - third, first - positions) - 1.5 * (third - first)
    outlying = (beyond > 0) & (len(values) >= _ENOUGH)
    shown, bars = np.arange(len(values)), []
    if len(values) > _MOST:
        shown = np.argsort(-beyond)[: min(_OUTLIERS, outlying.sum())]
        counts, edges = np.histogram(positions, bins=_BINS, range=(0, 100))
        bars = [
            {"x": float(x), "height": 100 * float(count / counts.max()), "count": int(count)}
            for x, count in zip(edges[:-1], counts, strict=True)
            if count
        ]
    points = [
        {
            "x": float(positions[i]),
            "y": float(heights[i]),
            "name": found["name"][int(i)],
            "value": f"{values[i]:.4g}",
            "outlier": bool(outlying[i]),
        }
        for i in shown
    ]
    return {
        "column": column,
        "title": _title(column),
        "number": len(values),
        "ticks": axis.labels(),
        "logarithmic": axis.logarithmic,
        "number_at_limit": int((values <= scale.LIMIT).sum()) if axis is scale.SCORE else 0,
        "bars": bars,
        "bar_width": 100 / _BINS,
        "points": points,
        "number_outlying": int(outlying.sum()),
        "outliers": [point["name"] for point in points if point["outlier"]],
    }


def _title(column: str) -> str:
    """Of a plot, in words."""
    kind, _, source = column.partition("_")
    if kind == "score":
        return TITLES.get(source, source)
    return {"predicted_dice": "predicted Dice", "grey_matter_volume_ml": "grey matter"}[column]
