"""PPO's arithmetic against numbers computed by hand, and against plain loops that share no code with it."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spavl_dag.training.ppo import functions as f


def column_mask(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width) < torch.tensor(lengths)[:, None]


def loop_advantages(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The definition, not the recursion: the discounted sum of all later one-step errors."""
    errors = [
        reward + gamma * (values[place + 1] if place + 1 < len(values) else 0.0) - values[place]
        for place, reward in enumerate(rewards)
    ]
    return [
        sum((gamma * lam) ** (later - place) * errors[later] for later in range(place, len(errors)))
        for place in range(len(errors))
    ]


def test_advantages_by_hand() -> None:
    """Two rows of 3 and 2 tokens, gamma 0.9, lambda 0.5; worked out on paper."""
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.5, -1.0, 99.0]])
    values = torch.tensor([[0.2, 0.4, 0.6], [0.1, 0.3, 99.0]])
    advantages, returns = f.generalized_advantages(rewards, values, column_mask([3, 2], 3), 0.9, 0.5)
    # Row 1: errors 0.36 - 0.2 = 0.16, 0.54 - 0.4 = 0.14, 1 - 0.6 = 0.4; 0.14 + 0.45 * 0.4 = 0.32; 0.16 + 0.45 * 0.32
    # Row 2: errors 0.5 + 0.27 - 0.1 = 0.67, -1 - 0.3 = -1.3; 0.67 + 0.45 * -1.3 = 0.085
    expected = torch.tensor([[0.304, 0.32, 0.4], [0.085, -1.3, 0.0]])
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, torch.tensor([[0.504, 0.72, 1.0], [0.185, -1.0, 0.0]]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.floats(0.1, 1.0),
    st.floats(0.0, 1.0),
)
def test_advantages_equal_the_definition(seed: int, lengths: list[int], gamma: float, lam: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    rewards, values = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    advantages, returns = f.generalized_advantages(rewards, values, column_mask(lengths, shape[1]), gamma, lam)
    for row, length in enumerate(lengths):
        wanted = loop_advantages(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        assert advantages[row, :length].tolist() == pytest.approx(wanted, abs=1e-9)
        assert (returns - advantages)[row, :length].tolist() == pytest.approx(values[row, :length].tolist())
        assert not advantages[row, length:].any()
        assert not returns[row, length:].any()


def test_without_discount_the_returns_are_the_rewards_to_come() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    _, returns = f.generalized_advantages(rewards, torch.randn(1, 3), column_mask([3], 3), 1.0, 1.0)
    torch.testing.assert_close(returns, torch.tensor([[7.0, 6.0, 4.0]]))


def test_rewards_by_hand() -> None:
    log_probs = torch.log(torch.tensor([[0.5, 0.25, 0.9], [0.1, 0.2, 0.3]]))
    reference = torch.log(torch.tensor([[0.25, 0.25, 0.1], [0.1, 0.8, 0.9]]))
    rewards = f.shaped_rewards(torch.tensor([2.0, -1.0]), log_probs, reference, column_mask([2, 1], 3), 0.1)
    expected = torch.tensor([[-0.1 * math.log(2), 2.0, 0.0], [-1.0, 0.0, 0.0]])
    torch.testing.assert_close(rewards, expected)


def test_log_probabilities_and_entropy_by_hand() -> None:
    probabilities = torch.tensor([[[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]])
    logits = probabilities.log().clamp(min=-1e9) + 7.0  # a constant doesn't matter
    log_probs = f.token_log_probs(logits, torch.tensor([[1, 0]]))
    torch.testing.assert_close(log_probs, torch.tensor([[math.log(0.25), 0.0]]))
    torch.testing.assert_close(f.token_entropy(logits), torch.tensor([[1.5 * math.log(2), 0.0]]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.5))
def test_losses_equal_plain_loops(seed: int, clip: float) -> None:
    draw = random.Random(seed)
    new, old, advantage = ([draw.gauss(0, 1) for _ in range(12)] for _ in range(3))
    now, before, gain = (torch.tensor([numbers], dtype=torch.float64) for numbers in (new, old, advantage))
    loss, clipped = f.clipped_policy_loss(now, before, gain, clip)
    value, value_clipped = f.clipped_value_loss(now, before, gain, clip)
    for place in range(12):
        ratio = math.exp(new[place] - old[place])
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        wanted = -min(ratio * advantage[place], bounded * advantage[place])
        assert loss[0, place].item() == pytest.approx(wanted)
        assert bool(clipped[0, place]) == (bounded * advantage[place] < ratio * advantage[place])
        near = old[place] + min(max(new[place] - old[place], -clip), clip)
        squares = ((new[place] - advantage[place]) ** 2, (near - advantage[place]) ** 2)
        assert value[0, place].item() == pytest.approx(max(squares) / 2)
        assert bool(value_clipped[0, place]) == (squares[1] > squares[0])


def test_clipped_tokens_have_no_gradient() -> None:
    new = torch.tensor([[0.5, 0.5, 0.0]], requires_grad=True)
    loss, clipped = f.clipped_policy_loss(new, torch.zeros(1, 3), torch.tensor([[1.0, -1.0, 1.0]]), 0.2)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert clipped.tolist() == [[True, False, False]]
    assert new.grad is not None
    torch.testing.assert_close(new.grad, torch.tensor([[0.0, math.exp(0.5), -1.0]]))


def test_divergences_are_unbiased() -> None:
    """Weighted by the policy's probabilities, both estimators give the divergence."""
    policy = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    exact = sum(p * math.log(p / r) for p, r in zip(policy.tolist(), reference.tolist(), strict=True))
    for estimate in (f.kl_k1, f.kl_k3):
        assert (policy * estimate(policy.log(), reference.log())).sum().item() == pytest.approx(exact)
    assert (f.kl_k3(policy.log(), reference.log()) >= 0).all()
    assert not f.kl_k3(policy.log(), policy.log()).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=2, max_size=5), st.booleans())
def test_whitening_parts_is_whitening_the_whole(seed: int, lengths: list[int], shift_mean: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn((len(lengths), 6), generator=draw) * 3 + 5
    mask = column_mask(lengths, 6)
    moments = f.masked_moments(values[:1], mask[:1]) + f.masked_moments(values[1:], mask[1:])
    white = f.whitened(values, mask, moments, shift_mean=shift_mean)
    plain = values[mask].double()
    if len(plain) > 2:
        assert white[mask].std(unbiased=False).item() == pytest.approx(1.0, abs=1e-4)
    wanted = 0.0 if shift_mean else plain.mean().item()
    assert white[mask].mean().item() == pytest.approx(wanted, abs=1e-4)
    assert not white[~mask].any()


def test_padding_never_matters() -> None:
    mask = column_mask([2, 1], 3)
    clean, dirty = torch.ones(2, 3), torch.where(mask, 1.0, torch.nan)
    for values in (clean, dirty):
        assert f.masked_moments(values, mask).tolist() == [3.0, 3.0, 3.0]


def test_coefficient_follows_its_target() -> None:
    assert f.adapted_coefficient(0.1, kl=6.0, target=6.0) == pytest.approx(0.1)
    assert f.adapted_coefficient(0.1, kl=6.6, target=6.0) == pytest.approx(0.1 * 1.01)
    assert f.adapted_coefficient(0.1, kl=60.0, target=6.0) == pytest.approx(0.1 * 1.02)  # at most a fifth off
    assert f.adapted_coefficient(0.1, kl=-60.0, target=6.0) == pytest.approx(0.1 * 0.98)


def test_explained_variance() -> None:
    mask = column_mask([4], 4)
    returns = torch.tensor([[1.0, 2.0, 3.0, 4.0]])

    def share(values: torch.Tensor) -> float:
        return f.explained_variance(f.masked_moments(returns - values, mask), f.masked_moments(returns, mask))

    assert share(returns) == 1.0
    assert share(torch.zeros(1, 4)) == 0.0
    assert share(returns / 2) == pytest.approx(0.75)
    constant = f.masked_moments(torch.ones(1, 4), mask)
    assert f.explained_variance(constant, constant) == 0.0
