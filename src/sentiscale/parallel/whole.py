"""Run the whole network in one rank; with several replicas, each one computes its share of the rows."""

import time

import numpy as np
import torch
from torch import Tensor

from sentiscale.data.batches import Batch
from sentiscale.model import SentimentNet
from sentiscale.parallel.stage import FloatArray, Plan, Stage, word_vectors
from sentiscale.parallel.world import World


class WholeRunner(Stage):
    """Layouts `1x1` and `nx1`."""

    def __init__(self, plan: Plan, world: World) -> None:
        super().__init__(SentimentNet.build(plan.model, plan.vocab_size, plan.seed), plan, world)

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Local loss sum divided by the global number of rows: summed over ranks, that is the serial step."""
        self.net.train()
        self.expect(backward_passes=1)
        weights_UE, places_BT = self.look_up(self.on_device(batch.ids_BT))
        with self.plan.precision.autocast(self.device):
            pooled_BD = self._pool(word_vectors(places_BT, weights_UE), batch)
            logits_B = self.net.head(pooled_BD, self.kept(batch, step))
        loss_sum = self.loss_sum(logits_B, batch)
        self.announce()
        self.forward_ended_at = time.perf_counter()
        (loss_sum * (loss_scale / batch.rows_global)).backward()  # type: ignore[no-untyped-call]
        return loss_sum.item()

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        """Logits (B,) of the batch's rows."""
        self.net.eval()
        with self.plan.precision.autocast(self.device):
            vectors_BTE = self.net.embedding(self.on_device(batch.ids_BT))
            logits_B = self.net.head(self._pool(vectors_BTE, batch))
        return np.asarray(logits_B.float().cpu())

    def _pool(self, vectors_BTE: Tensor, batch: Batch) -> Tensor:
        """The recurrent layer, on a device of its own if there are two."""
        lengths_B = self.on_device(batch.lengths_B).to(self.recurrent_device)
        pooled_BD: Tensor = self.net.recurrent(vectors_BTE.to(self.recurrent_device), lengths_B)
        return pooled_BD.to(self.device)
