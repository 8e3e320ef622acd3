"""What happens after the last step: the best weights, the test split, model directory, record, plots."""

import resource
from datetime import UTC, datetime
from typing import Any, Literal

import torch

from sentiscale.combine import Combination
from sentiscale.errors import DataError
from sentiscale.metrics import Scores
from sentiscale.model import step_flops
from sentiscale.modeldir import SavedModel, model_config, save_model
from sentiscale.parallel.peak import gemm_peak_gflops
from sentiscale.records import RunRecord
from sentiscale.training.evaluate import evaluate
from sentiscale.training.plots import plot_curves
from sentiscale.training.setup import Training

Status = Literal["running", "finished", "interrupted", "failed"]

STEP_PHASES = ("data", "compute", "reduce", "update")
"""Phases that make up a training step."""


def finish(training: Training) -> RunRecord:
    """Turn a stopped run into a model directory, a final record and pictures."""
    state = training.state
    seconds = training.clock.seconds()  # what follows measures and files; it is not training
    training.runner.net.load_state_dict(training.best_weights)
    combination = Combination(**state.best_combination)
    valid, _ = evaluate(
        training.runner, training.valid_split, training.valid_wide,
        training.settings.train.max_tokens, combination,
    )  # fmt: skip
    test = score_test(training, combination)
    record = current_record(training, "finished", seconds).model_copy(
        update={
            "flops_utilisation": flops_utilisation(training),
            "valid": valid.model_dump(),
            "test": test.model_dump() if test else None,
            "peak_memory_mb_per_rank": [peak_memory_mb()],
        }
    )
    save_model(training.run_dir.model, as_saved_model(training, combination), record)
    training.run_dir.write_record(record)
    training.run_dir.plots.mkdir(exist_ok=True)
    plot_curves(state.metrics, training.run_dir.plots)
    return record


def score_test(training: Training, combination: Combination) -> Scores | None:
    """Score the test split once, with the chosen weights; None without one."""
    try:
        split = training.dataset.split("test")
    except DataError:
        return None
    wide_logits = training.wide.logits(split.tokens, split.offsets) if training.wide else None
    return evaluate(training.runner, split, wide_logits, training.settings.train.max_tokens, combination)[0]


def as_saved_model(training: Training, combination: Combination) -> SavedModel:
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
    net = training.runner.net.cpu()
    return SavedModel(config, training.dataset.vocab, net, training.wide, combination)


def write_record(training: Training, status: Status, error: BaseException | None = None) -> None:
    """Write record.json as things stand."""
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
    by the peak at the same precision and threads, measured now.
    """
    phases = training.clock.times()
    seconds = sum(getattr(phases, name) for name in STEP_PHASES)
    if training.runner.device.type != "cpu" or seconds <= 0:
        return None
    dtype = torch.bfloat16 if training.runner.precision.name == "bf16" else torch.float32
    peak = gemm_peak_gflops(torch.get_num_threads(), dtype) * 1e9
    operations = step_flops(training.settings.model, 1, training.state.padded_tokens)
    return float(operations / seconds / peak)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB of 2**20 bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
