"""Rewards of answers as they are read: the reward function of PPO, GRPO and RLOO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from spavl_dag.inference.engines.loading import pick_device, pick_dtype
from spavl_dag.inference.request import ImageRef
from spavl_dag.params.training import TuningParams
from spavl_dag.training.examples import Encoder
from spavl_dag.training.reward.model import RewardModel, load_reward_model, read_prompt
from spavl_dag.training.sequences import inputs_for

_FROZEN = TuningParams(mode="full", train_projector=False)


class RewardScorer:
    """A frozen reward model with its own processor and prompt.

    It reads text, so the policy may have another tokenizer. Every answer is read as if it had ended.
    """

    def __init__(self, folder: Path, device: str = "auto", dtype: str = "auto", batch_size: int = 32) -> None:
        """Load the reward model.

        Args:
            folder: Written by `save_reward_model`.
            device: "auto", "cpu", "cuda" or "cuda:<n>".
            dtype: "auto", "float32" or "bfloat16".
            batch_size: Most answers per forward pass.

        Raises:
            MissingInputError: The folder holds no reward model.
            EngineError: Its weights can't be loaded.
        """
        prompt = read_prompt(folder)
        self._model, loaded = load_reward_model(folder, _FROZEN, device, dtype)
        self._model.to(pick_dtype(dtype, pick_device(device))).eval().requires_grad_(requires_grad=False)
        self._model.head.float()
        self._encoder = Encoder(loaded.processor, prompt.template, prompt.system, prompt.max_length, loaded.end_tokens)
        self._batch_size = batch_size

    def score(self, questions: Sequence[str], images: Sequence[ImageRef], answers: Sequence[str]) -> list[float]:
        """Reward of each answer.

        Args:
            questions: One per answer.
            images: Pictures, one per answer.
            answers: Texts without control tokens.

        Returns:
            A number per answer; only differences between answers to the same question mean something.

        Raises:
            UnreadableImageError: A picture can't be decoded.
            ChangedImageError: A file isn't what it was when `images` was made.
        """
        return score_answers(self._model, self._encoder, questions, images, answers, self._batch_size)


@torch.no_grad()
def score_answers(
    model: RewardModel,
    encoder: Encoder,
    questions: Sequence[str],
    images: Sequence[ImageRef],
    answers: Sequence[str],
    batch_size: int,
) -> list[float]:
    """Rewards by a model at hand; see `RewardScorer.score`."""
    rewards: list[float] = []
    for start in range(0, len(answers), batch_size):
        part = slice(start, start + batch_size)
        batch = encoder.sequences(questions[part], images[part], answers[part])
        rewards += model(inputs_for(model.network, batch)).tolist()
    return rewards
