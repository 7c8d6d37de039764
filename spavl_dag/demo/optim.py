"""The optimizers of the base model's training: Muon for matrices, Adam for the rest, one schedule.

Muon makes every step of a matrix an orthogonal one. On this world it needs about half the steps of Adam,
which more than pays for the few matrix products it adds. torch ships a Muon too, but that one computes in
bfloat16, which is slow on CPUs without instructions for it.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

# The coefficients of the quintic Newton-Schulz iteration from Keller Jordan's description of Muon (2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, for parameters of two or more dimensions."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        """Keep the parameters; `momentum` is the share of the running average that a step keeps."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; matrices of the same shape are orthogonalised together."""
        for group in self.param_groups:
            same_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for param in group["params"]:
                if param.grad is not None:
                    same_shape.setdefault(tuple(param.flatten(1).shape), []).append(param)
            for shape, params in same_shape.items():
                steps = orthogonalised(torch.stack([self._momentum(param, group) for param in params]))
                scale = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                for param, step in zip(params, steps, strict=True):
                    param.mul_(1 - group["lr"] * group["weight_decay"])
                    param.sub_(step.view_as(param), alpha=scale)

    def _momentum(self, param: nn.Parameter, group: dict[str, Any]) -> torch.Tensor:
        """The Nesterov step of one parameter as a matrix."""
        if param.grad is None:
            raise ValueError("only parameters with a gradient take a step")
        gradient = param.grad.flatten(1)
        state = self.state[param]
        if "average" not in state:
            state["average"] = torch.zeros_like(gradient)
        state["average"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(state["average"], group["momentum"])


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest (roughly) orthogonal matrices to a stack of matrices, shape (count, rows, columns)."""
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    first, second, third = _QUINTIC
    for _ in range(_ITERATIONS):
        square = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(square, square, square, beta=second, alpha=third), wide, beta=first)
    return wide.mT if tall else wide


class Schedule:
    """Muon on matrices, Adam on the others; the rate rises linearly and falls along a cosine to zero."""

    def __init__(
        self, matrices: list[nn.Parameter], others: list[nn.Parameter], matrix_lr: float, lr: float,
        steps: int, warmup: float, weight_decay: float,
    ) -> None:  # fmt: skip
        """Take the parameters, the peak rates, the number of steps and the share of them that warms up."""
        self.optimizers = (
            Muon(matrices, matrix_lr, momentum=0.95, weight_decay=weight_decay),
            torch.optim.AdamW(others, lr, betas=(0.9, 0.98), weight_decay=weight_decay),
        )
        self.params = [*matrices, *others]
        self.peaks = (matrix_lr, lr)
        self.steps = steps
        self.warmup = max(1, round(warmup * steps))

    def step(self, index: int) -> None:
        """Apply the gathered gradients as step number `index` (from 0) and clear them."""
        factor = min(1.0, (index + 1) / self.warmup) * (0.5 + 0.5 * math.cos(math.pi * index / self.steps))
        nn.utils.clip_grad_norm_(self.params, 1.0)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad()
