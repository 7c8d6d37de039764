"""The names that tensors have in published LLaVA checkpoints, which transformers and vLLM both read."""

from __future__ import annotations

import torch
from transformers import LlavaForConditionalGeneration


def published_names(model: LlavaForConditionalGeneration) -> dict[str, torch.Tensor]:
    """The model's tensors under the names that published LLaVA checkpoints use, tied weights once."""
    renamed = {}
    for name, tensor in sorted(model.state_dict().items()):
        if name == "lm_head.weight":
            continue
        name = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
        if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
            name = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        renamed[name] = tensor.contiguous()
    return renamed
