"""Statistics of rates, means and agreement, with their uncertainty.

Belongs here: small pure functions on numbers. Not here: what is counted (`steps`). Textbook statistics are
statsmodels' own, imported when first asked for (half a second); what has to know of groups, or is in no release of
scipy or statsmodels, is computed here. Over 400 lines, for each function states its source, arguments and errors, and
they share their resampling.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_CHUNK = 4_000_000


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A difference of two paired statistics, its confidence interval, and a two-sided p-value of "no difference"."""

    value: float
    low: float
    high: float
    p_value: float


def wilson_interval(k: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a rate; of use for small n and for rates of 0 and 1 too.

    Args:
        k: Number of hits; may be fractional where n is an effective number.
        n: Number of trials; nothing is known of a rate without trials, so 0 gives (0, 1).
        confidence: Coverage in (0, 1).

    Raises:
        ValueError: k isn't in 0..n, or the confidence not in (0, 1).
    """
    _check_confidence(confidence)
    if not 0 <= k <= n:
        raise ValueError(f"{k} hits in {n} trials is impossible")
    if n == 0:
        return Interval(0.0, 1.0)
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(k, n, alpha=1 - confidence, method="wilson")
    # At the ends the interval touches 0 or 1 exactly; rounding would leave 1e-17.
    return Interval(0.0 if k == 0 else low, 1.0 if k == n else high)


def clustered_wilson_interval(hits: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a rate over trials that come in groups, such as variants of one question.

    The number of trials is replaced by the number of independent ones that would vary as much (Kish's design
    effect), which lies between the number of groups and that of trials. Groups of one give Wilson's own interval.

    Args:
        hits: Hits of each group, shape (groups,).
        trials: Trials of each group, shape (groups,), each at least 1.
        confidence: Coverage in (0, 1).

    Raises:
        ValueError: A group has no trials or more hits than trials, or the shapes differ.
    """
    return wilson_interval(*effective_trials(hits, trials), confidence)


def effective_trials(hits: ArrayLike, trials: ArrayLike) -> tuple[float, float]:
    """Hits and trials of as many independent trials as would vary as much as these, which come in groups.

    Args:
        hits: Hits of each group, shape (groups,).
        trials: Trials of each group, shape (groups,), each at least 1.

    Raises:
        ValueError: A group has no trials or more hits than trials, or the shapes differ.
    """
    import numpy as np

    k, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if k.ndim != 1 or k.shape != n.shape or (n < 1).any() or (k < 0).any() or (k > n).any():
        raise ValueError("hits and trials of groups need equal shapes, and 0 to n hits in n > 0 trials")
    if not len(n):
        return 0.0, 0.0
    groups, total = len(n), float(n.sum())
    rate = float(k.sum()) / total
    variance = float(((k - rate * n) ** 2).sum()) / total**2 * groups / max(1, groups - 1)
    if groups == total:
        effective = total
    else:
        # Without any variation between groups nothing shows that trials inside a group are independent.
        effective = min(total, max(groups, rate * (1 - rate) / variance)) if variance > 0 else groups
    return rate * effective, float(effective)


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, seed: int, *, confidence: float = 0.95, resamples: int = 2000
) -> Interval:
    """Percentile bootstrap interval of a ratio of sums: a mean, a rate in groups, or an F1 score.

    Args:
        numerators: One number per independent unit, shape (n,).
        denominators: Likewise; their sum is above 0.
        seed: The same seed and numbers give the same interval, in whatever order the units stand.
        confidence: Coverage in (0, 1).
        resamples: Number of resamples, at least 1.

    Raises:
        ValueError: There are no units, a number isn't finite, or a parameter is out of range.
    """
    sums = _bootstrap_sums([numerators, denominators], seed, confidence, resamples)
    return _percentiles(_ratio(sums[:, 0], sums[:, 1]), confidence)


