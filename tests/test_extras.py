"""What is missing where no extra is installed: scoring needs none, the rest says which one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import filters

import qc_jax
from qc_jax.errors import ConfigError
from qc_jax.extras import ExtraError, extra
from qc_jax.scoring import otsu

ROOT = Path(qc_jax.__file__).parents[1]
ABSENT = ("grain", "nilearn", "skimage", "sklearn", "tensorboardX", "pandas", "distributed")


def without_extras(program: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs Python in the clone as if nothing were installed but what scoring needs."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))"
    command = [sys.executable, "-c", f"{hide}; {program}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_scan_is_scored_without_any_extra():
    done = without_extras(
        "import numpy as np, nibabel as nib, qc_jax;"
        "image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4));"
        "from qc_jax import commands, training, data;"
        "from qc_jax.scoring import bids, cluster, group, iqms, outputs, preview, study, worker;"
        "qc_jax.score(image)"
    )
    assert "qc_jax.errors.ScanError" in done.stderr  # an empty scan, and it came as far as that
    assert "ModuleNotFoundError" not in done.stderr


def test_a_command_says_which_extra_it_needs(tmp_path):
    program = "from experiments import run; sys.exit(run.main(sys.argv[1:]))"
    done = without_extras(program, f"--run-dir={tmp_path / 'run'}")
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "is missing" in done.stderr and "pip install -e '.[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_function_says_which_extra_it_needs():
    wanted = r"no_such_library is missing.*'qc_jax\[train\]'"
    with pytest.raises(ExtraError, match=wanted) as raised, extra("train"):
        import no_such_library  # noqa: F401
    assert isinstance(raised.value, ImportError) and isinstance(raised.value, ConfigError)


@pytest.mark.parametrize("seed", range(20))
def test_otsus_threshold_is_that_of_scikit_image(seed):
    rng = np.random.default_rng(seed)
    number, share = int(rng.integers(1, 5000)), rng.random()
    values = rng.normal(0, 1, number) + 4 * rng.random() * (rng.random(number) < share)
    values = values.astype(rng.choice([np.float32, np.float64]))
    assert otsu.threshold(values) == filters.threshold_otsu(values)


def test_otsus_threshold_of_one_value_is_that_value():
    assert otsu.threshold(np.full(10, 3.5)) == 3.5
