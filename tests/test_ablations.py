"""The ablations: what differs, and which networks are shared."""

import dataclasses
import json

from experiments import ablations, limits, presets
from qc_jax.training import plateau


def test_each_variant_changes_one_field_of_the_configuration():
    first = ablations.config_of(ablations.FIRST, 10, 2)
    shipped = limits.leaves(first)
    for name in ablations.VARIANTS:
        config = limits.leaves(ablations.config_of(name, 10, 2))
        differing = [path for path in config if config[path] != shipped[path]]
        assert len(differing) == (name != ablations.FIRST), name
    assert first.steps_student == 10 and first.evaluation_draws == 2
    assert len({ablations.folder_name(name) for name in ablations.VARIANTS}) == len(
        ablations.VARIANTS
    )


def test_a_fixed_epsilon_is_not_halved_once():
    config = ablations.config_of("epsilon fixed", 10, 2).plateau
    rule = plateau.plateau_rule(dataclasses.replace(config, window=1, patience=1))
    state = rule.init({})
    for _ in range(10):
        _, state = rule.update({}, state, value=1.0)
    assert state.scale == 1


def demo_folder(folder):
    """As a run of the demo leaves it, its networks empty."""
    sources = presets.PRESETS["demo"].sources
    for stage in ("task/7", *(f"teachers/{name}/7" for name in sources), "student/7"):
        (folder / stage).mkdir(parents=True)
    teachers = {name: {"auc": 0.9} for name in sources}
    entries = {"task": {"dice": 0.8}, "teachers": teachers, "student": {"dice": 0.7}}
    (folder / "summary.json").write_text(json.dumps(entries))
    return entries


def test_students_learn_from_the_networks_of_the_demo(tmp_path):
    entries = demo_folder(tmp_path / "demo")
    ablations.take_over(
        tmp_path / "demo", tmp_path / "variant", ablations.config_of("no L_grad", 1, 1)
    )
    assert {path.name for path in (tmp_path / "variant").iterdir()} == {
        "task",
        "teachers",
        "summary.json",
    }
    del entries["student"]
    assert json.loads((tmp_path / "variant" / "summary.json").read_text()) == entries


def test_other_layers_need_networks_of_their_own(tmp_path):
    demo_folder(tmp_path / "demo")
    other = ablations.config_of("no level head (instance norm alone)", 1, 1)
    ablations.take_over(tmp_path / "demo", tmp_path / "variant", other)
    assert not (tmp_path / "variant").exists()


def test_without_the_demo_the_error_says_how_to_train_it(tmp_path, capsys):
    arguments = ["--output-dir", str(tmp_path / "out"), "--demo", str(tmp_path / "demo")]
    assert ablations.main(arguments) == 2
    assert "experiments.run --stage=teachers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_variant_that_there_is_not_is_refused(capsys):
    assert ablations.main(["--variants", "magic"]) == 2
    assert "no variant 'magic'" in capsys.readouterr().err
