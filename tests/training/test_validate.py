"""Evaluation on any number of ranks: every row once, the same logits, the same counts."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from sentiscale.data.batches import padded_ids
from sentiscale.model.metrics import score
from sentiscale.model.network import SentimentNet
from sentiscale.parallel.world import World
from sentiscale.training import validate
from sentiscale.training.step import Learner
from tests.parallel.learning import MAX_TOKENS, SEED, VOCAB, Case
from tests.worlds import once, run_world

ROWS = {
    "batches of equal size": validate.EVAL_BATCH * 2,
    "a last batch that ranks cannot share equally": validate.EVAL_BATCH + 11,
    "fewer rows in the last batch than ranks": validate.EVAL_BATCH + 1,
    "fewer rows than ranks": 1,
}

CASE = Case(cell="gru", micro_batches=2)


def all_logits(world: World) -> dict[str, tuple[np.ndarray, list[int]]]:
    """For each number of rows: logits, and the rows that this rank scored itself."""
    runner = Learner.build(CASE.config(), world).runner
    found = {}
    for name, rows in ROWS.items():
        split, seen = replace(CASE, rows=rows, lengths="half empty").split(), []
        with patch.object(validate, "make_batch", noting(seen)):
            logits = validate.network_logits(runner, split, MAX_TOKENS)
        found[name] = logits, seen
    return found


def noting(seen: list[int]):
    """`make_batch` that adds the rows it hands out, fillers left out, to `seen`."""
    make_batch = validate.make_batch

    def noted(split, rows, *arguments, **options):
        batch = make_batch(split, rows, *arguments, **options)
        seen.extend(rows[batch.places_B[batch.weights_B > 0]].tolist())
        return batch

    return noted


@once
def results(layout: str):
    return run_world(all_logits, layout)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("layout", ["1x1", "2x1", "3x1", "1x2", "2x2"])
def test_every_row_is_scored_once_and_as_if_it_were_alone(layout, name):
    split = replace(CASE, rows=ROWS[name], lengths="half empty").split()
    expected = one_by_one(split)
    stages = int(layout[-1])
    for logits, _ in (of_rank[name] for of_rank in results(layout)):
        # They come as 32-bit numbers from 64-bit arithmetic.
        assert np.allclose(logits, expected, rtol=0, atol=1e-7)
        assert np.array_equal(logits, results("1x1")[0][name][0])
        assert score(logits, split.labels).confusion == score(expected, split.labels).confusion
    for stage in range(stages):
        seen = [row for of_rank in results(layout)[stage::stages] for row in of_rank[name][1]]
        assert sorted(seen) == list(range(len(split)))


def one_by_one(split) -> np.ndarray:
    """Logits of the network alone, one row at a time."""
    net = SentimentNet.build(CASE.config().model, VOCAB, SEED).double()
    logits = []
    with torch.inference_mode():
        for row in range(len(split)):
            ids_BT, lengths_B = padded_ids(split.tokens, split.offsets, np.array([row]), MAX_TOKENS)
            logits.append(float(net(torch.from_numpy(ids_BT), torch.from_numpy(lengths_B))))
    return np.array(logits, np.float32)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_sample_has_the_same_rows_for_the_same_seed(weighted):
    split = replace(CASE, rows=40, lengths="half empty").split()
    if weighted:
        split = replace(split, weights=np.arange(40, dtype=np.float32))
    assert validate.sampled(split, None, 0) is split
    assert validate.sampled(split, 40, 0) is split
    ten, again, other = (validate.sampled(split, 10, seed) for seed in (0, 0, 1))
    assert len(ten) == 10
    assert np.array_equal(ten.tokens, again.tokens)
    assert not np.array_equal(ten.lengths, other.lengths)
    rows = np.sort(np.random.default_rng(0).permutation(40)[:10])
    for place, row in enumerate(rows):
        taken = ten.tokens[ten.offsets[place] : ten.offsets[place + 1]]
        assert np.array_equal(taken, split.tokens[split.offsets[row] : split.offsets[row + 1]])
    assert np.array_equal(ten.labels, split.labels[rows])
    assert (ten.weights.tolist() == rows.tolist()) if weighted else (ten.weights is None)
