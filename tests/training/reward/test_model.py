"""The reward model: which token it reads, what padding does, and that saving loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

from spavl_dag.errors import MissingInputError
from spavl_dag.params.training import TuningParams
from spavl_dag.training.examples import Encoder, read_rows
from spavl_dag.training.models import Loaded, load_policy
from spavl_dag.training.reward.model import RewardModel, RewardPrompt, new_reward_model, save_reward_model
from spavl_dag.training.reward.scorer import RewardScorer, score_answers
from spavl_dag.training.sequences import inputs_for
from tests.training.tiny_jobs import FULL, LORA, TEMPLATE, write_pairs

PROMPT = RewardPrompt(TEMPLATE, None, 96)


def built(start: Path, tuning: dict[str, Any] = FULL) -> tuple[RewardModel, Loaded, Encoder]:
    """A reward model with a random head, and adapters that do something."""
    torch.manual_seed(5)
    loaded = load_policy(str(start), None, TuningParams.model_validate(tuning), "cpu", "float32")
    model = new_reward_model(loaded).eval()
    with torch.no_grad():
        model.head.weight.normal_()
        for name, param in model.named_parameters():
            if "lora_B" in name:
                param.normal_(std=0.1)
    return model, loaded, Encoder(loaded.processor, TEMPLATE, None, 96, loaded.end_tokens)


def test_all_answers_are_equal_at_first(start: Path, tmp_path: Path) -> None:
    loaded = load_policy(str(start), None, TuningParams.model_validate(FULL), "cpu", "float32")
    model = new_reward_model(loaded)
    encoder = Encoder(loaded.processor, TEMPLATE, None, 96, loaded.end_tokens)
    row = read_rows(write_pairs(tmp_path, 1, 1))[0]
    batch = encoder.sequences([row.question] * 2, [row.image] * 2, [row.chosen, row.rejected])
    assert model(inputs_for(loaded.model, batch)).tolist() == [0.0, 0.0]


@torch.no_grad()
def test_the_end_token_is_read_and_padding_is_not(start: Path, tmp_path: Path) -> None:
    model, loaded, encoder = built(start)
    rows = read_rows(write_pairs(tmp_path, 6, 1))
    batch = encoder.sequences([r.question for r in rows], [r.image for r in rows], [r.chosen for r in rows])
    together = model(inputs_for(loaded.model, batch))
    for index, row in enumerate(rows):
        single = encoder.sequences([row.question], [row.image], [row.chosen])
        assert single["input_ids"][0, -1] == 2
        inputs = inputs_for(loaded.model, single)
        hidden = loaded.model.model(**inputs).last_hidden_state
        wanted = (hidden[0, -1] @ model.head.weight[0]).item()
        assert model(inputs).item() == pytest.approx(wanted, abs=1e-4)
        assert together[index].item() == pytest.approx(wanted, abs=1e-3)
        assert model.values(inputs)[0, -1].item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("tuning", [FULL, LORA], ids=["full", "lora"])
def test_saved_and_loaded_scores_are_the_same(start: Path, tmp_path: Path, tuning: dict[str, Any]) -> None:
    model, loaded, encoder = built(start, tuning)
    rows = read_rows(write_pairs(tmp_path, 6, 1))
    columns = [r.question for r in rows], [r.image for r in rows], [r.chosen for r in rows]
    before = score_answers(model, encoder, *columns, 4)
    save_reward_model(model, loaded, PROMPT, tmp_path / "saved")
    after = RewardScorer(tmp_path / "saved", "cpu", "float32", batch_size=4).score(*columns)
    # Merging adapters rounds; without them not a bit changes.
    assert after == (before if tuning is FULL else pytest.approx(before, abs=1e-3))
    assert len(set(after)) == 6


def test_the_folder_is_a_checkpoint_with_published_names(start: Path, tmp_path: Path) -> None:
    model, loaded, _ = built(start)
    save_reward_model(model, loaded, PROMPT, tmp_path / "a")
    with safe_open(tmp_path / "a" / "model.safetensors", "pt") as file:
        prefixes = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118 - it is no dict
    assert prefixes == {"language_model", "multi_modal_projector", "vision_tower"}
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "a") is not None
    assert json.loads((tmp_path / "a" / "reward_model.json").read_text()) == {
        "max_length": 96,
        "system": None,
        "template": TEMPLATE,
    }
    model, loaded, _ = built(start)
    save_reward_model(model, replace(loaded), PROMPT, tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_other_folders_are_refused(start: Path) -> None:
    with pytest.raises(MissingInputError, match="holds no reward model"):
        RewardScorer(start)
