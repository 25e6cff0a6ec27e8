"""What is wrong with a scan, in one sentence: a known cause, none, or what cannot be named.

A classifier of causes spreads all of its belief over the causes that it knows, so that whatever it
never saw is one of them, or none.  Four things that it does not look at correct it: the predicted
Dice coefficient, signs that the scan is not what the model was made for (`doubts`), and copies of
the head and spikes that were found by themselves (`copies`, `spikes`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qc_jax.scoring.copies import WHOLE_FIELD, Copy
from qc_jax.scoring.spikes import Spike

CLEAN = "none"
"""Among the causes: a scan without any artefact."""
MOTION, SPIKE = "motion", "spike"
GHOSTING, WRAP = "ghosting", "wrap"
"""Causes that both leave copies of the head: periodic changes from line to line, and lines that are
missing at regular distances, have the same transform."""
_LIKELY = 0.5
"""A chance from which a scan is free of artefacts, and a cause explains a low predicted Dice."""
_ACCUSED = 0.65
"""A chance from which a cause is named.  Of 107 scans of other people than those of the fit that
were clean or lost nothing, 0.5 accuses 20, 0.6 12 and 0.65 9; of 103 that were harmed they name
72, 67 and 64 rightly."""
_SURE = 0.75
"""A chance from which a cause stands although something else is doubtful as well."""
_TOGETHER = 0.6
"""The sum of the chances from which the two causes with copies are named together."""
_WORTH_SAYING = 0.05
_HARMFUL = 0.18
"""Extent of what folds over; less is an ear or a shoulder, which lie in the air: 0.16 at most in 22
clean heads, where a field of view that is a fifth too small leaves 0.21 to 0.32."""
_NAMES = {CLEAN: "no artefact", WRAP: "wrap-around"}


class Answer(NamedTuple):
    """What is wrong with a scan.

    Attributes:
      named: whether a cause, or that there is none, can be believed.
      sentence: for people.
      causes: that it names, two where they cannot be told apart; none of a scan without an
        artefact, nor of one whose cause is doubtful.
    """

    named: bool
    sentence: str
    causes: tuple[str, ...] = ()


def answer(
    chances: Mapping[str, float],
    severities: Mapping[str, float],
    predicted_dice: float,
    doubts: Sequence[str],
    copies: Sequence[Copy],
    spikes: Sequence[Spike],
    lowest_dice: float,
) -> Answer:
    """Names what is wrong.

    In this order: a spike that was found in k-space is named, beside a cause that is sure; copies
    of the head name their cause, unless another one is sure; a doubt without a sure cause, or a low
    Dice coefficient without a likely one, is none of the known causes; else it is the likeliest
    where that is likely enough.  What else was found follows the name.

    Args:
      chances: of each cause and of none, which sum to 1.
      severities: of each cause, 0 (mild) to 1 (severe).
      predicted_dice: of the grey-matter segmentation, in [0, 1].
      doubts: sentences, see `doubts.doubts`.
      copies: see `copies.find_copies`, the strongest first.
      spikes: see `kspace.look`, the one that stands out most first.
      lowest_dice: below it a segmentation is not that of a good scan.
    """
    ranked = sorted(chances.items(), key=lambda item: -item[1])
    first, chance = ranked[0]
    faulty = {cause: p for cause, p in ranked if cause != CLEAN}
    cause, of_cause = max(faulty.items(), key=lambda item: item[1], default=(CLEAN, 0.0))
    seen = [*(spike.sentence for spike in spikes[:1]), *(copy.sentence for copy in copies)]
    remarks = [*seen, *doubts]
    alike = [chances.get(name, 0.0) for name in (GHOSTING, WRAP)]
    together = sum(alike) > _TOGETHER and max(alike) <= _SURE

    if spikes:
        return _spike_beside(cause, of_cause, chances, severities, remarks)
    harmful = [copy for copy in copies if copy.extent >= _HARMFUL]
    if harmful and (of_cause < _SURE or cause in (GHOSTING, WRAP)):
        # Fold-over is wrap-around; copies at other distances can be either.
        if all(copy.share == WHOLE_FIELD for copy in harmful):
            words = f"{_NAMES[WRAP]}, {severity_in_words(severities.get(WRAP, 0.0))}"
            return Answer(True, _join(words, remarks), (WRAP,))
        if all(copy.irregular for copy in harmful):
            words = _either((MOTION, WRAP), severities)
            return Answer(True, _join(words, remarks), (MOTION, WRAP))
        return Answer(True, _join(_both(sum(alike), severities), remarks), (GHOSTING, WRAP))
    low = predicted_dice < lowest_dice
    if not together and ((doubts and of_cause < _SURE) or (low and of_cause < _LIKELY)):
        why = list(doubts)
        if low:
            why.append(f"the predicted Dice coefficient is only {predicted_dice:.2f}")
        if of_cause >= _LIKELY:
            seen.append(f"the likeliest of them: {_name(cause)} ({of_cause:.0%})")
        return Answer(
            False, _join("doubtful, none of the known causes: " + why[0], [*why[1:], *seen])
        )
    if together:
        return Answer(True, _join(_both(sum(alike), severities), remarks), (GHOSTING, WRAP))
    if chance < (_LIKELY if first == CLEAN else _ACCUSED):
        doubtful = ", ".join(f"{_name(name)} ({p:.0%})" for name, p in ranked[:2])
        return Answer(False, _join(f"no cause is likely enough to be named: {doubtful}", remarks))
    words = "" if first == CLEAN else f", {severity_in_words(severities.get(first, 0.0))}"
    second, runner_up = ranked[1] if len(ranked) > 1 else (CLEAN, 0.0)
    rest = f"; next: {_name(second)} ({runner_up:.0%})" if runner_up >= _WORTH_SAYING else ""
    told = _join(f"{_name(first)}{words} ({chance:.0%}){rest}", remarks)
    return Answer(True, told, () if first == CLEAN else (first,))


def _spike_beside(
    cause: str,
    of_cause: float,
    chances: Mapping[str, float],
    severities: Mapping[str, float],
    remarks: Sequence[str],
) -> Answer:
    """A spike that was found in k-space, and the likeliest cause where that is sure."""
    words = _name(SPIKE)
    if chances.get(SPIKE, 0.0) >= _LIKELY:
        words += f", {severity_in_words(severities[SPIKE])} ({chances[SPIKE]:.0%})"
    if cause == SPIKE or of_cause < _SURE:
        return Answer(True, _join(words, remarks), (SPIKE,))
    also = f"{_name(cause)}, {severity_in_words(severities[cause])} ({of_cause:.0%})"
    return Answer(True, _join(f"{words} and {also}", remarks), (SPIKE, cause))


def severity_in_words(fraction: float) -> str:
    """Thirds of the way from mild to severe."""
    return "mild" if fraction < 1 / 3 else "moderate" if fraction < 2 / 3 else "severe"


def _both(chance: float, severities: Mapping[str, float]) -> str:
    words = _either((GHOSTING, WRAP), severities)
    return f"{words} ({chance:.0%})" if chance > _TOGETHER else words


def _either(causes: tuple[str, str], severities: Mapping[str, float]) -> str:
    severity = severity_in_words(max(severities.get(cause, 0.0) for cause in causes))
    return f"{' or '.join(map(_name, causes))}, {severity}"


def _name(cause: str) -> str:
    return _NAMES.get(cause, cause)


def _join(what: str, remarks: Sequence[str]) -> str:
    return "; ".join([what, *remarks])
