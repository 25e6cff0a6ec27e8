"""One sentence for a scan: which cause, which two, none, or none of the known ones."""

import pytest

from qc_jax.scoring.answer import answer
from qc_jax.scoring.copies import WHOLE_FIELD, Copy
from qc_jax.scoring.spikes import Spike

CAUSES = ("none", "motion", "spike", "noise", "ghosting", "blur", "wrap")
GHOST = Copy(1, 0.5, 128.0, 0.2)
FOLD = Copy(0, WHOLE_FIELD, 160.0, 1.0, 0.5)
EAR = Copy(0, WHOLE_FIELD, 160.0, 1.0, 0.1)
STRIPES = Spike((0.2, 0.1, 0.0), 900.0, 0.3)
DOUBT = "white matter is darker than grey matter by 9%: not T1-weighted, or not an adult"
GOOD, LOW, LIMIT = 0.85, 0.4, 0.6


def answer_of(chances, dice=GOOD, doubts=(), copies=(), spikes=(), severity=0.5):
    rest = (1 - sum(chances.values())) / (len(CAUSES) - len(chances))
    everything = {cause: chances.get(cause, rest) for cause in CAUSES}
    severities = dict.fromkeys(CAUSES[1:], severity)
    return answer(everything, severities, dice, doubts, copies, spikes, lowest_dice=LIMIT)


def said(*options, **more):
    """Whether it can be believed, and the sentence."""
    found = answer_of(*options, **more)
    return found.named, found.sentence


def test_no_artefact():
    assert said({"none": 0.9, "noise": 0.07}) == (True, "no artefact (90%); next: noise (7%)")
    assert said({"none": 0.98}) == (True, "no artefact (98%)")


@pytest.mark.parametrize(("severity", "word"), [(0.1, "mild"), (0.5, "moderate"), (0.9, "severe")])
def test_a_cause_with_its_severity(severity, word):
    assert said({"motion": 0.97}, LOW, severity=severity) == (True, f"motion, {word} (97%)")


def test_a_likely_cause_explains_a_low_dice():
    assert said({"motion": 0.66, "none": 0.3}, LOW)[0]
    named, sentence = said({"motion": 0.6, "none": 0.3})
    assert not named
    assert sentence == "no cause is likely enough to be named: motion (60%), no artefact (30%)"


def test_a_low_dice_without_a_likely_cause_is_none_of_the_known_ones():
    named, sentence = said({"none": 0.7}, LOW)
    assert not named
    assert sentence == (
        "doubtful, none of the known causes: the predicted Dice coefficient is only 0.40"
    )
    assert not said({"motion": 0.4, "none": 0.3}, LOW)[0]


def test_a_doubt_without_a_sure_cause():
    named, sentence = said({"none": 0.8}, doubts=[DOUBT])
    assert not named and sentence == f"doubtful, none of the known causes: {DOUBT}"
    named, sentence = said({"motion": 0.6, "none": 0.3}, doubts=[DOUBT])
    assert not named and sentence.endswith("; the likeliest of them: motion (60%)")


def test_a_doubt_beside_a_sure_cause_is_a_remark():
    assert said({"noise": 0.97}, doubts=[DOUBT]) == (True, f"noise, moderate (97%); {DOUBT}")


def test_two_causes_that_look_the_same_are_named_together():
    named, sentence = said({"ghosting": 0.45, "wrap": 0.4})
    assert named and sentence == "ghosting or wrap-around, moderate (85%)"
    # Where one of them is sure, it stands alone; where both are unlikely, neither is named.
    assert said({"ghosting": 0.9, "wrap": 0.08})[1].startswith("ghosting, moderate (90%); next")
    assert said({"none": 0.6, "ghosting": 0.2, "wrap": 0.15})[1].startswith("no artefact")


@pytest.mark.parametrize("chances", [{"none": 0.9}, {"ghosting": 0.95}, {"motion": 0.5}])
def test_copies_name_both_causes_whatever_the_chances(chances):
    named, sentence = said(chances, copies=[GHOST])
    assert named and sentence.startswith("ghosting or wrap-around, moderate")
    assert sentence.endswith(GHOST.sentence)


def test_fold_over_is_wrap_around_alone():
    assert said({"none": 0.9}, copies=[FOLD]) == (True, f"wrap-around, moderate; {FOLD.sentence}")


def test_an_ear_over_the_air_on_the_other_side_is_a_remark():
    named, sentence = said({"none": 0.97}, copies=[EAR])
    assert named and sentence == f"no artefact (97%); {EAR.sentence}"


def test_copies_beside_another_sure_cause_are_a_remark():
    assert said({"motion": 0.97}, copies=[GHOST]) == (
        True,
        f"motion, moderate (97%); {GHOST.sentence}",
    )


@pytest.mark.parametrize("chances", [{"none": 0.9}, {"noise": 0.6}, {"spike": 0.4}])
def test_a_spike_in_k_space_is_named_whatever_the_chances(chances):
    assert said(chances, spikes=[STRIPES]) == (True, f"spike; {STRIPES.sentence}")


def test_a_spike_comes_before_copies_and_doubts():
    named, sentence = said({"none": 0.6}, LOW, [DOUBT], [GHOST], [STRIPES])
    assert named and sentence == f"spike; {STRIPES.sentence}; {GHOST.sentence}; {DOUBT}"


def test_a_spike_that_is_likely_as_well_has_its_severity():
    assert said({"spike": 0.9}, spikes=[STRIPES])[1].startswith("spike, moderate (90%); a spike at")


def test_a_spike_beside_a_sure_cause():
    found = answer_of({"motion": 0.9}, spikes=[STRIPES])
    assert found.causes == ("spike", "motion")
    assert found.sentence == f"spike and motion, moderate (90%); {STRIPES.sentence}"


def test_copies_come_before_a_doubt():
    named, sentence = said({"none": 0.6}, LOW, [DOUBT], [GHOST])
    assert named and sentence.startswith("ghosting or wrap-around") and sentence.endswith(DOUBT)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"chances": {"none": 0.9, "noise": 0.07}}, ()),
        ({"chances": {"motion": 0.97}}, ("motion",)),
        ({"chances": {"wrap": 0.97}}, ("wrap",)),
        ({"chances": {"ghosting": 0.45, "wrap": 0.4}}, ("ghosting", "wrap")),
        ({"chances": {"none": 0.9}, "copies": [FOLD]}, ("wrap",)),
    ],
)
def test_the_causes_that_a_sentence_names(options, named):
    assert answer_of(**options).causes == named


def test_a_doubtful_sentence_names_no_source():
    assert answer_of({"none": 0.8}, doubts=[DOUBT]).causes == ()
    assert answer_of({"motion": 0.4, "none": 0.3}).causes == ()
