"""Statistics of rates, means and agreement, with their uncertainty.

Belongs here: small pure functions on numbers. Not here: what is counted (`steps`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_CHUNK = 4_000_000


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a rate; of use for small n and for rates of 0 and 1 too.

    Args:
        k: Number of hits.
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
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = k / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At the ends the interval touches 0 or 1 exactly; rounding would leave 1e-17.
    return Interval(0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half))


def bootstrap_interval(
    values: ArrayLike,
    seed: int,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Interval:
    """Percentile bootstrap interval of the mean, or of another statistic.

    Args:
        values: Numbers of shape (n,), or rows of shape (n, columns) that are drawn whole (paired data).
        seed: The same seed and values give the same interval.
        confidence: Coverage in (0, 1).
        resamples: Number of resamples, at least 1.
        statistic: From samples of shape (m, n) or (m, n, columns) to m numbers; the mean over n by default.

    Raises:
        ValueError: There are no values, one isn't finite, or a parameter is out of range.
    """
    import numpy as np

    _check_confidence(confidence)
    data = np.asarray(values, dtype=np.float64)
    if data.ndim == 0 or data.size == 0:
        raise ValueError("a bootstrap needs at least one value")
    if not np.isfinite(data).all():
        raise ValueError("a bootstrap needs finite values")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    rng = np.random.default_rng(seed)
    estimates = []
    done = 0
    # In chunks, so that memory doesn't grow with resamples times values.
    while done < resamples:
        count = min(resamples - done, max(1, _CHUNK // data.size))
        samples = data[rng.integers(0, len(data), size=(count, len(data)))]
        estimates.append(samples.mean(axis=1) if statistic is None else statistic(samples))
        done += count
    low, high = np.quantile(np.concatenate(estimates), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


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
    if len(a) != len(b):
        raise ValueError(f"{len(a)} labels against {len(b)}")
    n = len(a)
    counts_a, counts_b = Counter(a), Counter(b)
    # In whole numbers up to the last step: perfect and chance agreement come out exact.
    agreeing = n * sum(x == y for x, y in zip(a, b, strict=True))
    by_chance = sum(count * counts_b[label] for label, count in counts_a.items())
    return None if by_chance == n * n else (agreeing - by_chance) / (n * n - by_chance)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
