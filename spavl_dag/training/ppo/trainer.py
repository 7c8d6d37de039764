"""PPO's loop: draw answers, rate them, and step policy and values (paper, 'Training').

One step is one batch of questions: its answers are drawn and rated once, and `ppo_epochs` optimizer steps are made on
all of them. Rewards are the reward model's score at the answer's end, and minus the KL to the reference at each token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor

from spavl_dag.errors import EngineError, MissingInputError
from spavl_dag.inference.engines.loading import pick_device, pick_dtype
from spavl_dag.inference.request import Decoding
from spavl_dag.params.training import PpoExperiment, TuningParams
from spavl_dag.progress import Progress
from spavl_dag.training.examples import Encoder, PreferenceRow
from spavl_dag.training.job import Job
from spavl_dag.training.loop import (
    NotFiniteError,
    RowOrder,
    States,
    count_steps,
    deterministic,
    draw_seed,
    enable_checkpointing,
    make_accelerator,
    make_optimizer,
    trainable,
)
from spavl_dag.training.models import Loaded, frozen_copy, load_policy, save_weights
from spavl_dag.training.ppo import functions as f
from spavl_dag.training.ppo.actor_critic import (
    ActorCritic,
    AnswerBatch,
    Judged,
    placeholder_tokens,
    without_dropout,
)
from spavl_dag.training.ppo.rollout import Rollout, roll_out
from spavl_dag.training.progress import Curve
from spavl_dag.training.reward.model import load_reward_model
from spavl_dag.training.reward.scorer import RewardScorer
from spavl_dag.training.sequences import join_answers
from spavl_dag.training.state import FINAL, publish

VERSION = 1

_GENERATED_AT_ONCE = 4
"""Answers drawn in one batch, as a multiple of those trained on in one pass: drawing keeps no activations."""


@dataclass(frozen=True, slots=True)
class Experience:
    """A part of a batch of rollouts, as it was when the answers were drawn.

    Attributes:
        batch: Prompts with answers.
        scores: Rewards of whole answers, shape (rows,).
        old: What policy and values said, without gradients.
        reference_log_probs: What the reference said, shape (rows, tokens).
    """

    batch: AnswerBatch
    scores: Tensor
    old: Judged
    reference_log_probs: Tensor


@dataclass(frozen=True, slots=True)
class Target:
    """What a part is trained towards; each of shape (rows, tokens).

    Attributes:
        advantages: How much better each token was than expected.
        returns: What the values should have been.
    """

    advantages: Tensor
    returns: Tensor


def train_ppo(job: Job, rows: Sequence[PreferenceRow], encoder: Encoder, progress: Progress) -> None:
    """Train a policy by PPO, or go on where an interrupted training of the same work folder was.

    The reference is a frozen copy of the start, or with LoRA the policy with its adapter off. The values are a model of
    their own, started from the reward model, head included. Leaves `final/` and `curve.jsonl` in the work folder.

    Args:
        job: Method "ppo".
        rows: Questions with pictures; their answers are not read.
        encoder: Of the policy's processor and the job's prompt.
        progress: Told about steps.

    Raises:
        MissingInputError: There is no reward model.
        EngineError: A model can't be loaded, or the reward model has other tokens than the policy.
        NotFiniteError: Loss or KL are no numbers any more.
        ParamsError: The batch can't be spread over the devices.
    """
    _PpoTraining(job, rows, encoder).run(progress)


class _PpoTraining:
    """One training: what stays the same from step to step."""

    def __init__(self, job: Job, rows: Sequence[PreferenceRow], encoder: Encoder) -> None:
        if job.reward_model is None:
            raise MissingInputError("PPO has no reward model", "Make the artifact `reward_model` first.")
        training = job.training
        assert isinstance(training, PpoExperiment)
        self._job, self._save = job, training.save
        self._settings = training.hyperparameters
        self._optimizer = training.optimizer
        self._rows = rows
        self._encoder = encoder
        runtime, tuning = job.runtime, training.tuning
        dtype = pick_dtype(job.dtype, pick_device(job.device))
        self._accelerator, self._size = make_accelerator(
            job.device, dtype, self._optimizer.batch_size, runtime.per_device_batch
        )
        torch.manual_seed(job.seed)
        self._loaded = replace(
            load_policy(job.model, job.revision, tuning, job.device, job.dtype), processor=encoder.processor
        )
        self._reference = frozen_copy(self._loaded.model, dtype) if tuning.mode == "full" else None
        self._scorer = RewardScorer(job.reward_model, job.device, job.dtype, batch_size=2 * self._size)
        self._suppressed = placeholder_tokens(self._loaded.model)
        self._module = self._actor_critic(tuning, gradient_checkpointing=runtime.gradient_checkpointing)
        self._steps = count_steps(len(rows), self._optimizer)
        adamw, self._schedule = make_optimizer(self._rates(), self._optimizer, self._steps * self._settings.ppo_epochs)
        self._prepared, self._adamw = self._accelerator.prepare(self._module, adamw)
        self._order = RowOrder(len(rows), job.seed)

    def run(self, progress: Progress) -> None:
        job, every = self._job, self._job.runtime.checkpoint_every
        states = States(self._accelerator, job.work, self._schedule)
        done, extra = states.restore()
        kl_coefficient = extra.get("kl_coefficient", self._settings.kl_coefficient)
        curve = Curve(job.work, done) if self._accelerator.is_main_process else None
        with deterministic(self._accelerator.device):
            for step in range(done, self._steps):
                progress("ppo", step, self._steps)
                metrics, stopped = self._step(step, kl_coefficient)
                if curve is not None:
                    curve.append(step + 1, metrics)
                if stopped:
                    break
                if self._settings.kl_target is not None:
                    kl_coefficient = f.adapted_coefficient(kl_coefficient, metrics["kl"], self._settings.kl_target)
                epochs = self._settings.ppo_epochs
                if (step + 1) * epochs // every > step * epochs // every and step + 1 < self._steps:
                    states.save(step + 1, {"kl_coefficient": kl_coefficient})
        progress("ppo", self._steps, self._steps)
        if self._accelerator.is_main_process:
            publish(
                job.work / FINAL,
                lambda folder: save_weights(self._loaded, folder, save=self._save, base_name=job.base_name),
            )
        self._accelerator.wait_for_everyone()
        states.clear()

    def _step(self, step: int, kl_coefficient: float) -> tuple[dict[str, float], bool]:
        """One batch of questions: metrics, and whether the KL says to stop before stepping."""
        self._prepared.eval()
        with self._accelerator.autocast():
            rollouts = self._draw(step)
            experiences, metrics = self._experience(rollouts)
        metrics["kl_coefficient"] = kl_coefficient
        _check_finite(metrics, step)
        stop = self._settings.kl_stop
        if stop is not None and metrics["kl"] > stop:
            return metrics | {"stopped_early": 1.0}, True
        targets, explained = self._targets(experiences, kl_coefficient)
        metrics["explained_variance"] = explained
        metrics["learning_rate"] = self._schedule.get_last_lr()[0]
        self._prepared.train()
        for _ in range(self._settings.ppo_epochs):
            metrics |= self._improve(experiences, targets, step)
        return metrics, False

    def _draw(self, step: int) -> list[Rollout]:
        """This device's rollouts of a step."""
        accelerator, settings = self._accelerator, self._settings
        indices = self._order.batch(step, self._optimizer.batch_size)
        seeds = [draw_seed(self._job.seed, step, place) for place in range(len(indices))]
        share = slice(accelerator.process_index, None, accelerator.num_processes)
        mine, seeds = [self._rows[index] for index in indices[share]], seeds[share]
        decoding = Decoding(settings.max_new_tokens, temperature=settings.temperature)
        rollouts: list[Rollout] = []
        at_once = _GENERATED_AT_ONCE * self._size
        for start in range(0, len(mine), at_once):
            part = slice(start, start + at_once)
            rollouts += roll_out(self._loaded, self._encoder, mine[part], seeds[part], decoding, self._suppressed)
        return rollouts

    def _experience(self, rollouts: Sequence[Rollout]) -> tuple[list[Experience], dict[str, float]]:
        """Rate the rollouts, and note what policy, values and reference say about them."""
        rewards = self._scorer.score(
            [rollout.row.question for rollout in rollouts],
            [rollout.row.image for rollout in rollouts],
            [rollout.text for rollout in rollouts],
        )
        penalty = self._settings.missing_end_penalty
        scores = [
            reward if rollout.ended else reward - penalty for reward, rollout in zip(rewards, rollouts, strict=True)
        ]
        experiences = []
        for start in range(0, len(rollouts), self._size):
            part = slice(start, start + self._size)
            batch = self._batch(rollouts[part])
            with torch.no_grad():
                old = self._module(batch)
            reference = self._module.reference_log_probs(batch, self._reference)
            rated = torch.tensor(scores[part], dtype=torch.float32, device=batch.tokens.device)
            experiences.append(Experience(batch, rated, old, reference))
        return experiences, self._measure(rollouts, rewards, experiences)

    def _batch(self, rollouts: Sequence[Rollout]) -> AnswerBatch:
        prompts = self._encoder.prompts(
            [rollout.row.question for rollout in rollouts], [rollout.row.image for rollout in rollouts]
        )
        pad = self._encoder.processor.tokenizer.pad_token_id
        joined = join_answers(prompts, [rollout.tokens for rollout in rollouts], pad)
        return AnswerBatch.of(self._loaded.model, joined)

    def _measure(
        self, rollouts: Sequence[Rollout], rewards: Sequence[float], experiences: Sequence[Experience]
    ) -> dict[str, float]:
        """Means over the answers of all devices; reward is the reward model's, without penalty and KL."""
        sums = torch.zeros(8, dtype=torch.float64)
        sums[0] = len(rollouts)
        sums[1], sums[2] = sum(rewards), sum(reward * reward for reward in rewards)
        sums[3] = sum(len(rollout.tokens) for rollout in rollouts)
        sums[4] = sum(rollout.ended for rollout in rollouts)
        for part in experiences:
            mask = part.batch.mask
            k1, k3 = (kl(part.old.log_probs, part.reference_log_probs) for kl in (f.kl_k1, f.kl_k3))
            for place, values in ((5, k1), (6, k3), (7, part.old.entropy)):
                sums[place] += values.masked_fill(~mask, 0.0).sum().double().cpu()
        answers, reward, squares, tokens, ended, kl, kl_k3, entropy = self._total(sums)
        mean = reward / answers
        return {
            "reward": mean,
            "reward_std": math.sqrt(max(0.0, squares / answers - mean * mean)),
            "answer_length": tokens / answers,
            "ended": ended / answers,
            "kl": kl / answers,
            "kl_k3": kl_k3 / answers,
            "entropy": entropy / tokens,
        }

    def _targets(self, experiences: Sequence[Experience], kl_coefficient: float) -> tuple[list[Target], float]:
        """Advantages and returns of all parts, whitened over all devices; and the values' explained variance."""
        settings = self._settings
        rewards = [
            f.shaped_rewards(part.scores, part.old.log_probs, part.reference_log_probs, part.batch.mask, kl_coefficient)
            for part in experiences
        ]
        masks = [part.batch.mask for part in experiences]
        if settings.whiten_rewards:
            rewards = self._whitened(rewards, masks, shift_mean=False)
        advantages, returns = zip(
            *(
                f.generalized_advantages(reward, part.old.values, part.batch.mask, settings.gamma, settings.gae_lambda)
                for reward, part in zip(rewards, experiences, strict=True)
            ),
            strict=True,
        )
        # Returns minus values are the advantages as they are before whitening.
        explained = f.explained_variance(self._moments(advantages, masks), self._moments(returns, masks))
        if settings.whiten_advantages:
            advantages = tuple(self._whitened(advantages, masks, shift_mean=True))
        return [Target(*pair) for pair in zip(advantages, returns, strict=True)], explained

    def _improve(self, experiences: Sequence[Experience], targets: Sequence[Target], step: int) -> dict[str, float]:
        """One optimizer step on the whole batch; the losses are means over its tokens."""
        settings, accelerator = self._settings, self._accelerator
        tokens = self._total(torch.stack([part.batch.mask.sum() for part in experiences]).sum()[None].double())[0]
        # The accelerator takes the mean over passes and devices; the batch's mean over tokens is wanted.
        scale = accelerator.gradient_accumulation_steps * accelerator.num_processes / tokens
        sums = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
        for part, target in zip(experiences, targets, strict=True):
            mask = part.batch.mask
            with accelerator.accumulate(self._prepared):
                new = self._prepared(part.batch)
                policy, policy_clipped = f.clipped_policy_loss(
                    new.log_probs, part.old.log_probs, target.advantages, settings.clip
                )
                value, value_clipped = f.clipped_value_loss(
                    new.values, part.old.values, target.returns, settings.value_clip
                )
                loss = (policy + settings.value_weight * value).masked_fill(~mask, 0.0).sum() * scale
                accelerator.backward(loss)
            parts = (policy, value, policy_clipped, value_clipped)
            sums += torch.stack([values.detach().double().masked_fill(~mask, 0.0).sum() for values in parts])
        names = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction")
        metrics = {name: total / tokens for name, total in zip(names, self._total(sums), strict=True)}
        metrics["loss"] = metrics["policy_loss"] + settings.value_weight * metrics["value_loss"]
        _check_finite(metrics, step)
        # Each on its own, so that large errors of the values don't slow the policy down.
        for module in (self._module.policy, self._module.critic):
            accelerator.clip_grad_norm_(trainable(module), self._optimizer.max_grad_norm)
        self._adamw.step()
        self._schedule.step()
        self._adamw.zero_grad()
        return metrics

    def _actor_critic(self, tuning: TuningParams, *, gradient_checkpointing: bool) -> ActorCritic:
        job = self._job
        assert job.reward_model is not None
        critic, judged = load_reward_model(job.reward_model, tuning, job.device, job.dtype)
        _check_same_tokens(self._loaded, judged)
        module = ActorCritic(self._loaded.model, critic, self._settings.temperature, self._suppressed)
        without_dropout(module)
        if gradient_checkpointing:
            for network in (module.policy, critic.network):
                enable_checkpointing(network)
        return module

    def _rates(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        rate = self._optimizer.learning_rate
        value_rate = self._settings.value_learning_rate or rate
        return [(trainable(self._module.policy), rate), (trainable(self._module.critic), value_rate)]

    def _whitened(self, parts: Sequence[Tensor], masks: Sequence[Tensor], *, shift_mean: bool) -> list[Tensor]:
        moments = self._moments(parts, masks)
        return [
            f.whitened(values, mask, moments, shift_mean=shift_mean) for values, mask in zip(parts, masks, strict=True)
        ]

    def _moments(self, parts: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Moments of all parts of all devices."""
        mine = torch.stack([f.masked_moments(values, mask) for values, mask in zip(parts, masks, strict=True)]).sum(0)
        return torch.as_tensor(self._accelerator.reduce(mine, "sum"))

    def _total(self, sums: Tensor) -> list[float]:
        """Sums over all devices."""
        return _reduced(self._accelerator, sums)


def _reduced(accelerator: Accelerator, sums: Tensor) -> list[float]:
    total: list[float] = accelerator.reduce(sums.to(accelerator.device), "sum").tolist()
    return total


def _check_finite(metrics: Mapping[str, float], step: int) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NotFiniteError(
                f"PPO's {name} is {value} in step {step + 1}",
                "Lower optimizer.learning_rate or max_grad_norm, or raise hyperparameters.kl_coefficient.",
            )


def _check_same_tokens(policy: Loaded, reward: Loaded) -> None:
    if policy.processor.tokenizer.get_vocab() != reward.processor.tokenizer.get_vocab():
        raise EngineError(
            "the reward model has other tokens than the policy, so it can't be the start of PPO's values",
            "Train the reward model from the same base model, or use grpo or rloo, which need no values.",
        )
