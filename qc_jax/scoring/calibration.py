"""What the scores of a model mean: learnt on validation scans, kept with the model.

Scores, the medians over the head and the high quantiles, enter as standard scores: the logarithm,
less the mean and over the standard deviation of the clean validation scans.  Learnt are the cause
of what was lost (multinomial logistic regression on the sources' scores alone: the task's depends
on how much of the head there is), the severity of each cause (isotonic regression), the Dice
coefficient that was reached (ridge regression on its logit, from the scores and the expected Dice),
and the scale of the volume's error bar.  How good each of them is comes from leaving one subject
out at a time.
"""

import dataclasses
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy  # loads its parts when they are used: optimize and stats for learning alone

from qc_jax import uncertainty
from qc_jax.descriptions import Calibration, SeveritySteps, VolumeScale
from qc_jax.errors import ConfigError
from qc_jax.extras import extra
from qc_jax.scoring.answer import CLEAN, Answer, answer
from qc_jax.scoring.copies import Copy
from qc_jax.scoring.spikes import Spike

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge

MIXED = "mixture"
"""A scan with several artefacts, of which no cause is learnt, but the Dice coefficient and the
volume are."""
_DICE_RANGE = (0.01, 0.99)
_SMALLEST_SCALE = 0.3
"""Of a score's logarithm over clean scans: where all of them are at the floor, a score just above
it is not a thousand standard deviations out.  On scans of other people than those of the fit 0.05
to 0.5 named as many causes rightly, and from 0.2 on fewer of what did no harm wrongly."""
_SMALLEST_BAR = 1e-6
"""mL, and a scale: a network that has not learnt finds no grey matter in any scan, so that errors
and error bars are 0."""
HARMLESS = 0.92
"""Dice coefficient with the segmentation of the clean scan from which on an artefact has done no
harm, so that there is nothing to name.  Of 29 clean scans of other people than those of the fit
0.95 named two, 0.92 none, and of 76 that were harmed 62 and 60 rightly; 0.9 only 54."""
_RELIABLE = 0.5
"""Share of the causes that has to be right before one is named in words."""
ONE_SIGMA = 0.6827
"""Share of a normal distribution within one standard deviation."""


@dataclasses.dataclass(frozen=True)
class KnownScan:
    """A scan of which the truth is known.

    Attributes:
      subject: its name.
      artefact: what was put in, `MIXED` for several, or None for a clean scan.
      fraction: of the way from mild to severe; of several the largest.
      scores: `(1 + N,)`, see `scores.source_scores`.
      local_scores: `(1 + N,)`, see `scores.local_scores`.
      expected_dice: see `scores.expected_dice`.
      dice: of the grey-matter segmentation; NaN where the truth is not known.
      kept: Dice coefficient with the segmentation of the clean scan.
      volume: of grey matter as predicted, in mL.
      clean_volume: as predicted for the clean scan, in mL.
      volume_uncertainty: before calibration, in mL.
    """

    subject: str
    artefact: str | None
    fraction: float
    scores: np.ndarray
    local_scores: np.ndarray
    expected_dice: float
    dice: float
    kept: float
    volume: float
    clean_volume: float
    volume_uncertainty: float


@dataclasses.dataclass(frozen=True)
class Interpretation:
    """What a scan's scores say.

    Attributes:
      percentiles: of the task and of each source within the clean reference scans, 0 to 100.
      causes: probability of each source and of none, the likeliest first.
      severities: of each source by its own score, 0 (mild) to 1 (severe).
      predicted_dice: of the grey-matter segmentation.
      cause_named: whether the causes can be believed of this scan by this model.
      sentence: cause and severity in words, or why none is named.
      named_causes: those that it names, see `answer.Answer`.
    """

    percentiles: dict[str, float]
    causes: dict[str, float]
    severities: dict[str, float]
    predicted_dice: float
    cause_named: bool
    sentence: str
    named_causes: tuple[str, ...]


