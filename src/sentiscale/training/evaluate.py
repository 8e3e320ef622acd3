"""Run the network over a whole split: every row once, in any layout."""

import numpy as np
import sklearn.linear_model
import sklearn.metrics  # noqa: F401 - both are loaded here, before the clock of training starts
import torch

from sentiscale.combine import Combination
from sentiscale.data.batches import make_batch, sorted_order, token_lengths
from sentiscale.data.prepared import Split
from sentiscale.metrics import Scores, score
from sentiscale.parallel.collectives import all_reduce
from sentiscale.parallel.stage import FloatArray, Stage

EVAL_BATCH = 256
"""Rows of a global batch."""


def network_logits(runner: Stage, split: Split, max_tokens: int) -> FloatArray:
    """Logits (rows,) of the network alone, in the split's order, on every rank.

    Each replica computes its share of every batch; the others' places stay zero, so a sum over all ranks
    puts every row's logit in its place, exactly. Filler rows are left out.
    """
    world = runner.world
    logits = np.zeros(len(split), np.float32)
    for rows in sorted_order(token_lengths(split, max_tokens), EVAL_BATCH):
        batch = make_batch(split, rows, max_tokens, data_rank=world.replica, data_size=world.layout.data)
        real = batch.weights_B > 0
        logits[rows[batch.places_B[real]]] = runner.logits(batch)[real]
    return np.asarray(all_reduce(torch.from_numpy(logits), world.everyone))


def evaluate(
    runner: Stage,
    split: Split,
    wide_logits: FloatArray | None,
    max_tokens: int,
    combination: Combination | None = None,
) -> tuple[Scores, Combination] | None:
    """Score both parts together on a split; without a `combination`, fit it to this split's labels.

    All ranks compute; rank 0, which alone has the wide part's logits, scores. The others get None.
    """
    net_logits = network_logits(runner, split, max_tokens)
    if not runner.world.is_main:
        return None
    labels = np.asarray(split.labels)
    if combination is None:
        combination = Combination.fit(net_logits, wide_logits, labels)
    return score(combination.logits(net_logits, wide_logits), labels), combination
