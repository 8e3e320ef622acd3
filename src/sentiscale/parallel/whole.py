"""Run the whole network in one rank; with several replicas, each one computes its share of the rows."""

import numpy as np
import torch

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
        lengths_B = self.on_device(batch.lengths_B)
        with self.plan.precision.autocast(self.device):
            pooled_BD = self.net.recurrent(word_vectors(places_BT, weights_UE), lengths_B)
            logits_B = self.net.head(pooled_BD, self.kept(batch, step))
        loss_sum = self.loss_sum(logits_B, batch)
        self.announce()
        (loss_sum * (loss_scale / batch.rows_global)).backward()  # type: ignore[no-untyped-call]
        return loss_sum.item()

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        """Logits (B,) of the batch's rows."""
        self.net.eval()
        with self.plan.precision.autocast(self.device):
            logits_B = self.net(self.on_device(batch.ids_BT), self.on_device(batch.lengths_B))
        return np.asarray(logits_B.float().cpu())