class _Known(NamedTuple):
    """Known scans as arrays, S of them.

    Attributes:
      features: `(S, 2 (1 + N))`, standard scores.
      dice_features: `(S, 2 (1 + N) + 1)`, those and the logit of the expected Dice coefficient.
      causes: `(S,)`, see `_cause_of`.
      subjects: `(S,)`, names.
      dices: `(S,)`, NaN where it is not known.
    """

    features: np.ndarray
    dice_features: np.ndarray
    causes: np.ndarray
    subjects: np.ndarray
    dices: np.ndarray

    @property
    def one(self) -> np.ndarray:
        """`(S,)` bool, whether there is one cause at most."""
        return self.causes != MIXED

    @property
    def judged(self) -> np.ndarray:
        """`(S,)` bool, whether the Dice coefficient is known."""
        return np.isfinite(self.dices)


def fit(scans: Sequence[KnownScan], sources: Sequence[str]) -> Calibration:
    """Learns what scores mean.

    Args:
      scans: clean ones and some with each source, of at least two subjects; and some with several.
      sources: in the order of the channels.

    Returns:
      Plain lists and numbers, for JSON.

    Raises:
      ConfigError: all scans with labels are of one subject, or no scan has one of the sources.
      ExtraError: scikit-learn is not installed.
    """
    with extra("train"):  # scoring does without
        importlib.import_module("sklearn")
    _check_enough(scans, sources)
    is_clean = np.array([s.artefact is None for s in scans])
    logs = np.array([_logs(s.scores, s.local_scores) for s in scans])
    mean = logs[is_clean].mean(axis=0)
    scale = np.maximum(logs[is_clean].std(axis=0), _SMALLEST_SCALE)
    known = _known(scans, _standard(logs, mean, scale))
    out_cause, out_dice = _of_others(known, sources)
    of_causes = _cause_model(
        _of_sources(known.features[known.one]), known.causes[known.one], sources
    )
    of_dice = _dice_model(known.dice_features[known.judged], known.dices[known.judged])
    error = np.abs(scipy.special.expit(out_dice) - known.dices)[known.judged]
    clean = np.array([s.scores for s in scans if s.artefact is None])
    return {
        "reference": {
            name: np.sort(clean[:, channel]).tolist()
            for channel, name in enumerate(["task", *sources])
        },
        "log_mean": mean.tolist(),
        "log_scale": scale.tolist(),
        "cause": {
            "classes": of_causes.classes,
            "coefficients": of_causes.coefficients.tolist(),
            "intercepts": of_causes.intercepts.tolist(),
            "accuracy": float(np.mean((out_cause == known.causes)[known.one])),
        },
        "severity": {
            source: _severity(scans, source, known.features[:, len(sources) + 1 + channel])
            for channel, source in enumerate(sources, 1)
        },
        "dice": {
            "coefficients": of_dice.coef_.tolist(),
            "intercept": float(of_dice.intercept_),
            "lowest_of_clean": float(
                scipy.special.expit(out_dice[is_clean].min()) - 2 * np.mean(error)
            ),
            "mean_absolute_error": float(np.mean(error)),
            "spearman": rank_correlation(out_dice[known.judged], known.dices[known.judged]),
        },
        "volume": fit_volume(scans),
        "scans": len(scans),
        "subjects": np.unique(known.subjects).tolist(),
    }


def _check_enough(scans: Sequence[KnownScan], sources: Sequence[str]) -> None:
    if len({s.subject for s in scans if np.isfinite(s.dice)}) < 2:
        raise ConfigError(
            "labelled scans of at least two validation subjects are needed to calibrate scores, so "
            "that each is judged by what was learnt from others; use more of them, or another split"
        )
    missing = set(sources) - {s.artefact for s in scans}
    if missing:
        raise ConfigError(
            f"no scan to calibrate with has {', '.join(sorted(missing))} alone; use more draws"
        )


def _known(scans: Sequence[KnownScan], features: np.ndarray) -> _Known:
    expected = [_logit(s.expected_dice) for s in scans]
    return _Known(
        features,
        np.column_stack([features, expected]),
        np.array([_cause_of(s) for s in scans]),
        np.array([s.subject for s in scans]),
        np.clip([s.dice for s in scans], *_DICE_RANGE),
    )


