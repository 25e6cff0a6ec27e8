"""`qc-jax watch`: scores the scans that arrive in a folder, for a scanner room."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import tyro

from qc_jax import commands
from qc_jax.errors import ConfigError
from qc_jax.terminal import note


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watch(commands.Common):
    """Scores the scans that arrive in a folder, as score does, until it is stopped."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Where scans arrive, at any depth."""
    output_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("qc_jax_output")
    """Folder for the outputs, not within FOLDER."""
    every: float = 10.0
    """Seconds between two looks; a scan that has not changed from one to the next is whole."""


def run(arguments: Watch) -> int:
    """Looks, scores and looks again; ends by a signal.

    Raises:
      ConfigError: the folder cannot be watched.
    """
    from qc_jax.scoring import incoming, jobs

    folder, output = arguments.folder, arguments.output_dir
    if not 0 < arguments.every <= 3600:
        raise ConfigError(f"--every {arguments.every:g}: above 0 and up to 3600 seconds are meant")
    if output.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{output} lies in {folder}, where scans arrive; name another folder")
    before = incoming.look(folder)
    note(f"waiting for scans in {folder}; Ctrl-C ends it")
    while True:
        time.sleep(arguments.every)
        now = incoming.look(folder)
        arrived = jobs.plain_jobs(incoming.whole(now, before))
        fresh = incoming.without_record(arrived, output)
        if fresh:
            commands.score_plain(fresh, arguments, output)
        before = now