def paired_bootstrap(
    ours: tuple[ArrayLike, ArrayLike],
    theirs: tuple[ArrayLike, ArrayLike],
    seed: int,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Difference:
    """Difference of two ratios of sums over the same units, which are drawn together.

    Args:
        ours: Numerators and denominators, each of shape (n,).
        theirs: The same units' numbers in what is compared with.
        seed: The same seed and numbers give the same interval.
        confidence: Coverage in (0, 1).
        resamples: Number of resamples, at least 1.

    Returns:
        ours minus theirs, with a percentile interval. The p-value is twice the smaller share of resamples on one
        side of 0, at least 2 / (resamples + 1).

    Raises:
        ValueError: As `ratio_interval`.
    """
    import numpy as np

    columns = [*ours, *theirs]
    sums = _bootstrap_sums(columns, seed, confidence, resamples)
    differences = _ratio(sums[:, 0], sums[:, 1]) - _ratio(sums[:, 2], sums[:, 3])
    totals = [np.asarray(column, dtype=np.float64).sum(keepdims=True) for column in columns]
    value = float(_ratio(totals[0], totals[1])[0] - _ratio(totals[2], totals[3])[0])
    low, high = _percentiles(differences, confidence)
    defined = differences[np.isfinite(differences)]
    # Rounding must not turn "no difference" into one of 1e-17.
    beyond = min(int((defined <= 1e-12).sum()), int((defined >= -1e-12).sum()))
    return Difference(value, low, high, min(1.0, 2 * (beyond + 1) / (len(defined) + 1)))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p-value of the exact McNemar test.

    Args:
        b: Pairs with a hit in the first only.
        c: Pairs with a hit in the second only.

    Returns:
        How probable so uneven a split of b + c discordant pairs is if both are as likely; 1 without such pairs.

    Raises:
        ValueError: A count is negative.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts of pairs can't be negative: {b}, {c}")
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)


def newcombe_paired(both: int, first: int, second: int, neither: int, confidence: float = 0.95) -> Interval:
    """Newcombe's interval of the difference of two paired rates (1998, method 10: Wilson's, with correlation).

    statsmodels 0.15 and scipy 1.17 have it for independent rates only.

    Args:
        both: Pairs with a hit in both.
        first: Pairs with a hit in the first only.
        second: Pairs with a hit in the second only.
        neither: Pairs without a hit.
        confidence: Coverage in (0, 1).

    Returns:
        Interval of the first rate minus the second; (-1, 1) without pairs.

    Raises:
        ValueError: A count is negative, or the confidence not in (0, 1).
    """
    if min(both, first, second, neither) < 0:
        raise ValueError("counts of pairs can't be negative")
    _check_confidence(confidence)
    n = both + first + second + neither
    if n == 0:
        return Interval(-1.0, 1.0)
    hits_1, hits_2 = both + first, both + second
    rate_1, rate_2 = hits_1 / n, hits_2 / n
    one, two = wilson_interval(hits_1, n, confidence), wilson_interval(hits_2, n, confidence)
    margins = hits_1 * (n - hits_1) * hits_2 * (n - hits_2)
    determinant = both * neither - first * second
    if margins == 0:
        correlation = 0.0
    else:
        # Continuity correction of the positive case, as Newcombe gives it.
        corrected = max(determinant - n / 2, 0.0) if determinant > 0 else float(determinant)
        correlation = corrected / math.sqrt(margins)
    below, above = (rate_1 - one.low, two.high - rate_2), (one.high - rate_1, rate_2 - two.low)
    difference = rate_1 - rate_2
    return Interval(difference - _length(*below, correlation), difference + _length(*above, correlation))