def _of_others(known: _Known, sources: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Causes and logits of the Dice coefficient, `(S,)`, of each subject by what was learnt from
    the others."""
    causes, logits = np.empty(len(known.causes), object), np.empty(len(known.causes))
    for subject in np.unique(known.subjects):
        out, rest = known.subjects == subject, known.subjects != subject
        single, judged = rest & known.one, rest & known.judged
        of_causes = _cause_model(_of_sources(known.features[single]), known.causes[single], sources)
        causes[out] = of_causes.predict(_of_sources(known.features[out]))
        of_dice = _dice_model(known.dice_features[judged], known.dices[judged])
        logits[out] = of_dice.predict(known.dice_features[out])
    return causes, logits


def _severity(scans: Sequence[KnownScan], source: str, standard: np.ndarray) -> SeveritySteps:
    """Steps from the source's own standard score, `(S,)`, to the fraction of its severity."""
    from sklearn.isotonic import IsotonicRegression

    own = np.array([s.artefact == source for s in scans])
    fractions = np.array([s.fraction for s in scans])[own]
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    steps.fit(standard[own], fractions)
    return {
        "standard_scores": steps.X_thresholds_.tolist(),
        "fractions": steps.y_thresholds_.tolist(),
        "spearman": rank_correlation(fractions, standard[own]),
    }


def fit_volume(scans: Sequence[KnownScan]) -> VolumeScale:
    """The scale that brings 68 % of the volumes within their error bar, and the coverage on others.

    The error is the difference from the volume that the same network finds on the clean scan.
    """
    bad = [s for s in scans if s.artefact is not None]
    errors = np.array([abs(s.volume - s.clean_volume) for s in bad])
    bars = np.maximum([s.volume_uncertainty for s in bad], _SMALLEST_BAR)
    subjects = np.array([s.subject for s in bad])
    covered = np.empty(len(bad), bool)
    for subject in np.unique(subjects):
        out, rest = subjects == subject, subjects != subject
        covered[out] = errors[out] <= np.quantile(errors[rest] / bars[rest], ONE_SIGMA) * bars[out]
    return {
        "scale": max(float(np.quantile(errors / bars, ONE_SIGMA)), _SMALLEST_BAR),
        "coverage_before": float(np.mean(errors <= bars)),
        "coverage_after": float(covered.mean()),
    }


def rank_correlation(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Spearman's, of two rows of numbers; 0 where one of them never changes and follows nothing."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(a, b).statistic)


def interpret(
    scores: np.ndarray,
    local_scores: np.ndarray,
    expected_dice: float,
    calibration: Calibration,
    doubts: Sequence[str] = (),
    copies: Sequence[Copy] = (),
    spikes: Sequence[Spike] = (),
) -> Interpretation:
    """What the scores of a scan say, by a calibration from `fit`.

    Args:
      scores: `(1 + N,)`, the task first, see `scores.source_scores`.
      local_scores: `(1 + N,)`, see `scores.local_scores`.
      expected_dice: see `scores.expected_dice`.
      calibration: of the same model.
      doubts: see `doubts.doubts`.
      copies: see `copies.find_copies`.
      spikes: see `kspace.look`.
    """
    names = list(calibration["reference"])
    logs = _logs(scores, local_scores)
    standard = _standard(logs, calibration["log_mean"], calibration["log_scale"])
    percentiles = {
        name: _percentile(calibration["reference"][name], score)
        for name, score in zip(names, scores, strict=True)
    }
    cause = calibration["cause"]
    logits = np.array(cause["coefficients"]) @ _of_sources(standard) + cause["intercepts"]
    chances = dict(zip(cause["classes"], scipy.special.softmax(logits).tolist(), strict=True))
    chances = dict(sorted(chances.items(), key=lambda item: -item[1]))
    severities = {
        name: float(np.interp(value, steps["standard_scores"], steps["fractions"]))
        for (name, steps), value in zip(
            calibration["severity"].items(), standard[len(names) + 1 :], strict=True
        )
    }
    dice_features = [*standard, _logit(expected_dice)]
    logit = np.dot(calibration["dice"]["coefficients"], dice_features)
    dice = scipy.special.expit(logit + calibration["dice"]["intercept"])
    predicted = float(np.clip(dice, *_DICE_RANGE))
    accuracy = cause["accuracy"]
    if accuracy < _RELIABLE:
        sentence = f"not named; this model would be right in only {accuracy:.0%} of known scans"
        found = Answer(False, sentence)
    else:
        lowest = calibration["dice"]["lowest_of_clean"]
        found = answer(chances, severities, predicted, doubts, copies, spikes, lowest)
    return Interpretation(percentiles, chances, severities, predicted, *found)


def _logit(dice: float) -> float:
    return float(scipy.special.logit(np.clip(dice, *_DICE_RANGE)))


def _logs(scores: np.ndarray, local_scores: np.ndarray) -> np.ndarray:
    """`(2 (1 + N),)`; below the floor of the variances one is as good as another."""
    return np.log(np.concatenate([scores, local_scores]) + uncertainty.VARIANCE_FLOOR)


def _standard(logs: np.ndarray, mean, scale) -> np.ndarray:
    """Standard scores; of those far beyond all clean scans the logarithm, nearly."""
    return np.arcsinh((logs - np.asarray(mean)) / np.asarray(scale))


def _of_sources(features: np.ndarray) -> np.ndarray:
    """Those of `_logs` without the task's, along the last axis."""
    number = features.shape[-1] // 2
    return np.delete(features, [0, number], axis=-1)


def _cause_of(scan: KnownScan) -> str:
    if scan.artefact in (None, MIXED):
        return scan.artefact or CLEAN
    return scan.artefact if scan.kept < HARMLESS else CLEAN


class _Causes(NamedTuple):
    """Logits of no artefact, 0, and of each source: intercept + coefficients @ features."""

    classes: list[str]
    coefficients: np.ndarray
    intercepts: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        logits = features @ self.coefficients.T + self.intercepts
        return np.array(self.classes)[np.argmax(logits, axis=-1)]


def _cause_model(features: np.ndarray, causes: np.ndarray, sources: Sequence[str]) -> _Causes:
    """Multinomial logistic regression of causes on `_of_sources`.

    The logit of a source depends on its own two scores alone, and in the same way for all of them:
    their variances are in one unit and learnt by one loss.  Two slopes and an intercept are shared,
    from which a source's own intercept departs at a price (a normal prior of spread 1): for seven
    numbers for each of seven classes there would have to be hundreds of scans of every cause.
    """
    number = len(sources)
    own = features.reshape(len(features), 2, number)
    truth = np.array([0 if cause == CLEAN else 1 + list(sources).index(cause) for cause in causes])

    def loss(numbers: np.ndarray) -> float:
        logits = np.einsum("k,skn->sn", numbers[:2], own) + numbers[2] + numbers[3:]
        logits = np.concatenate([np.zeros((len(own), 1)), logits], axis=1)
        chance = scipy.special.log_softmax(logits, axis=1)[np.arange(len(own)), truth]
        return float(-chance.sum() + 0.5 * np.square(np.delete(numbers, 2)).sum())

    bounds = [(0, None), (0, None), *[(None, None)] * (1 + number)]
    learnt = scipy.optimize.minimize(loss, [0.1, 0.1, -3.0, *[0.0] * number], bounds=bounds).x
    coefficients = np.zeros((1 + number, 2 * number))
    for source in range(number):
        coefficients[1 + source, [source, number + source]] = learnt[:2]
    return _Causes([CLEAN, *sources], coefficients, np.array([0.0, *(learnt[2] + learnt[3:])]))


def _dice_model(features: np.ndarray, dices: np.ndarray) -> "Ridge":
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1.0).fit(features, scipy.special.logit(dices))


def _percentile(reference: Sequence[float], score: float) -> float:
    """Mean of the shares of a reference that are below, and not above, a score, in per cent."""
    known = np.asarray(reference)
    return float(50 * (np.mean(known < score) + np.mean(known <= score)))
