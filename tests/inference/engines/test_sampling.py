"""Noise, candidates and penalties: what a row draws is its own affair, and has the right distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from spavl_dag.inference.engines.sampling import SeededSampling, add_noise, gumbel_noise, keep_candidates, row_streams
from spavl_dag.inference.request import Decoding

SEEDS = [*range(20_000), 2**64 - 1]


def splitmix64(value: int) -> int:
    """The reference output function, on Python's integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def test_noise_is_the_reference_generator_bit_by_bit() -> None:
    golden = 0x9E3779B97F4A7C15
    noise = gumbel_noise(row_streams([7, 2**64 - 1], "cpu"), step=3, size=5)
    for row, seed in enumerate([7, 2**64 - 1]):
        start = splitmix64((splitmix64((seed + golden) % 2**64) + 4 * golden) % 2**64)
        for token in range(5):
            bits = splitmix64((start + (token + 1) * golden) % 2**64)
            uniform = ((bits >> 11) + 0.5) * 2.0**-53
            assert noise[row, token].item() == pytest.approx(-np.log(-np.log(uniform)), rel=1e-12)


def test_noise_of_the_candidates_is_that_of_the_whole_vocabulary() -> None:
    scores = keep_candidates(torch.randn(6, 400, generator=torch.Generator().manual_seed(2)), 30, 0.9)
    streams = row_streams(range(6), "cpu")
    assert torch.equal(add_noise(scores, streams, 4), scores + gumbel_noise(streams, 4, 400))


def test_noise_is_standard_gumbel_across_rows_steps_and_tokens() -> None:
    streams = row_streams(range(200), "cpu")
    steps = torch.stack([gumbel_noise(streams, step, 50) for step in range(20)])
    for sample in (steps[0, :, 0], steps[:, 0, 0], steps[0, 0], steps.flatten()):
        assert stats.kstest(sample.numpy(), "gumbel_r").pvalue > 0.001
    flat = steps.reshape(20, -1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(20)).max() < 0.05


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(1, temperature=1.0),
        Decoding(1, temperature=0.5),
        Decoding(1, temperature=1.5, top_k=4),
        Decoding(1, temperature=1.0, top_p=0.8),
    ],
)
def test_draws_have_the_softmax_distribution(decoding: Decoding) -> None:
    logits = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0])
    sampling = SeededSampling(decoding, SEEDS, torch.ones(len(SEEDS), 3, dtype=torch.int64), None)
    drawn = sampling(torch.zeros(len(SEEDS), 3, dtype=torch.int64), logits.repeat(len(SEEDS), 1)).argmax(-1)
    scores = (logits / decoding.temperature)[None]
    if decoding.top_k:
        scores = TopKLogitsWarper(decoding.top_k)(None, scores)
    if decoding.top_p < 1:
        scores = TopPLogitsWarper(decoding.top_p)(None, scores)
    expected = scores.softmax(-1)[0].double()
    counts = torch.bincount(drawn, minlength=8)
    assert counts[expected == 0].sum() == 0
    likely = expected > 0
    share = expected[likely] / expected[likely].sum()
    assert stats.chisquare(counts[likely].numpy(), (share * len(SEEDS)).numpy()).pvalue > 0.001


@pytest.mark.parametrize("size", [50, 3000])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.9), (7, 1.0), (20, 0.6), (0, 1.0), (9999, 0.5), (0, 0.99999)])
def test_candidates_are_those_of_transformers(size: int, top_k: int, top_p: float) -> None:
    scores = torch.randn(16, size, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 6, 16)[:, None]
    expected = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    expected = TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected
    differing = (keep_candidates(scores, top_k, top_p).isinf() != expected.isinf()).sum().item()
    assert differing <= (3 if top_p > 0.99 else 0)  # float32 sums against float64 ones at the last candidate


def test_repetition_penalty_sees_the_row_and_not_its_padding() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0, 3.0]])
    alone = SeededSampling(Decoding(4, repetition_penalty=2.0), [0], torch.tensor([[1, 1]]), None)
    padded = SeededSampling(Decoding(4, repetition_penalty=2.0), [0], torch.tensor([[0, 0, 1, 1]]), None)
    expected = RepetitionPenaltyLogitsProcessor(2.0)(torch.tensor([[1, 2]]), logits)
    assert torch.equal(alone(torch.tensor([[1, 2]]), logits), expected)
    assert torch.equal(padded(torch.tensor([[0, 0, 1, 2]]), logits), expected)
    expected = RepetitionPenaltyLogitsProcessor(2.0)(torch.tensor([[1, 2, 3]]), logits)
    assert torch.equal(padded(torch.tensor([[0, 0, 1, 2, 3]]), logits), expected)


def test_broken_rows_are_noted_with_their_step_and_leave_the_others_alone() -> None:
    sampling = SeededSampling(Decoding(4), [0, 0, 0], torch.ones(3, 2, dtype=torch.int64), 1)
    good = torch.tensor([0.0, 0.0, 5.0])
    first = sampling(torch.zeros(3, 2, dtype=torch.int64), torch.stack([good, good * torch.nan, good]))
    assert first.argmax(-1).tolist() == [2, 1, 2]
    sampling.keep([0, 2])
    sampling(torch.zeros(2, 3, dtype=torch.int64), torch.stack([good, good * 0 + torch.inf]))
    assert sampling.broken_rows([2, 1, 2]) == [False, True, True]
    assert sampling.broken_rows([2, 1, 1]) == [False, True, False]  # it broke after its text had ended
