"""The description of the command for Boutiques: valid, and of options that there are."""

import dataclasses
import json
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import qc_jax
from qc_jax import commands

DESCRIPTOR = Path(__file__).parents[1] / "containers" / "boutiques.json"
BOSH = Path(sys.executable).with_name("bosh")


@pytest.fixture
def described():
    return json.loads(DESCRIPTOR.read_text())


def test_bosh_finds_it_valid():
    done = subprocess.run([BOSH, "validate", DESCRIPTOR], capture_output=True, text=True)
    assert done.returncode == 0 and "OK" in done.stdout, done.stdout + done.stderr


def test_it_is_of_this_version_and_its_options_are_those_of_the_command(described):
    assert described["tool-version"] == qc_jax.__version__
    fields = {field.name: field for field in dataclasses.fields(commands.Study)}
    for given in described["inputs"]:
        field = fields[given["id"]]
        flag = given.get("command-line-flag")
        assert flag in (None, "--" + field.name.replace("_", "-"))
        if "value-choices" in given:
            kind = typing.get_type_hints(commands.Study)[field.name]
            assert tuple(given["value-choices"]) == typing.get_args(kind)


def test_the_command_that_bosh_makes_is_understood(tmp_path):
    asked = {
        "bids_dir": str(tmp_path),
        "output_dir": str(tmp_path / "out"),
        "analysis_level": "participant",
        "participant_label": ["01", "02"],
        "maps": "cause",
    }
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    command = [BOSH, "exec", "simulate", DESCRIPTOR, "-i", tmp_path / "asked.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    expected = f"qc-jax {tmp_path} {tmp_path}/out participant --participant-label 01 02"
    assert expected in done.stdout and "--maps cause" in done.stdout, done.stdout + done.stderr