def corrected_rate(
    k: float,
    n: float,
    sensitivity: tuple[int, int],
    specificity: tuple[int, int],
    confidence: float = 0.95,
) -> tuple[float, Interval] | None:
    """A rate corrected for the errors of what it was measured with (Rogan and Gladen 1978), and its interval.

    The interval is Lang and Reiczigel's (2014), in which sensitivity and specificity are as uncertain as the samples
    that they were measured on.

    Args:
        k: Hits that were seen; may be fractional where n is an effective number.
        n: Trials.
        sensitivity: Hits that were seen among true ones, and true ones.
        specificity: Misses that were seen among untrue ones, and untrue ones.
        confidence: Coverage in (0, 1).

    Returns:
        The rate and interval, both within 0..1; None where nothing is known of sensitivity or specificity, there are
        no trials, or what was seen is no better than chance.

    Raises:
        ValueError: A number of hits isn't in 0..trials, or the confidence not in (0, 1).
    """
    _check_confidence(confidence)
    for hits, trials in ((k, n), sensitivity, specificity):
        if not 0 <= hits <= trials:
            raise ValueError(f"{hits} hits in {trials} trials is impossible")
    if not (n and sensitivity[1] and specificity[1]):
        return None
    from scipy.stats import norm

    seen, true_rate = k / n, sensitivity[0] / sensitivity[1]
    false_rate = 1 - specificity[0] / specificity[1]
    z = float(norm.ppf((1 + confidence) / 2))
    # Agresti and Coull's shift for what is counted, and one added hit and miss for each rate of errors.
    shifted_n = n + z * z
    shifted = (k + z * z / 2) / shifted_n
    se, se_n = (sensitivity[0] + 1) / (sensitivity[1] + 2), sensitivity[1] + 2
    sp, sp_n = (specificity[0] + 1) / (specificity[1] + 2), specificity[1] + 2
    youden = se + sp - 1
    if true_rate - false_rate <= 0 or youden <= 0:
        return None
    centre = (shifted + sp - 1) / youden
    of_se, of_sp = se * (1 - se) / se_n, sp * (1 - sp) / sp_n
    shift = 2 * z * z * (centre * of_se - (1 - centre) * of_sp)
    variance = shifted * (1 - shifted) / shifted_n + centre**2 * of_se + (1 - centre) ** 2 * of_sp
    half = z * math.sqrt(variance) / youden
    value = (seen - false_rate) / (true_rate - false_rate)
    low, high = (min(1.0, max(0.0, end)) for end in (centre + shift - half, centre + shift + half))
    return min(1.0, max(0.0, value)), Interval(low, high)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being several (Holm 1979): each holds for all comparisons together.

    Args:
        p_values: Of comparisons that are looked at together.
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


