import math
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from spavl_dag.stats import (
    bootstrap_interval,
    clustered_wilson_interval,
    cohen_kappa,
    holm,
    kappa_interval,
    mcnemar_exact,
    newcombe_paired,
    paired_bootstrap,
    pairs_for_difference,
    ratio_interval,
    wilson_interval,
)


def test_statistics_are_paid_for_when_they_are_needed() -> None:
    heavy = "{'numpy', 'scipy', 'pandas', 'statsmodels'} & set(sys.modules)"
    program = f"import sys; import spavl_dag.stats as s; assert not {heavy}, {heavy}; s.newcombe_paired(0, 0, 0, 0)"
    subprocess.run([sys.executable, "-c", f"{program}; assert not {heavy}, {heavy}"], check=True)


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

    @given(n=st.floats(0.5, 1e6), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
    def test_ends_solve_the_score_equation_also_between_whole_numbers(
        self, n: float, share: float, confidence: float
    ) -> None:
        rate = share * n / n
        z = scipy_stats.norm.isf((1 - confidence) / 2)
        low, high = wilson_interval(share * n, n, confidence)
        assert 0 <= low <= rate + 1e-12
        assert rate - 1e-12 <= high <= 1
        for end in (low, high):
            assert n * (rate - end) ** 2 == pytest.approx(z * z * end * (1 - end), rel=1e-6, abs=1e-6)

    @given(n=st.integers(1, 10**6), confidence=st.floats(0.01, 0.9999))
    def test_ends_are_exact(self, n: int, confidence: float) -> None:
        assert wilson_interval(0, n, confidence).low == 0.0
        assert wilson_interval(n, n, confidence).high == 1.0
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

    @given(pairs=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1, max_size=60))
    def test_is_the_share_of_possible_agreement_beyond_chance(self, pairs: list[tuple[str, str]]) -> None:
        a, b = zip(*pairs, strict=True)
        n, mine, yours = len(pairs), Counter(a), Counter(b)
        chance = sum(Fraction(mine[label] * yours[label], n * n) for label in mine)
        seen = Fraction(sum(x == y for x, y in pairs), n)
        wanted = None if chance == 1 else float((seen - chance) / (1 - chance))
        assert cohen_kappa(a, b) == (wanted if wanted is None else pytest.approx(wanted, abs=1e-14))

    @pytest.mark.parametrize("labels", [[], ["A"], ["A"] * 5])
    def test_is_not_defined_without_variation(self, labels: list[str]) -> None:
        assert cohen_kappa(labels, labels) is None

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(ValueError, match="1 labels against 2"):
            cohen_kappa("A", "AB")


class TestClusteredWilson:
    @given(hits=st.lists(st.integers(0, 1), min_size=1, max_size=60))
    def test_groups_of_one_are_wilsons_own(self, hits: list[int]) -> None:
        ours = clustered_wilson_interval(hits, [1] * len(hits))
        assert ours == pytest.approx(wilson_interval(sum(hits), len(hits)), abs=1e-9)

    def test_copies_count_once(self) -> None:
        # Every question in four variants that always come out alike: 30 questions, not 120.
        hits = np.array([4] * 10 + [0] * 20)
        assert clustered_wilson_interval(hits, [4] * 30) == pytest.approx(wilson_interval(10, 30), abs=0.01)

    def test_independent_trials_in_groups_count_each(self) -> None:
        hits = np.random.default_rng(0).binomial(4, 0.4, size=3000)
        low, high = clustered_wilson_interval(hits, [4] * 3000)
        plain = wilson_interval(int(hits.sum()), 12_000)
        assert high - low == pytest.approx(plain.high - plain.low, rel=0.1)

    def test_rates_of_nought_are_as_wide_as_the_groups_are_few(self) -> None:
        assert clustered_wilson_interval([0] * 30, [4] * 30) == wilson_interval(0, 30)
        assert clustered_wilson_interval([4] * 30, [4] * 30) == wilson_interval(30, 30)
        assert clustered_wilson_interval([], []) == (0.0, 1.0)

    @given(groups=st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=1, max_size=30))
    def test_holds_the_rate_and_stays_inside(self, groups: list[tuple[int, float]]) -> None:
        trials = [n for n, _ in groups]
        hits = [round(n * share) for n, share in groups]
        low, high = clustered_wilson_interval(hits, trials)
        assert 0 <= low <= sum(hits) / sum(trials) + 1e-9
        assert sum(hits) / sum(trials) - 1e-9 <= high <= 1

    @pytest.mark.parametrize(("hits", "trials"), [([2], [1]), ([-1], [1]), ([0], [0]), ([0, 1], [1])])
    def test_nonsense_is_refused(self, hits: list[int], trials: list[int]) -> None:
        with pytest.raises(ValueError, match="hits and trials"):
            clustered_wilson_interval(hits, trials)


