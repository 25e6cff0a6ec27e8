"""What to say of a scan that is not there; imports nothing that takes time."""

import os
from pathlib import Path


def why_missing(path: Path) -> str:
    """What to say of a path where nothing is."""
    target = os.readlink(path) if os.path.islink(path) else ""
    if "annex/objects" in target:
        return (
            f"{path} is not on this disk, only its place in git-annex is; get it with "
            "`datalad get` or `git annex get`"
        )
    return f"{path} does not exist" + (f", its link leads to {target}" if target else "")
