"""The arithmetic of PPO on tokens: rewards, advantages, losses and divergences.

Belongs here: pure functions of tensors. All of them take one row per rollout and one column per answer token, shape
(rows, tokens); `mask` is True where a row has a token and False in the padding that follows it. What stands in the
padding never matters. Divergences are in nats.

Sources: PPO is Schulman et al. 2017 (arXiv:1707.06347), GAE Schulman et al. 2016 (arXiv:1506.02438), the KL as a
reward of each token and its adaptive coefficient Ziegler et al. 2019 (arXiv:1909.08593), k1 and k3 Schulman's note
"Approximating KL divergence" (2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-8
_ADAPTION = 0.1
_LARGEST_ERROR = 0.2


def token_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each token.

    Args:
        logits: Shape (rows, tokens, vocabulary); those that chose each token.
        tokens: Token ids, shape (rows, tokens).

    Returns:
        Shape (rows, tokens), float32, at most 0.
    """
    wide = logits.float()
    return wide.gather(-1, tokens[..., None]).squeeze(-1) - wide.logsumexp(-1)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy of the distribution each token was drawn from, in nats.

    Args:
        logits: Shape (rows, tokens, vocabulary); finite (large negative numbers stand for impossible tokens).

    Returns:
        Shape (rows, tokens), float32, at least 0 up to rounding.
    """
    wide = logits.float()
    return wide.logsumexp(-1) - (wide.softmax(-1) * wide).sum(-1)


def kl_k1(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Unbiased estimate of KL(policy || reference) by token, for tokens the policy drew; single ones may be negative.

    Args:
        log_probs: Of the policy, shape (rows, tokens).
        reference_log_probs: Of the reference, the same shape.
    """
    return log_probs - reference_log_probs


def kl_k3(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Like `kl_k1`, unbiased as well, with less variance and never negative: r - 1 - log r, r = reference/policy."""
    log_ratio = reference_log_probs - log_probs
    estimate: Tensor = log_ratio.expm1() - log_ratio
    return estimate


def shaped_rewards(
    scores: Tensor, log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor, kl_coefficient: float
) -> Tensor:
    """Reward of every token: minus its KL, and the answer's score on its last token (Ziegler et al., eq. 2).

    Args:
        scores: Of whole answers, shape (rows,).
        log_probs: Of the policy that drew the tokens, shape (rows, tokens).
        reference_log_probs: Of the reference.
        mask: Where tokens are; at least one in each row.
        kl_coefficient: Price of a nat.

    Returns:
        Shape (rows, tokens); 0 in the padding.
    """
    rewards = -kl_coefficient * kl_k1(log_probs, reference_log_probs)
    last = mask.sum(-1, keepdim=True) - 1
    rewards = rewards.scatter_add(-1, last, scores[:, None].to(rewards.dtype))
    return rewards.masked_fill(~mask, 0.0)


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16), with the episode ending at the last token.

    Args:
        rewards: Shape (rows, tokens).
        values: What was expected before each token was drawn, shape (rows, tokens).
        mask: Where tokens are.
        gamma: Discount per token.
        gae_lambda: 0 trusts the values (one-step errors), 1 the rewards (Monte Carlo).

    Returns:
        Advantages and returns (advantage plus value: what the values should have been), 0 in the padding.
    """
    real = mask.to(values.dtype)
    advantages = torch.zeros_like(values)
    advantage = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(advantage)
    for token in range(values.shape[1] - 1, -1, -1):
        error = rewards[:, token] + gamma * next_value - values[:, token]
        # Padding comes after the last token: nothing of it may flow back.
        advantage = (error + gamma * gae_lambda * advantage) * real[:, token]
        next_value = values[:, token] * real[:, token]
        advantages[:, token] = advantage
    return advantages, (advantages + values).masked_fill(~mask, 0.0)


def masked_moments(values: Tensor, mask: Tensor) -> Tensor:
    """Number, sum and sum of squares of all tokens, shape (3,), float64; moments of parts of a batch add up."""
    wide = values.double().masked_fill(~mask, 0.0)
    return torch.stack([mask.sum().double(), wide.sum(), wide.square().sum()])


def whitened(values: Tensor, mask: Tensor, moments: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Values scaled to variance 1.

    Args:
        values: Shape (rows, tokens).
        mask: Where tokens are.
        moments: `masked_moments` of the whole batch, of which `values` may be a part.
        shift_mean: Whether the mean becomes 0; for rewards it mustn't, since it says whether to act at all.

    Returns:
        Shape (rows, tokens); 0 in the padding.
    """
    count, total, squares = moments
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0.0)
    white: Tensor = (values.double() - mean) / (variance + _EPSILON).sqrt()
    if not shift_mean:
        white = white + mean
    return white.to(values.dtype).masked_fill(~mask, 0.0)


def clipped_policy_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate of PPO by token, to be made small (Schulman et al. 2017, eq. 7).

    Args:
        log_probs: Of the policy as it is now, shape (rows, tokens); the gradient flows here.
        old_log_probs: Of the policy that drew the tokens.
        advantages: How much better each token was than expected.
        clip: How far from 1 the ratio of probabilities still counts.

    Returns:
        The loss, and whether clipping decided it, both of shape (rows, tokens).
    """
    ratio = (log_probs - old_log_probs).exp()
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    return torch.maximum(free, clipped), clipped > free


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Half the squared error of the values by token, the larger of free and clipped (PPO's reference code).

    Args:
        values: As they are now, shape (rows, tokens); the gradient flows here.
        old_values: As they were when the tokens were drawn.
        returns: What they should have been.
        clip: How far from the old value a new one still counts.

    Returns:
        The loss, and whether clipping decided it, both of shape (rows, tokens).
    """
    free = (values - returns).square()
    near = old_values + (values - old_values).clamp(-clip, clip)
    clipped = (near - returns).square()
    return 0.5 * torch.maximum(free, clipped), clipped > free


def adapted_coefficient(coefficient: float, kl: float, target: float) -> float:
    """The next KL coefficient of a controller that aims at `target` (Ziegler et al. 2019, section 2.2).

    Args:
        coefficient: The present one.
        kl: Nats per answer that were seen with it.
        target: Nats per answer that are wanted.
    """
    error = min(max(kl / target - 1.0, -_LARGEST_ERROR), _LARGEST_ERROR)
    return coefficient * (1.0 + _ADAPTION * error)


def explained_variance(errors: Tensor, returns: Tensor) -> float:
    """Share of the returns' variance that the values foretold: 1 is all, 0 none, below 0 worse than the mean.

    Args:
        errors: `masked_moments` of returns minus values.
        returns: `masked_moments` of the returns.

    Returns:
        The share; 0 where returns don't vary.
    """
    spread, left = (float(squares / count - (total / count).square()) for count, total, squares in (returns, errors))
    return 1.0 - left / spread if spread > _EPSILON else 0.0
