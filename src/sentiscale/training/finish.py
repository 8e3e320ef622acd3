"""Work after the last step: best weights, scores on the test split, model directory, record and plots."""

import torch
from torch import Tensor

from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, class_settings, model_config, save_model
from sentiscale.model.network import SentimentNet, step_flops
from sentiscale.model.wide import Combination
from sentiscale.parallel.collectives import gather_numbers, gather_texts, share_text
from sentiscale.parallel.cpu import gemm_peak_gflops, peak_memory_mb
from sentiscale.parallel.precision import AUTOCAST
from sentiscale.records import PhaseTimes, Record, RunRecord, Scores
from sentiscale.training.curves import plot_curves
from sentiscale.training.row_weights import class_weights
from sentiscale.training.run import Training, current_record
from sentiscale.training.validate import evaluate, network_logits, sampled, score_logits


class RankSummary(Record):
    """Part of the record that each rank contributes."""

    phases: PhaseTimes
    """Seconds of the rank by phase."""
    peak_memory_mb: float
    """Peak memory of the rank in MB of 2^20 bytes."""
    bytes_per_step: int
    """Bytes sent by the rank in an average step: gradients, changed rows and activations."""


def finish(training: Training) -> RunRecord:
    """Write the model directory, final record and plots when training ends; return the record."""
    learner, world, run_dir = training.learner, training.world, training.run_dir
    seconds = training.clock.seconds()  # scoring and writing, which follow, are not training
    training.clock.on_phase("finish", training.state.step)
    learner.runner.restore(training.best)
    combination = Combination(**training.state.best_combination)
    classes, decision = training.dataset.manifest.class_set, training_decision(training)
    logits = training.best_logits
    if logits is None:  # the best weights are those of an earlier part of the run
        logits = network_logits(learner.runner, training.valid_split, training.settings.train.max_tokens)
    valid = score_logits(
        world, training.valid_split, logits, training.valid_wide, classes, combination, decision
    )
    test = score_test(training, combination)
    summary = RankSummary(
        phases=training.clock.times(),
        peak_memory_mb=peak_memory_mb(learner.runner.device),
        bytes_per_step=training.bytes_sent // max(1, training.steps_here),
    )
    ranks = [RankSummary.model_validate_json(text) for text in gather_texts(summary.model_dump_json(), world)]
    utilisation = flops_utilisation(training)
    weights = learner.runner.full_state()
    document = ""
    if world.is_main:
        record = current_record(training, "finished", seconds).model_copy(
            update={
                "flops_utilisation": utilisation,
                "valid": noting_sample(valid[0], "valid", training).model_dump() if valid else {},
                "test": test.model_dump() if test else None,
                "phases_per_rank": [rank.phases for rank in ranks],
                "peak_memory_mb_per_rank": [rank.peak_memory_mb for rank in ranks],
                "bytes_reduced_per_step": max(rank.bytes_per_step for rank in ranks),
            }
        )
        save_model(run_dir.model, as_saved_model(training, weights, combination), record)
        run_dir.write_record(record)
        run_dir.plots.mkdir(exist_ok=True)
        plot_curves(training.state.metrics, run_dir.plots)
        document = record.model_dump_json()
    return RunRecord.model_validate_json(share_text(document, world))


def score_test(training: Training, combination: Combination) -> Scores | None:
    """Score the test split with the chosen weights. None without a test split, and on ranks other than 0."""
    if not training.dataset.manifest.rows.get("test"):
        return None
    split = sampled(training.dataset.split("test"), training.most_scored, training.settings.train.seed)
    wide_logits = training.wide.logits(split.tokens, split.offsets) if training.wide else None
    runner, max_tokens = training.learner.runner, training.settings.train.max_tokens
    classes, decision = training.dataset.manifest.class_set, training_decision(training)
    scored = evaluate(runner, split, wide_logits, max_tokens, classes, combination, decision)
    return noting_sample(scored[0], "test", training) if scored else None


def noting_sample(scores: Scores, split: str, training: Training) -> Scores:
    """Add the number of rows of the split if not all were scored."""
    rows = training.dataset.manifest.rows[split]
    return scores.model_copy(update={"sampled_from": rows if scores.rows < rows else None})


def training_decision(training: Training) -> Decision:
    """Return the decision that the class weights of the loss stand for.

    The combination is fitted without weights, so probabilities keep the true shares of the classes; the
    weights then count in the label, where they make mistakes on some classes cost more than on others.
    """
    manifest = training.dataset.manifest
    return Decision(manifest.classes, class_weights(training.settings.train, manifest))


def as_saved_model(training: Training, weights: dict[str, Tensor], combination: Combination) -> SavedModel:
    manifest = training.dataset.manifest
    config = model_config(
        cleaning=manifest.cleaning,
        cleaning_version=manifest.cleaning_version,
        max_tokens=training.settings.train.max_tokens,
        stored_tokens=manifest.max_tokens,
        model=training.settings.model,
        wide=training.wide,
        combination=combination,
        labels=manifest.label_reading,
        **class_settings(manifest.class_set, training_decision(training)),
    )
    with torch.device("meta"):
        net = SentimentNet(training.settings.model, manifest.vocab_size, manifest.class_set.outputs)
    net.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return SavedModel(config, training.dataset.vocab, net, training.wide, combination)


def flops_utilisation(training: Training) -> float | None:
    """Share of the cores' matrix-multiply peak that the steps reached; None off the CPU or without steps.

    Divides the recurrent layer's operations, padding included, by the time of all step phases and by the
    peak at the same precision, which is measured now on all ranks at once.
    """
    runner, seconds = training.learner.runner, training.clock.times().step_seconds
    if runner.device.type != "cpu" or seconds <= 0:
        return None
    dtype = AUTOCAST.get(runner.config.precision.name, torch.float32)
    peaks = gather_numbers([gemm_peak_gflops(torch.get_num_threads(), dtype)], training.world)
    peak = sum(peak for (peak,) in peaks) * 1e9
    operations = step_flops(training.settings.model, 1, training.state.padded_tokens)
    return float(operations / seconds / peak)
