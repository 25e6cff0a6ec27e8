"""The container as a cluster runs it: another user, nothing to write to but the output, no network.

The image has to be there under the name qc_jax, see docs/clusters.md.
"""

import os
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest

import qc_jax
from qc_jax.scoring import group

USER = 1234


def missing() -> str:
    if shutil.which("podman") is None:
        return "podman is not installed"
    found = subprocess.run(["podman", "image", "exists", "qc_jax"], check=False)
    return "" if found.returncode == 0 else "no image qc_jax: build it as docs/clusters.md says"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture
def place(tmp_path, head):
    for index in range(2):
        path = tmp_path / "bids" / f"sub-{index}" / "anat" / f"sub-{index}_T1w.nii"
        path.parent.mkdir(parents=True)
        image = nib.Nifti1Image((1000 * head + index).astype(np.int16), np.diag([8.0, 8, 8, 1]))
        path.write_bytes(image.to_bytes())
    (tmp_path / "out").mkdir()
    if os.geteuid() == 0:
        shutil.chown(tmp_path / "out", USER, USER)
    return tmp_path


def call(place, *arguments, mode="rw", more=()) -> tuple[int, str]:
    """Exit code, and what was said."""
    user = [f"--user={USER}:{USER}"] if os.geteuid() == 0 else ["--userns=keep-id"]
    folders = ["-v", f"{place}/bids:/data:ro", "-v", f"{place}/out:/out:{mode}"]
    command = ["podman", "run", "--rm", "--read-only", "--network=none", *user, *folders, *more]
    done = subprocess.run(
        [*command, "qc_jax", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_study_in_a_container(place):
    assert call(place, "--version") == (0, f"qc_jax {qc_jax.__version__}\n")
    code, said = call(place, "/data", "/out", "participant", "--maps", "none")
    assert code == 0, said
    assert [made["status"] for made in group.read_records(place / "out")] == ["scored"] * 2
    code, said = call(place, "/data", "/out", "group")
    assert code == 0 and (place / "out" / "group_T1w.html").exists(), said
    code, said = call(place, "/data", "/out", "participant", "--participant-label", "99")
    assert code == 2 and "99" in said
    for line in said.splitlines():
        assert "Traceback" not in line and "Warning" not in line


def test_without_a_folder_for_temporary_files_one_is_asked_for(place):
    code, said = call(place, "/data", "/out", "participant", more=("--read-only-tmpfs=false",))
    assert code == 2 and "--tmpfs /tmp" in said and len(said.splitlines()) == 1, said


def test_an_output_that_cannot_be_written_is_one_sentence(place):
    code, said = call(place, "/data", "/out", "participant", mode="ro")
    assert code == 4 and said.startswith("error: ") and len(said.splitlines()) == 1, said


def test_a_container_with_too_little_memory_refuses_the_scan(place):
    options = ("--maps", "none", "--participant-label", "0")
    more = ("--memory=600m",)
    code, said = call(place, "/data", "/out", "participant", *options, more=more)
    assert code == 1 and "of memory (--memory-limit)" in " ".join(said.split()), said
