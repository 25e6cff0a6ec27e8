"""Everything that is asked of a GPU, in the minutes that one is at hand:

    python -m experiments.benchmarks.gpu --seconds 360 --output-dir OUT

Ours and PyTorch in turn on the same card: steps of the three stages in two sizes and precisions,
each convolution, what making the samples takes of a step, scans per second.  The most important
comes first; what the time was not enough for is named in the end.  Each result is in `gpu.json` as
soon as it is there.  `--tiny` tries everything in small on any machine.
"""

import dataclasses
import functools
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch is on the card as well

import jax.numpy as jnp
import torch
import tyro

from experiments.benchmarks import card
from experiments.benchmarks.card import Case
from experiments.benchmarks.measure import Record, compare, record_of, seconds
from qc_jax import files

_CASES = (Case(64, 32, 16, 4), Case(2, 96, 30, 5))
"""What the weights in the package were trained with, and the paper's."""
_TINY = (Case(2, 16, 4, 2),)
_STAGES = {"student": 4, "task": 0, "teacher": 1}
"""Sources of the network of each stage."""
_PAPER_STEPS = 30_000


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares training and scoring on a GPU with PyTorch and MONAI."""

    seconds: float = 360.0
    """Nothing is begun after them."""
    output_dir: Path = Path("runs/benchmarks")
    """Folder for gpu.json."""
    tiny: bool = False
    """Small networks and images, to try the script."""


def main() -> int:
    """Returns the exit code."""
    arguments = tyro.cli(Arguments, prog="python -m experiments.benchmarks.gpu")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # as jax does by default
    end = time.monotonic() + arguments.seconds
    done: list[Record] = []
    left_out: list[str] = []
    for name, measure in _measurements(arguments.tiny):
        if time.monotonic() > end:
            left_out.append(name)
            continue
        print(f"{name}: {end - time.monotonic():.0f} s left", flush=True)
        for record in measure():
            done.append(record)
            print(
                f"  {record.name}, {record.shapes}, {record.peer}: {record.ours_seconds:.4f} s, "
                f"peer {record.peer_seconds:.4f} s, ratio {record.ratio:.2f} {record.notes}",
                flush=True,
            )
            found = {"records": [dataclasses.asdict(r) for r in done]}
            files.write_json(arguments.output_dir / "gpu.json", found)
    if left_out:
        print(f"no time was left for: {', '.join(left_out)}")
    return 0


def _measurements(tiny: bool) -> Iterator[tuple[str, Callable[[], Iterator[Record]]]]:
    """Name and measurement, the most important first."""
    cases, repeats = (_TINY if tiny else _CASES), (2 if tiny else 7)
    dtypes = (jnp.bfloat16, jnp.float32)
    steps = [
        (
            f"step of the {stage}, {case}, {jnp.dtype(dtype).name}",
            functools.partial(_steps, stage, case, dtype, repeats),
        )
        for case in cases
        for dtype in dtypes
        for stage in _STAGES
    ]
    yield from steps[:3]  # as the weights in the package are trained
    yield "samples", functools.partial(_samples, tiny, repeats)
    yield "scans", functools.partial(_scans, tiny, repeats)
    yield (
        f"convolutions, {cases[0]}",
        functools.partial(_convolutions, cases[0], jnp.bfloat16, repeats),
    )
    yield from steps[3:]
    yield (
        f"convolutions, {cases[-1]}",
        functools.partial(_convolutions, cases[-1], jnp.float32, repeats),
    )


def _steps(stage: str, case: Case, dtype, repeats: int) -> Iterator[Record]:
    """A training step without its samples, against PyTorch eager and compiled."""
    peak = card.matmul_flops(dtype)
    ours, notes = card.our_step(_STAGES[stage], case, dtype)
    flops = card.step_flops(_STAGES[stage], case)
    shapes = f"{stage}, {case}, {jnp.dtype(dtype).name}"
    for compiled in (False, True):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        theirs = card.torch_step(_STAGES[stage], case, dtype, compiled)
        peer = "PyTorch, torch.compile" if compiled else "PyTorch, eager"
        record = compare("training step", peer, ours, theirs, shapes, repeats, dict(notes))
        record.notes["share_of_peak"] = float(flops / record.ours_seconds / peak)
        record.notes["paper_hours"] = float(_PAPER_STEPS * record.ours_seconds / 3600)
        if torch.cuda.is_available():
            record.notes["peer_megabytes"] = torch.cuda.max_memory_allocated() / 2**20
        yield record


def _samples(tiny: bool, repeats: int) -> Iterator[Record]:
    """Making the samples of a student's step, against the step as a whole."""
    make, step = card.samples_and_step(tiny)
    first = seconds(make), seconds(step)
    times = [(seconds(make), seconds(step)) for _ in range(repeats)]
    yield record_of("samples", "the whole step", times, "preset gpu, student", first)


def _scans(tiny: bool, repeats: int) -> Iterator[Record]:
    """A scan through the weights in the package, against MONAI's inferer with the same U-Net."""
    whole, network, peer = card.scoring_calls(tiny)
    if importlib.util.find_spec("monai") is None:
        print("  MONAI is not installed: no peer for scoring")
    else:
        yield compare(
            "network over a scan", "MONAI SlidingWindowInferer", network, peer, "", repeats
        )
    first = seconds(whole), seconds(network)
    times = [(seconds(whole), seconds(network)) for _ in range(repeats)]
    yield record_of("a scan, all of it", "its network alone", times, "", first)


def _convolutions(case: Case, dtype, repeats: int) -> Iterator[Record]:
    """Forward, and the gradients for input and kernel, of each convolution of a network."""
    peak = card.matmul_flops(dtype)
    for size, channels, width in card.layers_of(case):
        flops = 54.0 * case.batch * size**3 * channels * width
        for name, ours, theirs in card.convolution(case.batch, size, channels, width, dtype):
            shapes = f"{case.batch} x {size}^3, {channels} -> {width}, {jnp.dtype(dtype).name}"
            record = compare(f"convolution, {name}", "PyTorch", ours, theirs, shapes, repeats)
            record.notes["share_of_peak"] = float(flops / record.ours_seconds / peak)
            yield record


if __name__ == "__main__":
    sys.exit(main())