class TestRatio:
    def test_of_ones_is_the_bootstrap_of_the_mean(self) -> None:
        values = np.random.default_rng(1).choice([0.0, 0.3, 0.6, 1.0], size=400)
        ours = ratio_interval(values, np.ones(400), 0, resamples=4000)
        assert ours == pytest.approx(bootstrap_interval(values, 1, resamples=4000), abs=0.006)

    def test_f1_is_near_scipys(self) -> None:
        rng = np.random.default_rng(2)
        truth = rng.integers(0, 2, size=200)
        said = np.where(rng.random(200) < 0.8, truth, 1 - truth)

        def f1(said: np.ndarray, truth: np.ndarray, axis: int = -1) -> np.ndarray:
            score: np.ndarray = 2 * (said * truth).sum(axis) / (said.sum(axis) + truth.sum(axis))
            return score

        theirs = scipy_stats.bootstrap(
            (said, truth), f1, paired=True, vectorized=True, method="percentile", n_resamples=4000, rng=0
        )
        ours = ratio_interval(2 * said * truth, said + truth, 0, resamples=4000)
        assert ours == pytest.approx(theirs.confidence_interval, abs=0.01)

    def test_order_makes_no_difference_and_the_seed_does(self) -> None:
        values = np.random.default_rng(3).random(50)
        assert ratio_interval(values, np.ones(50), 5) == ratio_interval(values[::-1], np.ones(50), 5)
        assert ratio_interval(values, np.ones(50), 5) != ratio_interval(values, np.ones(50), 6)

    def test_samples_without_denominator_are_left_out(self) -> None:
        # One positive among nine negatives: in a third of the samples F1 isn't defined.
        low, high = ratio_interval([2, *[0] * 9], [2, *[0] * 9], 0)
        assert (low, high) == (1.0, 1.0)
        with pytest.raises(ValueError, match="defined in no resample"):
            ratio_interval([0, 0], [0, 0], 0)

    def test_a_hundred_thousand_items_take_no_time(self) -> None:
        values = np.random.default_rng(4).choice([0.0, 0.5, 1.0], size=100_000)
        low, high = ratio_interval(values, np.ones(100_000), 0, resamples=2000)
        assert low < values.mean() < high
        assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(100_000), rel=0.1)

    @pytest.mark.parametrize("values", [[], [math.nan]])
    def test_bad_values_are_refused(self, values: list[float]) -> None:
        with pytest.raises(ValueError, match="a bootstrap needs"):
            ratio_interval(values, values, 0)


class TestPairedBootstrap:
    def test_of_a_clear_difference(self) -> None:
        rng = np.random.default_rng(0)
        theirs = rng.integers(0, 2, size=300).astype(float)
        ours = theirs * (rng.random(300) < 0.3)
        one = np.ones(300)
        found = paired_bootstrap((ours, one), (theirs, one), 0, resamples=2000)
        assert found.value == pytest.approx(ours.mean() - theirs.mean())
        half = 1.96 * (ours - theirs).std() / math.sqrt(300)
        assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.01)
        assert found.p_value == pytest.approx(2 / 2001)

    def test_of_no_difference(self) -> None:
        one = np.ones(40)
        found = paired_bootstrap((one, one), (one, one), 0)
        assert found == (0.0, 0.0, 0.0, 1.0)

    def test_p_value_is_uniform_enough_under_no_difference(self) -> None:
        rng = np.random.default_rng(1)
        one = np.ones(100)
        small = 0
        for seed in range(200):
            ours, theirs = rng.integers(0, 2, size=(2, 100))
            small += paired_bootstrap((ours, one), (theirs, one), seed, resamples=400).p_value < 0.05
        assert 1 <= small <= 25


