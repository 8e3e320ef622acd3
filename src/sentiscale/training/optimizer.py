"""Adam for whole parameters and for rows of an embedding, and the learning-rate schedule.

Both use the same formula (Kingma & Ba, 2015). Rows are updated lazily: a row that no token of the step uses
keeps its weight and its moments, as in `torch.optim.SparseAdam`; plain Adam updates the whole table.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sentiscale.parallel.gradients import EmbeddingTable
from sentiscale.parallel.runner import EMBEDDING

DECAY = (0.9, 0.999)
"""Decay rates of the moving averages of gradients and of their squares."""

EPSILON = 1e-8


class Adam:
    """Updates the tensors this rank owns: the parameters of its stage, and its rows of the embedding.

    `moments` holds both moving averages by parameter name; those of an embedding table cover only the owned
    rows.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], tables: Mapping[str, EmbeddingTable]) -> None:
        self.parameters = parameters
        self.tables = tables
        self.steps = 0
        shapes = {**parameters, **{name: table.owned for name, table in tables.items()}}
        self.moments = {
            name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in shapes.items()
        }

    @torch.no_grad()
    def step(self, lr: float, *, clip: float = 1.0, unscale: float = 1.0) -> None:
        """Update weights by gradients times `unscale`, and also times `clip` except for the embedding."""
        self.steps += 1
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            factor = unscale if name == EMBEDDING else unscale * clip  # whether it is sparse or dense
            mean, square = self.moments[name]
            parameter.sub_(adam_step(parameter.grad * factor, mean, square, self.steps), alpha=lr)
        for name, table in self.tables.items():
            rows_R = table.places_owned
            mean, square = (moment[rows_R] for moment in self.moments[name])
            change_RE = adam_step(table.gradient_RE * unscale, mean, square, self.steps)
            for moment, rows in zip(self.moments[name], (mean, square), strict=True):
                moment[rows_R] = rows
            table.weight[table.rows_R] -= lr * change_RE


def adam_step(gradient: Tensor, mean: Tensor, square: Tensor, step: int) -> Tensor:
    """Update both averages in place; return the amount to subtract from the weights at learning rate 1."""
    mean.lerp_(gradient, 1 - DECAY[0])
    square.mul_(DECAY[1]).addcmul_(gradient, gradient, value=1 - DECAY[1])
    root = square.sqrt().div_(math.sqrt(1 - DECAY[1] ** step)).add_(EPSILON)
    return mean.div(root).div_(1 - DECAY[0] ** step)


def clip_factor(norm: float, max_norm: float | None) -> float:
    """Factor that limits the norm of gradients to `max_norm`; None means no limit."""
    if max_norm is None or norm <= max_norm:
        return 1.0
    return max_norm / (norm + 1e-6)


def learning_rate(step: int, total_steps: int, *, peak: float, warmup_steps: int, schedule: str) -> float:
    """Learning rate at `step`: linear warm-up, then constant or linear decay to 0 at the last step."""
    rising = min(1.0, (step + 1) / (warmup_steps + 1))
    falling = 1.0 - step / total_steps if schedule == "linear" else 1.0
    return peak * rising * max(falling, 0.0)
