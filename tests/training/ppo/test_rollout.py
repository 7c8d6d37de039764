"""Rollouts and what policy, values and reference say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spavl_dag.inference.request import Decoding
from spavl_dag.params.training import TuningParams
from spavl_dag.training.examples import Encoder, PreferenceRow, read_rows
from spavl_dag.training.models import Loaded, frozen_copy, load_policy
from spavl_dag.training.ppo.actor_critic import ActorCritic, AnswerBatch, placeholder_tokens, without_dropout
from spavl_dag.training.ppo.rollout import Rollout, roll_out
from spavl_dag.training.reward.model import load_reward_model
from spavl_dag.training.sequences import inputs_for, join_answers
from tests.training.tiny_jobs import FULL, LORA, write_pairs

TEMPERATURE = 0.7


class World:
    """A policy and its values, and six questions."""

    def __init__(self, start: Path, reward_model: Path, folder: Path, tuning: dict[str, Any]) -> None:
        params = TuningParams.model_validate(tuning)
        torch.manual_seed(0)
        self.loaded: Loaded = load_policy(str(start), None, params, "cpu", "float32")
        critic, _ = load_reward_model(reward_model, params, "cpu", "float32")
        self.suppressed = placeholder_tokens(self.loaded.model)
        self.module = ActorCritic(self.loaded.model, critic, TEMPERATURE, self.suppressed).eval()
        self.encoder = Encoder(self.loaded.processor, "{{ question }}", None, 96, self.loaded.end_tokens)
        self.rows: list[PreferenceRow] = read_rows(write_pairs(folder, 6, 1))

    def draw(self, rows: list[PreferenceRow], seeds: list[int]) -> list[Rollout]:
        decoding = Decoding(8, temperature=TEMPERATURE)
        return roll_out(self.loaded, self.encoder, rows, seeds, decoding, self.suppressed)

    def batch(self, rollouts: list[Rollout]) -> AnswerBatch:
        prompts = self.encoder.prompts([r.row.question for r in rollouts], [r.row.image for r in rollouts])
        return AnswerBatch.of(self.loaded.model, join_answers(prompts, [r.tokens for r in rollouts], 0))


@pytest.fixture(params=[FULL, LORA], ids=["full", "lora"])
def world(request: pytest.FixtureRequest, start: Path, reward_model: Path, tmp_path: Path) -> World:
    return World(start, reward_model, tmp_path, request.param)


def test_a_rollout_depends_on_its_seed_alone(world: World) -> None:
    together = world.draw(world.rows, [11, 12, 13, 14, 15, 16])
    alone = [world.draw([row], [seed])[0] for row, seed in zip(world.rows, range(11, 17), strict=True)]
    assert [r.tokens for r in together] == [r.tokens for r in alone]
    assert [r.tokens for r in together] != [r.tokens for r in world.draw(world.rows, [21, 22, 23, 24, 25, 26])]
    for rollout in together:
        assert rollout.ended == (rollout.tokens[-1] == 2)
        assert 2 not in rollout.tokens[:-1]
        assert rollout.ended or len(rollout.tokens) == 8


def test_placeholders_are_never_drawn(world: World) -> None:
    image = world.suppressed[0]
    assert world.suppressed == (4,)
    head = world.loaded.model.get_output_embeddings()
    with torch.no_grad():
        head.weight[image] = head.weight[2] * 40  # as likely as can be
    rollouts = world.draw(world.rows, [1, 2, 3, 4, 5, 6])
    assert all(image not in rollout.tokens for rollout in rollouts)
    judged = world.module(world.batch(rollouts))
    assert judged.log_probs.isfinite().all()
    assert judged.entropy.isfinite().all()


@torch.no_grad()
def test_log_probabilities_equal_a_plain_forward_pass(world: World) -> None:
    rollouts = world.draw(world.rows, [1, 2, 3, 4, 5, 6])
    batch = world.batch(rollouts)
    judged = world.module(batch)
    for row, rollout in enumerate(rollouts):
        prompt = world.encoder.prompts([rollout.row.question], [rollout.row.image])
        joined = join_answers(prompt, [rollout.tokens], 0)
        logits = world.loaded.model(**inputs_for(world.loaded.model, joined)).logits[0] / TEMPERATURE
        logits[:, list(world.suppressed)] = -torch.inf
        begin = prompt["input_ids"].shape[1]
        for place, token in enumerate(rollout.tokens):
            wanted = logits[begin + place - 1].log_softmax(-1)[token]
            assert judged.log_probs[row, place].item() == pytest.approx(wanted.item(), abs=2e-4)
        assert batch.mask[row].sum() == len(rollout.tokens)
        assert batch.tokens[row, : len(rollout.tokens)].tolist() == list(rollout.tokens)


@torch.no_grad()
def test_padding_changes_nothing(world: World) -> None:
    rollouts = world.draw(world.rows, [1, 2, 3, 4, 5, 6])
    together = world.module(world.batch(rollouts))
    for row, rollout in enumerate(rollouts):
        alone = world.module(world.batch([rollout]))
        count = len(rollout.tokens)
        for name in ("log_probs", "entropy", "values"):
            torch.testing.assert_close(
                getattr(together, name)[row, :count], getattr(alone, name)[0], rtol=1e-4, atol=2e-4
            )


def test_the_reference_does_not_move(world: World) -> None:
    batch = world.batch(world.draw(world.rows, [1, 2, 3, 4, 5, 6]))
    lora = hasattr(world.loaded.model, "peft_config")
    reference = None if lora else frozen_copy(world.loaded.model, torch.float32)
    before = world.module.reference_log_probs(batch, reference)
    assert torch.equal(world.module(batch).log_probs, before)
    optimizer = torch.optim.SGD([p for p in world.module.parameters() if p.requires_grad], lr=0.1)
    world.module(batch).log_probs[batch.mask].sum().backward()
    optimizer.step()
    assert torch.equal(world.module.reference_log_probs(batch, reference), before)
    assert not torch.equal(world.module(batch).log_probs, before)


def test_dropout_is_switched_off() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    without_dropout(module)
    assert torch.equal(module.train()(torch.ones(2, 4)), module.eval()(torch.ones(2, 4)))
