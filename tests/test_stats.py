import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from spavl_dag.stats import bootstrap_interval, cohen_kappa, wilson_interval


class TestWilson:
    def test_by_hand(self) -> None:
        # n = 10, k = 5, z = 1.959964: centre 0.5, half width z·sqrt(0.25/10 + z²/400)/(1 + z²/10) = 0.263407
        low, high = wilson_interval(5, 10)
        assert low == pytest.approx(0.236593, abs=1e-6)
        assert high == pytest.approx(0.763407, abs=1e-6)

    @pytest.mark.parametrize("n", [1, 2, 7, 265, 100_000])
    @pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
    def test_as_scipy(self, n: int, confidence: float) -> None:
        for k in {0, 1, n // 3, n - 1, n}:
            theirs = scipy_stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
            assert wilson_interval(k, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)

    def test_ends_are_exact(self) -> None:
        assert wilson_interval(0, 265).low == 0.0
        assert wilson_interval(265, 265).high == 1.0
        assert wilson_interval(0, 0) == (0.0, 1.0)

    @pytest.mark.parametrize(
        ("k", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0), (1, 2, math.nan)]
    )
    def test_nonsense_is_refused(self, k: int, n: int, confidence: float) -> None:
        with pytest.raises(ValueError, match=r"impossible|confidence"):
            wilson_interval(k, n, confidence)


class TestBootstrap:
    def test_is_determined_by_the_seed(self) -> None:
        values = np.random.default_rng(1).normal(size=50)
        assert bootstrap_interval(values, 7) == bootstrap_interval(list(values), 7)
        assert bootstrap_interval(values, 7) != bootstrap_interval(values, 8)

    def test_is_near_the_normal_interval(self) -> None:
        values = np.random.default_rng(2).normal(3.0, 2.0, size=2000)
        half = 1.959964 * values.std() / math.sqrt(2000)
        low, high = bootstrap_interval(values, 0, resamples=4000)
        assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)

    def test_is_near_scipys(self) -> None:
        values = np.random.default_rng(3).exponential(size=80)
        theirs = scipy_stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=0)
        ours = bootstrap_interval(values, 0, resamples=5000)
        assert ours == pytest.approx(theirs.confidence_interval, abs=0.02)

    def test_constant_and_single_values(self) -> None:
        assert bootstrap_interval([2.5] * 9, 0) == (2.5, 2.5)
        assert bootstrap_interval([4], 0) == (4.0, 4.0)

    def test_rows_are_drawn_whole(self) -> None:
        pairs = np.random.default_rng(4).normal(size=(40, 1)) + np.array([0.0, 1.0])
        low, high = bootstrap_interval(
            pairs, 0, statistic=lambda samples: (samples[..., 1] - samples[..., 0]).mean(axis=1)
        )
        assert (low, high) == pytest.approx((1.0, 1.0))

    def test_chunks_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(5).normal(size=30)
        whole = bootstrap_interval(values, 0)
        monkeypatch.setattr("spavl_dag.stats._CHUNK", 100)
        assert bootstrap_interval(values, 0) == whole

    @pytest.mark.parametrize("values", [[], 3.0, [math.nan], [math.inf, 1]])
    def test_bad_values_are_refused(self, values: object) -> None:
        with pytest.raises(ValueError, match="a bootstrap needs"):
            bootstrap_interval(values, 0)  # type: ignore[arg-type]

    def test_bad_parameters_are_refused(self) -> None:
        with pytest.raises(ValueError, match="resamples"):
            bootstrap_interval([1.0], 0, resamples=0)
        with pytest.raises(ValueError, match="confidence"):
            bootstrap_interval([1.0], 0, confidence=95)


class TestKappa:
    def test_by_hand(self) -> None:
        # 50 items: 20 both yes, 5 yes/no, 10 no/yes, 15 both no; p_o = 0.7, p_e = 0.5, kappa = 0.4
        a = ["yes"] * 25 + ["no"] * 25
        b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
        assert cohen_kappa(a, b) == pytest.approx(0.4)

    def test_perfect_opposite_and_chance(self) -> None:
        assert cohen_kappa("AABB", "AABB") == 1.0
        assert cohen_kappa("AB", "BA") == -1.0
        assert cohen_kappa("AABB", "ABAB") == 0.0

    def test_three_labels(self) -> None:
        # p_o = 2/3, p_e = 4/9 - 1/9 = 1/3 (each label once by a; b: tie twice, A once): kappa = 1/2
        assert cohen_kappa(["A", "B", "tie"], ["A", "tie", "tie"]) == pytest.approx(0.5)

    @pytest.mark.parametrize("labels", [[], ["A"], ["A"] * 5])
    def test_is_not_defined_without_variation(self, labels: list[str]) -> None:
        assert cohen_kappa(labels, labels) is None

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(ValueError, match="1 labels against 2"):
            cohen_kappa("A", "AB")
