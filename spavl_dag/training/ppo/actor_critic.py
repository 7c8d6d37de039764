"""What PPO trains: the policy and the values, as one module, and what both say about a batch of answers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spavl_dag.errors import EngineError
from spavl_dag.training.ppo.functions import token_entropy, token_log_probs
from spavl_dag.training.reward.model import RewardModel
from spavl_dag.training.sequences import bare_network, inputs_for

_IMPOSSIBLE = -1e9
"""Logit of a token that can't be drawn: finite, so that entropies stay numbers; its probability is 0 exactly."""

_PLACEHOLDERS = ("image_token_id", "video_token_id", "audio_token_id")


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Prompts with answers, ready for a forward pass.

    Attributes:
        inputs: Model inputs, padded on the right, shape (rows, length) each.
        tokens: The answers' token ids, shape (rows, tokens); what fills rows up doesn't matter.
        mask: Where `tokens` holds an answer's token, shape (rows, tokens), bool.
        starts: Place of each answer's first token in its row of `inputs`, shape (rows,).
    """

    inputs: dict[str, Any]
    tokens: Tensor
    mask: Tensor
    starts: Tensor

    @classmethod
    def of(cls, network: Any, joined: Mapping[str, Any]) -> AnswerBatch:
        """Take a batch of `sequences.join_answers` apart.

        Args:
            network: What it is for: decides device, dtype and which inputs are taken.
            joined: The batch.
        """
        inputs = inputs_for(network, joined)
        ids = inputs["input_ids"]
        completion = joined["completion_mask"].to(ids.device).bool()
        lengths = completion.sum(-1)
        starts = completion.int().argmax(-1)
        places = torch.arange(int(lengths.max()), device=ids.device)
        mask = places < lengths[:, None]
        columns = (starts[:, None] + places).clamp(max=ids.shape[1] - 1)
        return cls(inputs, ids.gather(1, columns), mask, starts)

    def before_answers(self, per_token: Tensor, first: int = 0) -> Tensor:
        """What stands one place before each answer token, where it was decided upon.

        Args:
            per_token: Shape (rows, length - first, ...).
            first: Column of the inputs that `per_token` begins at.

        Returns:
            Shape (rows, tokens, ...).
        """
        places = torch.arange(self.mask.shape[1], device=self.starts.device)
        columns = (self.starts[:, None] - 1 - first + places).clamp(max=per_token.shape[1] - 1)
        rows = torch.arange(len(columns), device=self.starts.device)[:, None]
        return per_token[rows, columns]


@dataclass(frozen=True, slots=True)
class Judged:
    """What policy and values say about answers; each of shape (rows, tokens), float32.

    Attributes:
        log_probs: Of the tokens.
        entropy: Of the distributions they were drawn from.
        values: Reward expected before each token.
    """

    log_probs: Tensor
    entropy: Tensor
    values: Tensor


class ActorCritic(nn.Module):
    """Policy and value model side by side.

    One module, because DDP and DeepSpeed take one for each optimizer.

    Args:
        policy: The network that is aligned, with or without PEFT's wrapper.
        critic: Started from the reward model; it reads the policy's tokens, so both need the same tokenizer.
        temperature: That answers are drawn with; log-probabilities are those of the distribution that is drawn from.
        suppressed: Tokens that are never drawn, `placeholder_tokens`.
    """

    def __init__(self, policy: Any, critic: RewardModel, temperature: float, suppressed: Sequence[int]) -> None:
        """Join both.

        Raises:
            EngineError: The policy can't compute the logits of chosen places.
        """
        super().__init__()
        if "logits_to_keep" not in inspect.signature(bare_network(policy).forward).parameters:
            raise EngineError(
                f"PPO can't train a {type(bare_network(policy)).__name__}: its forward has no logits_to_keep",
                "Use another model, or another method.",
            )
        self.policy = policy
        self.critic = critic
        self._temperature = temperature
        self._suppressed = list(suppressed)

    def forward(self, batch: AnswerBatch) -> Judged:
        """Log-probabilities, entropies and values of a batch."""
        logits = self._logits(self.policy, batch)
        return Judged(
            log_probs=token_log_probs(logits, batch.tokens),
            entropy=token_entropy(logits),
            values=batch.before_answers(self.critic.values(batch.inputs)),
        )

    @torch.no_grad()
    def reference_log_probs(self, batch: AnswerBatch, reference: Any | None) -> Tensor:
        """What the model before training says, shape (rows, tokens).

        Args:
            batch: The answers.
            reference: Frozen copy of the policy; None switches the policy's adapters off instead.
        """
        with self.policy.disable_adapter() if reference is None else nullcontext():
            network = self.policy if reference is None else reference
            return token_log_probs(self._logits(network, batch), batch.tokens)

    def _logits(self, network: Any, batch: AnswerBatch) -> Tensor:
        """Logits of each answer token's distribution, shape (rows, tokens, vocabulary), float32."""
        first = int(batch.starts.min()) - 1
        kept = torch.arange(first, batch.inputs["input_ids"].shape[1] - 1, device=batch.tokens.device)
        output = network(**batch.inputs, logits_to_keep=kept, use_cache=False, return_dict=True)
        logits = batch.before_answers(output.logits, first).float() / self._temperature
        logits[..., self._suppressed] = _IMPOSSIBLE
        return logits


def placeholder_tokens(network: Any) -> tuple[int, ...]:
    """Tokens that stand for pictures and the like; drawn in an answer, they would ask for one that isn't there."""
    config = bare_network(network).config
    found = {getattr(config, name, None) for name in _PLACEHOLDERS}
    return tuple(sorted(token for token in found if token is not None))


def without_dropout(module: nn.Module) -> None:
    """Switch all dropout off: the ratio of new to old probabilities must come from the weights alone."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "attention_dropout", None), float):
            setattr(part, "attention_dropout", 0.0)  # noqa: B010 - its type is unknown
