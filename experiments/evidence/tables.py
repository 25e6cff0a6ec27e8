"""The figures of `evidence.json` as tables for a terminal."""

from collections.abc import Iterator

from rich.table import Table

from experiments import decided
from experiments.evidence.intervals import Interval
from experiments.evidence.results import Evidence, OfTorchIO


def all_tables(evidence: Evidence) -> Iterator[Table]:
    """One after the other; in brackets the 95 % interval over subjects."""
    if "decoupling" in evidence:
        yield from _of_simulated_scans(evidence)
    if "torchio" in evidence:
        yield _of_torchio(evidence["torchio"])


def _of_simulated_scans(evidence: Evidence) -> Iterator[Table]:
    matrix = evidence["decoupling"]
    names = list(next(iter(matrix.values())))
    table = Table(title="AUC: artefact put in (rows) against variance read out (columns)")
    for name in ("put in", *names):
        table.add_column(name)
    for artefact, row in matrix.items():
        table.add_row(artefact, *(f"{row[name]['value']:.2f}" for name in names))
    yield table

    table = Table("put in", *names, title="Score over that of the same head's clean scan")
    for artefact, row in evidence["change"].items():
        table.add_row(artefact, *(f"{row[name]['value']:.1f}" for name in names))
    yield table

    matrix = evidence["detected"]
    sources = list(next(iter(matrix.values())))
    table = Table("put in", *sources, "cause right", "where harm was done")
    table.title = "Share of scans above 95 % of the clean reference; how often the cause is right"
    for artefact, row in matrix.items():
        shares = (f"{row[source]['value']:.2f}" for source in sources)
        right = (interval(evidence[which][artefact]) for which in ("cause", "cause_harmed"))
        table.add_row(artefact, *shares, *right)
    yield table

    table = Table("source", "own AUC", "severity", "in mixtures", "coverage", title="Each source")
    for source in sources:
        entries = (
            evidence["decoupling"][source][source],
            evidence["severity_spearman"][source],
            evidence["mixtures"][source],
            evidence["coverage"]["by_artefact"][source],
        )
        table.add_row(source, *map(interval, entries))
    yield table

    table = Table("measure", "pooled", "within subjects", title="Spearman with the Dice reached")
    for name, entry in evidence["quality_spearman"].items():
        table.add_row(name, interval(entry), interval(evidence["quality_spearman_within"][name]))
    yield table

    decisions = evidence["decisions"]
    for about, found in (("done", decisions["done"]), ("reached", decisions["reached"])):
        table = Table(f"by what was {about}", *decided.WORDS, title="For measuring grey matter")
        for name, counts in found.items():
            table.add_row(name, *map(str, counts.values()))
        yield table

    table = Table("what", "value", title="Others")
    table.add_row("Dice, clean", interval(evidence["dice_clean"]))
    table.add_row(
        "coverage of the volume's error bar, before", interval(evidence["coverage"]["before"])
    )
    table.add_row("coverage, calibrated on other subjects", interval(evidence["coverage"]["after"]))
    table.add_row(
        "task variance with severity of noise", interval(evidence["task_variance_over_noise"])
    )
    yield table


def _of_torchio(found: dict[str, OfTorchIO]) -> Table:
    table = Table("severity", *found, title="TorchIO's artefacts: Youden's index of the own source")
    for at in zip(*(entry["youden"] for entry in found.values()), strict=True):
        table.add_row(f"{at[0]['severity']:.1f}", *(f"{index['value']:.2f}" for index in at))
    table.add_section()
    table.add_row("Spearman", *(interval(entry["spearman"]) for entry in found.values()))
    return table


def interval(entry: Interval) -> str:
    """`0.93 (0.90 to 0.95)`."""
    return f"{entry['value']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"
