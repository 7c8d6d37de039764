"""A vision language model with a scalar head, and the folder it is kept in.

The folder is a checkpoint like any other, which transformers and vLLM load, with two files more: the head's weights,
and how a question and an answer are put to the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spavl_dag.errors import MissingInputError
from spavl_dag.params.training import TuningParams
from spavl_dag.training.models import Loaded, load_policy, save_weights
from spavl_dag.training.sequences import bare_network

HEAD_FILE = "reward_head.safetensors"
PROMPT_FILE = "reward_model.json"


@dataclass(frozen=True, slots=True)
class RewardPrompt:
    """How a question is put to a reward model.

    Attributes:
        template: Source of the prompt template.
        system: System turn, or None.
        max_length: Most tokens of prompt and answer.
    """

    template: str
    system: str | None
    max_length: int


class RewardModel(nn.Module):
    """Scores answers: a linear head on the last token's hidden state (paper, 'Training').

    The same head on every token makes it a value model, which is how PPO starts one.

    Args:
        network: A vision language model of transformers, with or without PEFT's wrapper; its own output head is not
            used and not trained.
        head: From the hidden size to 1, without bias (a difference of rewards has none).
    """

    def __init__(self, network: Any, head: nn.Linear) -> None:
        super().__init__()
        bare = bare_network(network)
        if not bare.config.get_text_config().tie_word_embeddings:
            bare.get_output_embeddings().requires_grad_(requires_grad=False)
        self.network = network
        self.head = head.to(device=bare.device, dtype=torch.float32)

    def forward(self, inputs: Mapping[str, Any]) -> Tensor:
        """Rewards of whole sequences.

        Args:
            inputs: Model inputs padded on the right (`sequences.inputs_for`).

        Returns:
            Shape (sequences,), float32: the head's output at the last token that is no padding.
        """
        last = inputs["attention_mask"].sum(-1) - 1
        hidden = self._hidden(inputs)
        return self._rate(hidden[torch.arange(len(last), device=last.device), last])

    def values(self, inputs: Mapping[str, Any]) -> Tensor:
        """The head's output at every token, shape (sequences, tokens), float32."""
        return self._rate(self._hidden(inputs))

    def _hidden(self, inputs: Mapping[str, Any]) -> Tensor:
        # The model inside, without its output head; adapters are in its layers.
        output = bare_network(self.network).base_model(**inputs, use_cache=False, return_dict=True)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _rate(self, hidden: Tensor) -> Tensor:
        # In bfloat16 rewards would be known to three digits, which is less than close answers differ by.
        with torch.autocast(hidden.device.type, enabled=False):
            rates: Tensor = self.head(hidden.float()).squeeze(-1)
        return rates


def new_reward_model(loaded: Loaded) -> RewardModel:
    """A reward model to be trained, which finds all answers equal: no random direction has to be unlearnt."""
    size = bare_network(loaded.model).config.get_text_config().hidden_size
    head = nn.Linear(size, 1, bias=False)
    nn.init.zeros_(head.weight)
    return RewardModel(loaded.model, head)


def save_reward_model(model: RewardModel, loaded: Loaded, prompt: RewardPrompt, folder: Path) -> None:
    """Write the folder that `load_reward_model` reads; the same weights give the same bytes.

    Args:
        model: What was trained; adapters are merged, so it can't be trained on afterwards.
        loaded: What the reward model was built from.
        prompt: How it was asked.
        folder: Where to; it is made.
    """
    save_weights(loaded, folder)
    head = {"weight": model.head.weight.detach().cpu().contiguous()}
    save_file(head, folder / HEAD_FILE, metadata={"format": "pt"})
    text = json.dumps(asdict(prompt), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / PROMPT_FILE).write_text(f"{text}\n", encoding="utf-8")


def load_reward_model(
    folder: Path, tuning: TuningParams, device: str = "auto", dtype: str = "auto"
) -> tuple[RewardModel, Loaded]:
    """Load a reward model, to be trained on (as a value model, say) or frozen by the client.

    Args:
        folder: Written by `save_reward_model`.
        tuning: What is trainable; the head always is.
        device: "auto", "cpu", "cuda" or "cuda:<n>".
        dtype: "auto", "float32" or "bfloat16".

    Returns:
        The model, and the checkpoint with its processor.

    Raises:
        MissingInputError: The folder holds no reward model.
        EngineError: Its weights can't be loaded.
    """
    if not (folder / HEAD_FILE).is_file():
        raise MissingInputError(
            f"{folder} holds no reward model: {HEAD_FILE} is missing", "Make the artifact `reward_model` first."
        )
    loaded = load_policy(str(folder), None, tuning, device, dtype)
    weight = load_file(folder / HEAD_FILE)["weight"]
    head = nn.Linear(weight.shape[1], 1, bias=False)
    head.load_state_dict({"weight": weight})
    return RewardModel(loaded.model, head), loaded


def read_prompt(folder: Path) -> RewardPrompt:
    """How the reward model of a folder is asked.

    Raises:
        MissingInputError: The folder holds no reward model.
    """
    file = folder / PROMPT_FILE
    if not file.is_file():
        raise MissingInputError(
            f"{folder} holds no reward model: {PROMPT_FILE} is missing", "Make the artifact `reward_model` first."
        )
    try:
        return RewardPrompt(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise MissingInputError(
            f"{file} is damaged: it can't be read any more", "Get it back with `dvc checkout --force reward_model`."
        ) from error
