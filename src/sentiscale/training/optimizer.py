"""Adam for dense gradients and lazy, row-sparse Adam for the embedding, behind one small object."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class RowSparseAdam:
    """Two optimisers with one learning rate; parameters with sparse gradients go to the second.

    Adam walks over every row of an embedding at every step; `SparseAdam` touches the rows of the batch.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], lr: float) -> None:
        self.dense = {name: p for name, p in parameters.items() if not name.startswith("embedding.")}
        self.sparse = {name: p for name, p in parameters.items() if name.startswith("embedding.")}
        self.optimizers: list[tuple[dict[str, nn.Parameter], torch.optim.Optimizer]] = []
        if self.dense:
            self.optimizers.append((self.dense, torch.optim.Adam(self.dense.values(), lr=lr)))
        if self.sparse:
            self.optimizers.append((self.sparse, torch.optim.SparseAdam(list(self.sparse.values()), lr=lr)))

    def step(self, lr: float) -> None:
        """Change the parameters by their gradients, then forget the gradients."""
        for _, optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def clip(self, max_norm: float | None) -> None:
        """Scale the dense gradients down to a norm of at most `max_norm`."""
        if max_norm is not None:
            nn.utils.clip_grad_norm_(self.dense.values(), max_norm)

    def state(self) -> dict[str, Tensor]:
        """All state as tensors, named `<parameter>/<quantity>`."""
        return {
            f"{name}/{quantity}": torch.as_tensor(value)
            for named, optimizer in self.optimizers
            for name, parameter in named.items()
            for quantity, value in optimizer.state[parameter].items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state that `state` gave."""
        for named, optimizer in self.optimizers:
            for name, parameter in named.items():
                found = {
                    key.rpartition("/")[2]: value
                    for key, value in tensors.items()
                    if key.rpartition("/")[0] == name
                }
                if isinstance(optimizer, torch.optim.SparseAdam) and "step" in found:
                    found["step"] = int(found["step"])  # type: ignore[assignment]
                optimizer.state[parameter] = found


def learning_rate(step: int, total_steps: int, *, peak: float, warmup_steps: int, schedule: str) -> float:
    """Rise in a straight line over the warm-up, then fall in one to 0 at the end (or stay)."""
    rising = min(1.0, (step + 1) / (warmup_steps + 1))
    falling = 1.0 - step / total_steps if schedule == "linear" else 1.0
    return peak * rising * max(falling, 0.0)
