"""The figures of real heads on one screen, and in full as Markdown."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.table import Table

from experiments import decided
from experiments.real_heads.measuring import Row
from experiments.real_heads.people import Interval
from experiments.real_heads.summary import WAYS

INTERVAL = (
    "in brackets: 95 % intervals over people, Student's t of each person's mean, of shares "
    "Korn and Graubard's"
)
PEERS = (
    "best threshold of the other people; for comparison: networks that learnt from labels of "
    "quality 0.83 to 0.97, MRIQC at most 0.15 for faint ghosting and noise "
    "(10.1101/2025.10.31.25339144)"
)
_NOTHING = "-"
_ABOUT = {"done": "group of versions", "reached": "Dice coefficient reached"}
"""What decisions are counted by."""


def said(entry: Interval) -> str:
    """`0.93 (0.90 to 0.95)`; without interval for a single person."""
    if not entry["n"] or entry["value"] != entry["value"]:
        return _NOTHING
    value = f"{entry['value']:.2f}"
    if entry["low"] != entry["low"]:
        return value
    return f"{value} ({entry['low']:.2f} to {entry['high']:.2f})"


def counted(counts: dict[str, int]) -> str:
    """`none 3, blur 1`."""
    return ", ".join(f"{name} {number}" for name, number in counts.items())


# -- One screen ------------------------------------------------------------------------------------


def screen(summary: dict[str, Any]) -> Table:
    """The figures that matter, one a line."""
    caption = INTERVAL
    if "torchio" in summary:
        caption += f"; TorchIO: 1 - P(none), and predicted Dice, at the {PEERS}"
    table = Table(title="Real heads", caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    table.add_column("of", justify="right", no_wrap=True)
    table.add_column("")
    for section in (_causes, _clean, _harmless, _local, _uncovered, _quality, _peers):
        for what, entry, remark in section(summary):
            table.add_row(what, said(entry), str(entry["n"] or ""), remark)
        table.add_section()
    return table


_Line = tuple[str, Interval, str]


def _causes(summary: dict[str, Any]) -> Iterator[_Line]:
    for kind, found in summary.get("kinds", {}).items():
        what = "harm done: cause right" if kind == "all" else f"  {kind}"
        taken = "" if kind == "all" else counted(found["taken_for"])
        two = found["as_one_of_two"]
        yield what, found["right_of_harmful"], f"of two {two}" if kind == "all" and two else taken


def _clean(summary: dict[str, Any]) -> Iterator[_Line]:
    for name, found in summary["clean"].items():
        if name != "all":
            not_named = found["not_named"]["value"]
            remark = counted(found["taken_for"])
            remark += f"{'; ' if remark else ''}no answer {not_named:.2f}" if not_named else ""
            yield f"clean {name}: artefact named", found["accused"], remark


def _harmless(summary: dict[str, Any]) -> Iterator[_Line]:
    found = summary.get("harmless", {}).get("all")
    if found:
        taken = counted(found["taken_for"])
        yield "harmless step changes cause", found["changed"], taken


def _local(summary: dict[str, Any]) -> Iterator[_Line]:
    found = summary.get("local", {}).get("all")
    if found:
        yield "local damage: AUC of own map", found["own_auc"], ""
        yield "  of the total variance", found["total_auc"], ""
        yield "  cause right", found["right_of_all"], counted(found["taken_for"])
        yield "  where harm is done", found["right_of_harmful"], ""


def _uncovered(summary: dict[str, Any]) -> Iterator[_Line]:
    found = summary.get("uncovered", {}).get("all")
    if found:
        yield "damage of no source: one named", found["accused"], counted(found["taken_for"])
        yield "  fall of the predicted Dice", found["fall"], ""
        yield "  Dice with clean version lost", found["harm"], ""


def _quality(summary: dict[str, Any]) -> Iterator[_Line]:
    for name in ("clean", "spoilt"):
        if name in summary["dice"]:
            found = summary["dice"][name]
            remark = f"predicted {found['predicted']['value']:.2f}"
            yield f"Dice reached, {name}", found["reached"], remark
            yield "  error of the prediction", found["error"], ""
    if "spoilt" in summary["volume"]:
        yield "volume within its error bar", summary["volume"]["spoilt"], ""


def _peers(summary: dict[str, Any]) -> Iterator[_Line]:
    for transform, found in summary.get("torchio", {}).items():
        if transform != "mean":
            ways = found["all"]
            remark = f"by Dice {ways['predicted_dice']['others']['value']:.2f}"
            if "faint" in found:
                remark += f"; faint {found['faint']['doubt']['others']['value']:.2f}"
            yield f"TorchIO {transform}: Youden", ways["doubt"]["others"], remark


# -- All of it -------------------------------------------------------------------------------------


_COLUMNS = {
    "clean": {"an artefact named": "accused", "no answer": "not_named"},
    "kinds": {"right where harm is done": "right_of_harmful", "right": "right_of_all"},
    "local": {
        "AUC of the own map": "own_auc",
        "of the total variance": "total_auc",
        "right where harm is done": "right_of_harmful",
        "right": "right_of_all",
    },
    "harmless": {
        "cause changed": "changed",
        "an artefact named": "accused",
        "Dice kept": "kept_dice",
    },
    "uncovered": {
        "an artefact named": "accused",
        "predicted Dice falls by": "fall",
        "Dice lost": "harm",
    },
}
"""Of the table of a group of versions, and what of its summary they hold."""
_TITLES = {
    "clean": "Clean heads",
    "kinds": "The whole head is spoilt",
    "local": "A part of the head is spoilt",
    "harmless": "What pipelines do",
    "uncovered": "Damage of no source",
}


def markdown(summary: dict[str, Any], rows: Sequence[Row]) -> str:
    """Every figure, as tables of Markdown."""
    parts = [f"{INTERVAL[0].upper()}{INTERVAL[1:]}.", *_heads(rows)]
    for section, names in _COLUMNS.items():
        if section in summary:
            lines = [
                [
                    kind,
                    *(_with_number(found[key]) for key in names.values()),
                    counted(found["taken_for"]),
                ]
                for kind, found in summary[section].items()
            ]
            parts += _table(_TITLES[section], ["", *names, "taken for"], lines)
    lines = [
        [name, *(_with_number(found[key]) for key in ("reached", "predicted", "error"))]
        for name, found in summary["dice"].items()
    ]
    parts += _table("Dice coefficients", ["", "reached", "predicted", "absolute error"], lines)
    for about, found in summary["decisions"].items():
        parts += _table(f"Decisions, by the {_ABOUT[about]}", ["", *decided.WORDS], _counts(found))
    lines = [[name, _with_number(found)] for name, found in summary["volume"].items()]
    parts += _table("Volume within its error bar", ["", "share"], lines)
    if "torchio" in summary:
        parts += _markdown_of_peers(summary["torchio"])
    return "\n".join(parts) + "\n"


def _counts(found: dict[str, decided.Counts]) -> list[list[str]]:
    return [[name, *map(str, counts.values())] for name, counts in found.items()]


def _markdown_of_peers(found: dict[str, Any]) -> list[str]:
    lines = [
        [transform, severities]
        + [said(index[way][at]) for way in ("doubt", "predicted_dice") for at in ("others", "best")]
        for transform, parts in found.items()
        if transform != "mean"
        for severities, index in parts.items()
    ]
    lines.append(["mean", "all"])
    for way in WAYS:
        lines[-1] += [f"{found['mean'][way]:.2f}", ""]
    names = ["1 - P(none)", "best", "predicted Dice", "best"]
    table = _table("TorchIO's transforms: Youden's index", ["", "severities", *names], lines)
    return [*table, "", f"At the {PEERS}."]


def _heads(rows: Sequence[Row]) -> list[str]:
    lines = [
        [
            row.head,
            "brain" if row.stripped else "whole",
            row.answer,
            f"{row.predicted_dice:.2f}",
            _NOTHING if row.dice is None else f"{row.dice:.2f}",
            f"{row.volume:.0f} ± {row.volume_error:.0f}",
        ]
        for row in rows
        if row.group == "clean"
    ]
    names = ["head", "", "cause", "Dice predicted", "reached", "grey matter (mL)"]
    return _table("Heads as they are", names, lines)


def _with_number(entry: Interval) -> str:
    return f"{said(entry)}, n = {entry['n']}" if entry["n"] else _NOTHING


def _table(title: str, names: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    if not lines:
        return []
    rows = [names, ["---"] * len(names), *lines]
    return ["", f"### {title}", "", *("| " + " | ".join(row) + " |" for row in rows)]
