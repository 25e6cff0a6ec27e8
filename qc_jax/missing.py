"""What to say of a scan that is not there; imports nothing that takes time."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from qc_jax.errors import ConfigError


def why_missing(path: Path) -> str:
    """What to say of a path where nothing is."""
    target = os.readlink(path) if os.path.islink(path) else ""
    if "annex/objects" in target:
        return (
            f"{path} is not on this disk, only its place in git-annex is; get it with "
            "`datalad get` or `git annex get`"
        )
    return f"{path} does not exist" + (f", its link leads to {target}" if target else "")


def refuse_where_nothing_is(arguments: Sequence[str]) -> None:
    """Looks at a command's arguments before anything that could take them apart is loaded.

    Raises:
      ConfigError: scans come first and none of them is there, nor does any other argument name
        something that is.
    """
    scans = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    if scans and not {"-h", "--help"} & set(arguments) and not any(map(os.path.exists, arguments)):
        raise ConfigError("; ".join(why_missing(Path(scan)) for scan in scans[:10]))