def pairs_for_difference(rate: float, difference: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """How many paired items would tell a difference of two rates (Connor 1987, McNemar's test).

    What both have in common isn't known beforehand, so the answers to one item are taken to be independent; where they
    agree more often, fewer items do.

    Args:
        rate: One of the two rates.
        difference: What is to be told, in (0, 1); the other rate is lower by it, or higher where it can't be lower.
        confidence: Of the two-sided test.
        power: Probability with which such a difference is found.

    Raises:
        ValueError: The rate isn't in 0..1, or another argument not in (0, 1).
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate must be between 0 and 1, not {rate}")
    for share in (difference, confidence, power):
        _check_confidence(share)
    from scipy.stats import norm

    other = rate - difference if rate >= difference else rate + difference
    discordant = rate * (1 - other) + other * (1 - rate)
    reach = norm.ppf((1 + confidence) / 2) * math.sqrt(discordant)
    reach += norm.ppf(power) * math.sqrt(max(0.0, discordant - difference**2))
    return math.ceil(float(reach) ** 2 / difference**2)


def bootstrap_interval(values: ArrayLike, seed: int, *, confidence: float = 0.95, resamples: int = 2000) -> Interval:
    """Percentile bootstrap interval of the mean.

    Args:
        values: Numbers of shape (n,).
        seed: The same seed and values give the same interval.
        confidence: Coverage in (0, 1).
        resamples: Number of resamples, at least 1.

    Raises:
        ValueError: There are no values, one isn't finite, or a parameter is out of range.
    """
    import numpy as np

    data = _finite(values, confidence, resamples)
    rng = np.random.default_rng(seed)
    # In chunks, so that memory doesn't grow with resamples times values.
    step = max(1, _CHUNK // data.size)
    means = [
        data[rng.integers(0, len(data), size=(min(step, resamples - done), len(data)))].mean(axis=1)
        for done in range(0, resamples, step)
    ]
    return _percentiles(np.concatenate(means), confidence)


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Cohen's kappa: agreement of two annotators beyond chance; 1 is perfect, 0 is chance.

    Args:
        a: Labels by one annotator.
        b: Labels of the same items by the other.

    Returns:
        Kappa, or None where it isn't defined: no items, or both gave one and the same label to all.

    Raises:
        ValueError: The lengths differ.
    """
    labels = _labels(a, b)
    if len(labels) < 2:
        return None
    from statsmodels.stats.inter_rater import cohens_kappa

    pairs = Counter(zip(a, b, strict=True))
    return float(cohens_kappa([[pairs[x, y] for y in labels] for x in labels], return_results=False))


def kappa_interval(
    a: Sequence[Hashable], b: Sequence[Hashable], seed: int, *, confidence: float = 0.95, resamples: int = 2000
) -> Interval | None:
    """Percentile bootstrap interval of Cohen's kappa of two labels; None where kappa isn't defined.

    Args:
        a: Labels by one annotator.
        b: Labels of the same items by the other.
        seed: The same seed and labels give the same interval.
        confidence: Coverage in (0, 1).
        resamples: Number of resamples, at least 1.

    Raises:
        ValueError: The lengths differ, or a parameter is out of range.
    """
    import numpy as np

    labels = _labels(a, b)
    if len(labels) < 2:
        return None
    # Agreement and each annotator's labels as 0 and 1: kappa is a function of their sums.
    mine = np.array([[x == label for label in labels] for x in a], dtype=np.float64)
    yours = np.array([[y == label for label in labels] for y in b], dtype=np.float64)
    agree = np.array([x == y for x, y in zip(a, b, strict=True)], dtype=np.float64)
    sums = _bootstrap_sums([agree, *mine.T, *yours.T], seed, confidence, resamples)
    n, k = len(a), len(labels)
    chance = (sums[:, 1 : 1 + k] * sums[:, 1 + k :]).sum(axis=1)
    # A sample in which both give one label to all has no kappa and is left out.
    return _percentiles(_ratio(n * sums[:, 0] - chance, n * n - chance), confidence)


def _bootstrap_sums(columns: Sequence[ArrayLike], seed: int, confidence: float, resamples: int) -> NDArray[np.float64]:
    """Column sums of bootstrap samples, shape (resamples, columns).

    Equal rows are drawn together, by a multinomial: the same distribution as drawing rows one by one, in time that
    grows with the number of different rows.
    """
    import numpy as np

    data = _finite(np.column_stack([np.asarray(column, dtype=np.float64) for column in columns]), confidence, resamples)
    rows, counts = np.unique(data, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(rows))
    parts = [
        rng.multinomial(len(data), counts / len(data), size=min(step, resamples - done)) @ rows
        for done in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def _ratio(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Element by element; NaN where the denominator is 0."""
    import numpy as np

    defined = denominators != 0
    ratios: NDArray[np.float64] = np.full(len(numerators), np.nan)
    np.divide(numerators, denominators, out=ratios, where=defined)
    return ratios


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    import numpy as np

    if np.isnan(values).all():
        raise ValueError("the statistic is defined in no resample")
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _finite(values: ArrayLike, confidence: float, resamples: int) -> NDArray[np.float64]:
    """What a bootstrap draws from, after a check of its arguments."""
    import numpy as np

    _check_confidence(confidence)
    data = np.asarray(values, dtype=np.float64)
    if data.ndim == 0 or data.size == 0:
        raise ValueError("a bootstrap needs at least one value")
    if not np.isfinite(data).all():
        raise ValueError("a bootstrap needs finite values")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    return data


def _labels(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Hashable]:
    """All labels that either annotator gave, in a fixed order."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} labels against {len(b)}")
    return sorted({*a, *b}, key=str)


def _length(x: float, y: float, correlation: float) -> float:
    """Length of the difference of two correlated deviations."""
    return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
