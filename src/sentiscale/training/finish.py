"""What happens after the last step: the best weights, the test split, model directory, record, plots."""

from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sentiscale.data.batches import make_batch, sorted_order, token_lengths
from sentiscale.data.prepared import Split
from sentiscale.errors import DataError
from sentiscale.model.directory import SavedModel, model_config, save_model
from sentiscale.model.metrics import Scores, score
from sentiscale.model.network import SentimentNet, step_flops
from sentiscale.model.wide import Combination
from sentiscale.parallel.collectives import all_reduce, gather_numbers, gather_texts, share_text
from sentiscale.parallel.cpu import gemm_peak_gflops, peak_memory_mb
from sentiscale.parallel.precision import AUTOCAST
from sentiscale.parallel.runner import FloatArray, Stage
from sentiscale.records import PhaseTimes, Record, RunRecord
from sentiscale.training.curves import plot_curves
from sentiscale.training.setup import Training

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


Status = Literal["running", "finished", "interrupted", "failed"]

STEP_PHASES = ("data", "compute", "reduce", "update")
"""Phases that make up a training step."""


def finish(training: Training) -> RunRecord:
    """Turn a stopped run into a model directory, a final record and pictures."""
    learner, world = training.learner, training.world
    seconds = training.clock.seconds()  # what follows measures and files; it is not training
    training.clock.note("finish", training.state.step)
    learner.runner.restore(training.best)
    combination = Combination(**training.state.best_combination)
    valid = evaluate(
        learner.runner,
        training.valid_split,
        training.valid_wide,
        training.settings.train.max_tokens,
        combination,
    )
    test = score_test(training, combination)
    ranks = gather_ranks(training)
    utilisation = flops_utilisation(training)
    weights = learner.runner.full_state()
    if world.is_main:
        record = current_record(training, "finished", seconds).model_copy(
            update={
                "flops_utilisation": utilisation,
                "valid": valid[0].model_dump() if valid else {},
                "test": test.model_dump() if test else None,
                "phases_per_rank": [rank.phases for rank in ranks],
                "peak_memory_mb_per_rank": [rank.peak_memory_mb for rank in ranks],
                "bytes_reduced_per_step": max(rank.bytes_per_step for rank in ranks),
            }
        )
        write_results(training, as_saved_model(training, weights, combination), record)
        document = record.model_dump_json()
    return RunRecord.model_validate_json(share_text(document if world.is_main else "", world))


def write_results(training: Training, model: SavedModel, record: RunRecord) -> None:
    """Write model directory, record and pictures."""
    save_model(training.run_dir.model, model, record)
    training.run_dir.write_record(record)
    training.run_dir.plots.mkdir(exist_ok=True)
    plot_curves(training.state.metrics, training.run_dir.plots)


class RankSummary(Record):
    """What one rank adds to the record."""

    phases: PhaseTimes
    """Its seconds by phase."""
    peak_memory_mb: float
    """Its largest memory, in MB of 2^20 bytes."""
    bytes_per_step: int
    """That it sent, gradients, changed rows and activations."""


def gather_ranks(training: Training) -> list[RankSummary]:
    """The summary of every rank, by rank."""
    summary = RankSummary(
        phases=training.clock.times(),
        peak_memory_mb=peak_memory_mb(training.learner.runner.device),
        bytes_per_step=training.bytes_sent // max(1, training.steps_here),
    )
    texts = gather_texts(summary.model_dump_json(), training.world)
    return [RankSummary.model_validate_json(text) for text in texts]


def score_test(training: Training, combination: Combination) -> Scores | None:
    """Score the test split once, with the chosen weights; None without one, and on ranks other than 0."""
    try:
        split = training.dataset.split("test")
    except DataError:
        return None
    wide_logits = training.wide.logits(split.tokens, split.offsets) if training.wide else None
    runner, max_tokens = training.learner.runner, training.settings.train.max_tokens
    scored = evaluate(runner, split, wide_logits, max_tokens, combination)
    return scored[0] if scored else None


def as_saved_model(training: Training, weights: dict[str, Tensor], combination: Combination) -> SavedModel:
    """The model as its directory holds it."""
    manifest = training.dataset.manifest
    config = model_config(
        cleaning=manifest.cleaning,
        max_tokens=training.settings.train.max_tokens,
        stored_tokens=manifest.max_tokens,
        model=training.settings.model,
        wide=training.wide,
        combination=combination,
    )
    with torch.device("meta"):
        net = SentimentNet(training.settings.model, manifest.vocab_size)
    net.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return SavedModel(config, training.dataset.vocab, net, training.wide, combination)


def write_record(training: Training, status: Status, error: BaseException | None = None) -> None:
    """Write record.json as things stand; rank 0 does."""
    if not training.world.is_main:
        return
    record = current_record(training, status, training.clock.seconds())
    failure = f"{type(error).__name__}: {error}" if error else None
    training.run_dir.write_record(record.model_copy(update={"failure": failure}))


def current_record(training: Training, status: Status, seconds: float) -> RunRecord:
    """The record with all that is known so far."""
    state, phases = training.state, training.clock.times()
    in_steps = max(sum(getattr(phases, name) for name in STEP_PHASES), 1e-9)
    target = training.settings.train.target_accuracy
    return training.record.model_copy(
        update={
            "status": status,
            "finished_at": None if status == "running" else datetime.now(UTC),
            "phases": phases,
            "train_seconds": round(seconds, 3),
            "steps": state.step,
            "epochs": state.step / training.steps_per_epoch,
            "rows_per_s": state.rows / in_steps,
            "tokens_per_s": state.tokens / in_steps,
            "metrics": state.metrics,
            "best_step": state.best_step,
            "target": target_result(target, state.target_seconds),
        }
    )


def target_result(accuracy: float | None, seconds: float | None) -> dict[str, Any]:
    """Whether and when validation accuracy reached the target."""
    return {"accuracy": accuracy, "reached": seconds is not None, "seconds": seconds}


def flops_utilisation(training: Training) -> float | None:
    """Share of the cores' matrix-multiply peak that the steps reached; None off the CPU or without steps.

    The recurrent layer's operations over padded positions, divided by the time of all step phases and
    by the peak at the same precision, measured now on all ranks at once.
    """
    runner, phases = training.learner.runner, training.clock.times()
    seconds = sum(getattr(phases, name) for name in STEP_PHASES)
    if runner.device.type != "cpu" or seconds <= 0:
        return None
    dtype = AUTOCAST.get(runner.plan.precision.name, torch.float32)
    peaks = gather_numbers([gemm_peak_gflops(torch.get_num_threads(), dtype)], training.world)
    peak = sum(peak for (peak,) in peaks) * 1e9
    operations = step_flops(training.settings.model, 1, training.state.padded_tokens)
    return float(operations / seconds / peak)
