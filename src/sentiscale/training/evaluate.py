"""Run the network over a whole split: every row once, in any layout."""

import numpy as np
import numpy.typing as npt

from sentiscale.combine import Combination
from sentiscale.data.batches import make_batch, sorted_order, token_lengths
from sentiscale.data.prepared import Split
from sentiscale.metrics import Scores, score
from sentiscale.parallel.whole import Runner

EVAL_BATCH = 256

FloatArray = npt.NDArray[np.float32]


def network_logits(runner: Runner, split: Split, max_tokens: int) -> FloatArray:
    """Logits (rows,) of the network alone, in the split's order."""
    logits = np.empty(len(split), np.float32)
    for rows in sorted_order(token_lengths(split, max_tokens), EVAL_BATCH):
        logits[rows] = runner.logits(make_batch(split, rows, max_tokens))
    return logits


def evaluate(
    runner: Runner,
    split: Split,
    wide_logits: FloatArray | None,
    max_tokens: int,
    combination: Combination | None = None,
) -> tuple[Scores, Combination]:
    """Score both parts together on a split; without a `combination`, fit it to this split's labels."""
    net_logits = network_logits(runner, split, max_tokens)
    labels = np.asarray(split.labels)
    if combination is None:
        combination = Combination.fit(net_logits, wide_logits, labels)
    return score(combination.logits(net_logits, wide_logits), labels), combination
