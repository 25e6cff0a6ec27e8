"""The page of a large study in a browser: `python -m experiments.benchmarks.study_page`.

Needs chromium, chromedriver and selenium.
"""

import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro

from experiments.benchmarks.study import generated
from qc_jax.scoring import group


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Writes the page of so many generated records, and measures what one waits for in it."""

    scans: int = 50_000
    """Rows of its table."""


_CLICK = """
var begun = performance.now();
var heads = Array.from(document.querySelectorAll("#scans th button"));
heads.find(head => head.textContent === arguments[0]).click();
document.body.offsetHeight;
return performance.now() - begun;
"""
_TYPE = """
var begun = performance.now(), field = document.getElementById("filter");
field.value = arguments[0];
field.dispatchEvent(new Event("input"));
document.body.offsetHeight;
return performance.now() - begun;
"""


def main() -> int:
    """Returns the exit code: 1 where a scan was not found."""
    arguments = tyro.cli(Arguments, prog="python -m experiments.benchmarks.study_page")
    rng = np.random.default_rng(0)
    made = [generated(rng, i, refused=i % 100 == 0) for i in range(arguments.scans)]
    with tempfile.TemporaryDirectory() as name:
        (report,) = group.write_group(Path(name), made)
        return _measure(report, [record["name"] for record in made])


def _measure(report: Path, names: list[str]) -> int:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        begun = time.monotonic()
        browser.get(report.as_uri())
        print(f"{len(names)} rows, {report.stat().st_size / 2**20:.1f} MB: ", end="")
        print(f"opened in {time.monotonic() - begun:.1f} s")
        for column in ("scan", "participant_id", "score_task", "predicted_dice", "decision"):
            there, back = (browser.execute_script(_CLICK, column) for _ in range(2))
            print(f"sorted by {column}: {there / 1000:.2f} s, back {back / 1000:.2f} s")
        found = 0
        for name in np.random.default_rng(1).choice(names, 20, replace=False).tolist():
            milliseconds = browser.execute_script(_TYPE, name)
            rows = browser.find_elements("css selector", "#scans tbody tr")
            found += len(rows) == 1 and rows[0].text.startswith(name)
        print(f"one scan of all: {milliseconds / 1000:.2f} s; found {found} of 20")
    finally:
        browser.quit()
    return 0 if found == 20 else 1


if __name__ == "__main__":
    sys.exit(main())
