"""A certificate and dask's configuration for it, as docs/clusters.md says."""

import os
import re
import subprocess
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"


def make(home: Path, configuration: Path) -> None:
    """Runs the commands of the page for a user with this home, and writes `distributed.yaml` into
    a folder of dask's configuration."""
    subprocess.run(
        ["bash", "-ec", _block("sh", "openssl")],
        env=os.environ | {"HOME": str(home)}, cwd=home, check=True, capture_output=True,
    )  # fmt: skip
    text = _block("yaml", "require-encryption").replace("HOME", str(home))
    (configuration / "distributed.yaml").write_text(text)


def _block(language: str, word: str) -> str:
    """The code block of the page that contains a word."""
    blocks = re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    return next(block for block in blocks if word in block)
