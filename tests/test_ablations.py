"""The ablations: what differs, and which networks are shared."""

import dataclasses
import json

import pytest

from experiments import ablations


def test_each_variant_changes_fields_of_the_configuration_and_nothing_else():
    first = dataclasses.asdict(ablations.config_of(ablations.FIRST, 10, 2))
    for name, changes in ablations.VARIANTS.items():
        config = dataclasses.asdict(ablations.config_of(name, 10, 2))
        differing = {field for field in config if config[field] != first[field]}
        assert differing == set(changes), name
    assert first["steps_student"] == 20 and first["evaluation_draws"] == 2
    assert len({ablations.folder_name(name) for name in ablations.VARIANTS}) == len(
        ablations.VARIANTS
    )


@pytest.mark.parametrize(
    ("variant", "shared"),
    [
        ("L1 in the student, as in Eq. 7", {"task", "teachers"}),
        ("no L_grad", {"task"}),
        ("epsilon fixed", set()),
    ],
)
def test_networks_that_a_variant_does_not_concern_are_taken_over(tmp_path, variant, shared):
    first, folder = tmp_path / "first", tmp_path / "variant"
    for stage in ("task/7", "teachers/blur/7", "student/7"):
        (first / stage).mkdir(parents=True)
    entries = {"task": {"dice": 0.8}, "teachers": {"blur": {"auc": 0.9}}, "student": {"dice": 0.7}}
    (first / "summary.json").write_text(json.dumps(entries))
    ablations.take_over(first, folder, set(ablations.VARIANTS[variant]))
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert found == (shared | {"summary.json"} if shared else set())
    if shared:
        summary = json.loads((folder / "summary.json").read_text())
        assert summary == {stage: entries[stage] for stage in shared}


def test_a_variant_that_there_is_not_is_refused(capsys):
    assert ablations.main(["--variants", "magic"]) == 2
    assert "no variant 'magic'" in capsys.readouterr().err
