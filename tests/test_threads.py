"""XLA's threads: more than cores, unless the user says how many."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "expected"), [(None, max(8, os.cpu_count() or 1)), ("3", 3)])
def test_xla_gets_enough_threads_for_transforms_side_by_side(given, expected):
    environment = {k: v for k, v in os.environ.items() if k != "PJRT_NPROC"}
    if given:
        environment["PJRT_NPROC"] = given
    code = "import os, qc_jax; print(os.environ['PJRT_NPROC'])"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(found.stdout) == expected
