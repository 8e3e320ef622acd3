"""Train as one rank in this process and keep the model in memory: for callers who want no run directory.

Same steps, same weights as `train`; what is left out is what is only looked at: model directory, curves, the
cores' peak. They take seconds, which is more than a few hundred texts do.
"""

from sentiscale.allocator import reused_memory
from sentiscale.combine import Combination
from sentiscale.modeldir import SavedModel
from sentiscale.parallel.process import flushed_denormals, torch_threads
from sentiscale.parallel.world import alone
from sentiscale.progress import Progress
from sentiscale.records import RunRecord
from sentiscale.training.evaluate import evaluate
from sentiscale.training.finish import as_saved_model, current_record
from sentiscale.training.hardware import Hardware, Place
from sentiscale.training.job import Job
from sentiscale.training.loop import fit
from sentiscale.training.setup import Training, set_up
from sentiscale.training.signals import stop_on_signals


def train_in_process(job: Job, progress: Progress) -> tuple[SavedModel, RunRecord]:
    """Train with resolved settings of layout 1x1; the job's run directory gets checkpoints and a log.

    Raises: as `train` does.
    """
    job.run_dir.create(resume=job.resume, force=job.force)
    hardware = Hardware.choose(job.settings)
    with (
        flushed_denormals(), reused_memory(), torch_threads(hardware.threads), job.run_dir.logging(),
        stop_on_signals() as wish,
    ):  # fmt: skip
        training = set_up(job, Place(alone(hardware.device), hardware), progress)
        reason = fit(training, hardware.node_threads, wish, progress)
        progress.say(f"stopped: {reason}")
        return _finished(training)


def _finished(training: Training) -> tuple[SavedModel, RunRecord]:
    """The model at its best validation, and the record with its scores."""
    record = current_record(training, "finished", training.clock.seconds())
    runner = training.learner.runner
    runner.restore(training.best)
    combination = Combination(**training.state.best_combination)
    scored = evaluate(
        runner, training.valid_split, training.valid_wide, training.settings.train.max_tokens, combination
    )
    assert scored is not None, "one rank is rank 0"
    model = as_saved_model(training, runner.full_state(), combination)
    model.net.eval()
    return model, record.model_copy(update={"valid": scored[0].model_dump()})
