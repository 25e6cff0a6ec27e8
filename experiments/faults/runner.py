"""All faults, one kind after the other, and the promises that they break."""

import logging
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from experiments.faults import scoring, study, tiny, training
from qc_jax import files

if TYPE_CHECKING:
    from experiments.faults.__main__ import Arguments


def run(chosen: "Arguments") -> int:
    """Tries all of it, writes and prints what happened; 1 where a promise was broken."""
    logging.getLogger("nibabel.global").disabled = True  # of headers that are wrong on purpose
    console, figures = Console(stderr=True), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, head = tiny.write_model(folder / "model" / "student.safetensors"), tiny.make_head()
        parts = {
            "corpus": lambda at: scoring.score_corpus(at, head, model),
            "headers": lambda at: scoring.fuzz_headers(at, head),
            "study": lambda at: study.try_situations(at, head, model),
            "many": lambda at: scoring.score_many(
                at, head, model, chosen.scans, chosen.scans // 10
            ),
            "scoring_killed": lambda at: scoring.kill_scoring(
                at, head, model, 6, range(chosen.scoring_kills)
            ),
            "training_killed": lambda at: training.disturb(at, range(chosen.kills), signal.SIGKILL),
            "training_stopped": lambda at: training.disturb(
                at, range(chosen.stops), signal.SIGTERM
            ),
            "bits_flipped": lambda at: training.flip_bits(
                folder / "training_killed" / "reference", chosen.flips
            ),
        }
        for name, part in parts.items():
            (folder / name).mkdir()
            with console.status(name.replace("_", " ")):
                figures[name] = part(folder / name)
            console.print(f"{name.replace('_', ' ')} done")
            files.write_json(Path(chosen.output), figures)
    broken = _broken(figures)
    table = Table("what", "figure", title="Faults")
    for name, found in figures.items():
        for key, value in found.items():
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            table.add_row(f"{name.replace('_', ' ')}: {key.replace('_', ' ')}", text)
    Console().print(table)
    for promise in broken:
        print(f"broken: {promise}", file=sys.stderr)
    return 1 if broken else 0


def _broken(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The promises of docs/reliability.md that did not hold."""
    corpus, many, headers = figures["corpus"], figures["many"], figures["headers"]
    killed, flips = figures["scoring_killed"], figures["bits_flipped"]
    promises = {
        "every bad scan is refused for its reason, every awkward one scored": not corpus["wrong"],
        "every input has one record": corpus["records_lost"] == 0,
        "what surrounds the scans of a study is as promised": not figures["study"]["wrong"],
        "some refused, the others scored: exit code 1": corpus["exit_code"] == 1,
        "no header raises anything but a refusal": headers["other"] == 0,
        "a study has a record for every scan": many["records"] == many["scans"],
        "a killed scoring leaves no half record and completes": killed["half_records"] == 0
        and killed["wrong"] == 0,
        "every flipped bit is noticed": flips["noticed"] == flips["flips"],
    }
    for name in ("training_killed", "training_stopped"):
        found = figures[name]
        promises[f"{name.replace('_', ' ')}: same weights at the end"] = (
            found["resumed"] == found["runs"] and not found["wrong"]
        )
    return [promise for promise, held in promises.items() if not held]