class TestMcNemar:
    @given(b=st.integers(0, 60), c=st.integers(0, 60))
    def test_as_scipys_binomial_test(self, b: int, c: int) -> None:
        theirs = scipy_stats.binomtest(b, b + c).pvalue if b + c else 1.0
        assert mcnemar_exact(b, c) == pytest.approx(theirs, abs=1e-12)

    def test_many_pairs_do_not_underflow(self) -> None:
        assert mcnemar_exact(40_000, 41_000) == pytest.approx(scipy_stats.binomtest(40_000, 81_000).pvalue, rel=1e-6)
        assert 0 <= mcnemar_exact(0, 5000) < 1e-300

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            mcnemar_exact(-1, 2)


class TestNewcombe:
    def test_by_hand(self) -> None:
        # 48 against 38 of 50. Wilson: 0.96 in (0.8654, 0.9890), 0.76 in (0.6259, 0.8570). The determinant 36·0 - 12·2
        # is negative, so phi = -24 / sqrt(48·2·38·12) = -0.1147 is taken as it is.
        low, high = newcombe_paired(36, 12, 2, 0)
        below = math.sqrt(0.0946**2 + 2 * 0.1147 * 0.0946 * 0.0970 + 0.0970**2)
        above = math.sqrt(0.0290**2 + 2 * 0.1147 * 0.0290 * 0.1341 + 0.1341**2)
        assert (low, high) == pytest.approx((0.2 - below, 0.2 + above), abs=3e-4)

    def test_correlation_makes_it_narrower_and_is_corrected_for_continuity(self) -> None:
        # 20·16 - 12·2 = 296 is above n / 2 = 25, so phi = 271 / sqrt(32·18·22·28).
        one, two = (scipy_stats.binomtest(k, 50).proportion_ci(method="wilson") for k in (32, 22))
        phi = 271 / math.sqrt(32 * 18 * 22 * 28)
        x, y = 0.64 - one.low, two.high - 0.44
        low, high = newcombe_paired(20, 12, 2, 16)
        assert low == pytest.approx(0.2 - math.sqrt(x * x - 2 * phi * x * y + y * y), abs=1e-9)
        uncorrelated = newcombe_paired(14, 18, 8, 10)
        assert uncorrelated.low < low
        assert high < uncorrelated.high

    @given(counts=st.tuples(*[st.integers(0, 200)] * 4))
    def test_holds_the_difference_and_turns_round(self, counts: tuple[int, int, int, int]) -> None:
        both, first, second, neither = counts
        n = sum(counts)
        low, high = newcombe_paired(*counts)
        difference = (first - second) / n if n else 0.0
        assert -1 - 1e-9 <= low <= difference + 1e-9
        assert difference - 1e-9 <= high <= 1 + 1e-9
        turned = newcombe_paired(both, second, first, neither)
        assert turned == pytest.approx((-high, -low), abs=1e-9)

    def test_covers_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(0)
        shares = np.array([0.1, 0.3, 0.1, 0.5])
        draws = rng.multinomial(80, shares, size=400)
        covered = sum(low <= 0.2 <= high for low, high in (newcombe_paired(*map(int, draw)) for draw in draws))
        assert 0.93 <= covered / 400 <= 0.99

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            newcombe_paired(1, 2, -3, 4)


class TestKappaInterval:
    def test_holds_kappa(self) -> None:
        a = ["safe"] * 60 + ["unsafe"] * 40
        b = ["safe"] * 50 + ["unsafe"] * 40 + ["safe"] * 10
        kappa, interval = cohen_kappa(a, b), kappa_interval(a, b, 0)
        assert kappa is not None
        assert interval is not None
        assert interval.low < kappa < interval.high
        # Fleiss, Cohen and Everitt's large-sample error is about 0.08 here.
        assert interval.high - interval.low == pytest.approx(0.32, abs=0.06)

    def test_is_none_where_kappa_is(self) -> None:
        assert kappa_interval(["safe"], ["safe"], 0) is None
        assert kappa_interval([], [], 0) is None


def test_several_comparisons_are_adjusted_after_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_items_that_tell_a_difference_are_as_a_simulation_finds():
    needed = pairs_for_difference(0.3, 0.1)
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(400):
        ours, theirs = generator.random(needed) < 0.3, generator.random(needed) < 0.2
        b, c = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
        found += (b - c) ** 2 / max(1, b + c) > 1.96**2
    assert found / 400 == pytest.approx(0.8, abs=0.06)
    assert pairs_for_difference(0.0, 0.02) == pairs_for_difference(0.02, 0.02)
    with pytest.raises(ValueError, match="rate"):
        pairs_for_difference(1.2, 0.02)
