"""Work after the last step: best weights, scores on the test split, model directory, record and plots."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sentiscale.data.prepared import Split
from sentiscale.model.cascade import Cascade, joined
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, cascade_table, class_settings, model_config, save_model
from sentiscale.model.metrics import score
from sentiscale.model.network import SentimentNet, step_flops
from sentiscale.model.wide import Combination
from sentiscale.parallel.collectives import gather_numbers, gather_texts, share_text
from sentiscale.parallel.cpu import gemm_peak_gflops, peak_memory_mb
from sentiscale.parallel.precision import AUTOCAST
from sentiscale.parallel.runner import FloatArray
from sentiscale.records import PhaseTimes, Record, RunRecord, Scores
from sentiscale.training.curves import plot_curves
from sentiscale.training.row_weights import class_weights, mean_one
from sentiscale.training.run import Training, current_record
from sentiscale.training.validate import network_logits, sampled


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
    answers = score_answers(training)
    summary = RankSummary(
        phases=training.clock.times(),
        peak_memory_mb=peak_memory_mb(learner.runner.device),
        bytes_per_step=training.bytes_sent // max(1, training.steps_here),
    )
    ranks = [RankSummary.model_validate_json(text) for text in gather_texts(summary.model_dump_json(), world)]
    utilisation = flops_utilisation(training)
    weights = learner.runner.full_state()
    document = ""
    if answers is not None:
        record = current_record(training, "finished", seconds).model_copy(
            update={
                "flops_utilisation": utilisation,
                **answers.for_record(),
                "phases_per_rank": [rank.phases for rank in ranks],
                "peak_memory_mb_per_rank": [rank.peak_memory_mb for rank in ranks],
                "bytes_reduced_per_step": max(rank.bytes_per_step for rank in ranks),
            }
        )
        save_model(run_dir.model, as_saved_model(training, weights, answers), record)
        run_dir.write_record(record)
        run_dir.plots.mkdir(exist_ok=True)
        plot_curves(training.state.metrics, run_dir.plots)
        document = record.model_dump_json()
    return RunRecord.model_validate_json(share_text(document, world))


@dataclass(frozen=True)
class FinalAnswers:
    """How the trained model answers, and its scores."""

    combination: Combination
    cascade: Cascade | None
    valid: Scores
    test: Scores | None
    """None without a test split."""

    def for_record(self) -> dict[str, Any]:
        """Return the fields of the run record."""
        cascade = self.cascade and {"margin": self.cascade.margin, "short_share": self.valid.short_share}
        test = self.test and self.test.model_dump()
        return {"cascade": cascade, "valid": self.valid.model_dump(), "test": test}


def score_answers(training: Training) -> FinalAnswers | None:
    """Choose the cascade on the validation split; score this and the test split with the chosen weights.

    Returns: None on ranks other than 0, which only compute their part of the network's logits.
    """
    manifest, settings, valid_wide = training.dataset.manifest, training.settings, training.valid_wide
    runner, max_tokens = training.learner.runner, settings.train.max_tokens
    split, test_split, test_logits = training.valid_split, None, None
    valid_logits = training.best_logits
    if valid_logits is None:  # the best weights are those of an earlier part of the run
        valid_logits = network_logits(runner, split, max_tokens)
    if manifest.rows.get("test"):
        test_split = sampled(training.dataset.split("test"), training.most_scored, settings.train.seed)
        test_logits = network_logits(runner, test_split, max_tokens)
    if not training.world.is_main:
        return None
    combination, wide = Combination(**training.state.best_combination), training.wide
    decision, cascade = training_decision(training), None
    if valid_wide is not None:
        full, labels = combination.logits(valid_logits, valid_wide), np.asarray(split.labels)
        weights = mean_one(split.weights)
        cascade = Cascade.fit(valid_wide, full, labels, settings.cascade, decision, weights)

    def scores(name: str, split: Split, net_logits: FloatArray, wide_logits: FloatArray | None) -> Scores:
        logits, settled = combination.logits(net_logits, wide_logits), None
        if cascade is not None and wide_logits is not None:
            short, settled = cascade.logits(wide_logits)
            logits = joined(settled, short, logits)
        found = score(logits, np.asarray(split.labels), manifest.class_set, decision, settled=settled)
        return noting_sample(found, name, training)

    test = None
    if test_split is not None and test_logits is not None:
        test_wide = wide.logits(test_split.tokens, test_split.offsets) if wide else None
        test = scores("test", test_split, test_logits, test_wide)
    return FinalAnswers(combination, cascade, scores("valid", split, valid_logits, valid_wide), test)


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


def as_saved_model(training: Training, weights: dict[str, Tensor], answers: FinalAnswers) -> SavedModel:
    manifest = training.dataset.manifest
    config = model_config(
        cleaning=manifest.cleaning,
        cleaning_version=manifest.cleaning_version,
        max_tokens=training.settings.train.max_tokens,
        stored_tokens=manifest.max_tokens,
        model=training.settings.model,
        wide=training.wide,
        combination=answers.combination,
        cascade=cascade_table(answers.cascade),
        labels=manifest.label_reading,
        **class_settings(manifest.class_set, training_decision(training)),
    )
    with torch.device("meta"):
        net = SentimentNet(training.settings.model, manifest.vocab_size, manifest.class_set.outputs)
    net.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    vocab = training.dataset.vocab
    return SavedModel(config, vocab, net, training.wide, answers.combination, answers.cascade)


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
