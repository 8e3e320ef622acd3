"""Run the whole network in one process: what the training loop sees of a layout."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiscale.data.batches import Batch
from sentiscale.model import SentimentNet
from sentiscale.parallel.precision import Precision


class Runner(Protocol):
    """The network on a mesh. The loop never asks which layout it runs under."""

    def forward_backward(self, batch: Batch) -> float:
        """Add the step's gradients; return this rank's loss *sum* over its real rows, in nats."""

    def reduce_gradients(self) -> int:
        """Sum gradients over replicas; return the bytes that were sent."""

    def logits(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Logits of this rank's rows (B,), without gradients."""

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters this rank owns, by their name in the whole network."""


class WholeRunner:
    """One process, the whole network."""

    def __init__(self, net: SentimentNet, precision: Precision, device: torch.device) -> None:
        self.net = net.to(device)
        self.precision = precision
        self.device = device

    def forward_backward(self, batch: Batch) -> float:
        """Local loss sum divided by the global number of rows, so that any layout gives the same step."""
        self.net.train()
        labels_B = torch.from_numpy(batch.labels_B).to(self.device)
        weights_B = torch.from_numpy(batch.weights_B).to(self.device)
        loss_sum = binary_cross_entropy_with_logits(
            self._forward(batch), labels_B, weights_B, reduction="sum"
        )
        (loss_sum / batch.rows_global).backward()  # type: ignore[no-untyped-call]
        return loss_sum.item()

    def reduce_gradients(self) -> int:
        """Nothing to add up: there is one replica."""
        return 0

    @torch.inference_mode()
    def logits(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Logits (B,) of the batch's rows."""
        self.net.eval()
        return self._forward(batch).cpu().numpy()

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All parameters of the network."""
        return dict(self.net.named_parameters())

    def _forward(self, batch: Batch) -> Tensor:
        ids_BT = torch.from_numpy(batch.ids_BT).to(self.device)
        lengths_B = torch.from_numpy(batch.lengths_B).to(self.device)
        with self.precision.autocast(self.device):
            logits_B: Tensor = self.net(ids_BT, lengths_B)
        return logits_B.float()
