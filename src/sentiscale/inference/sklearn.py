"""A scikit-learn estimator that trains on texts and labels in memory."""

import json
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from sentiscale.config import Settings, preset_values, resolve
from sentiscale.errors import DataError, Interrupted, UsageError, did_you_mean
from sentiscale.inference.predictor import CHUNK_ROWS, Predictor
from sentiscale.inference.sklearn_data import as_texts, copied_slice, prepare_texts, two_classes
from sentiscale.model.directory import SavedModel, read_record, save_model
from sentiscale.model.metrics import probabilities
from sentiscale.model.wide import Combination
from sentiscale.parallel.world import single_rank
from sentiscale.records import RunRecord, available_cores
from sentiscale.training.finish import as_saved_model
from sentiscale.training.hardware import Hardware, RankContext
from sentiscale.training.launch import train
from sentiscale.training.loop import fit
from sentiscale.training.run import Training, TrainJob, current_record
from sentiscale.training.run_directory import RunDir
from sentiscale.training.setup import set_up
from sentiscale.training.validate import evaluate
from sentiscale.util.atomic import whole_directory, write_file
from sentiscale.util.progress import Progress


def train_in_process(job: TrainJob, progress: Progress) -> tuple[SavedModel, RunRecord]:
    """Train with resolved settings of layout 1x1; the job's run directory gets checkpoints and a log.

    Raises: as `train` does.
    """
    job.run_dir.create(resume=job.resume, force=job.force)
    hardware = Hardware.choose(job.settings)
    with set_up(job, RankContext(single_rank(hardware.device), hardware), progress) as training:
        fit(training, progress)
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


PARAMETER_SETTINGS = {
    "model": "model.cell",
    "wide": "wide.enabled",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "train.lr",
    "max_tokens": "train.max_tokens",
    "vocab_size": "prepare.vocab_size",
    "min_count": "prepare.min_count",
    "cleaning": "prepare.clean",
    "layout": "train.layout",
    "device": "train.device",
    "precision": "train.precision",
    "time_limit": "train.time_limit",
}
"""Setting of each parameter; None leaves the preset's value."""
PREPARE_SETTINGS = ("prepare.clean", "prepare.vocab_size", "prepare.min_count", "prepare.max_tokens")
"""Settings of preparation that apply to texts in memory."""
FEW_TEXTS = 4000
"""Below this many texts, words that occur once are kept: better on 2,000 real ones, worse on 8,000."""
MODEL_FILES = ("config.toml", "vocab.txt", "weights.safetensors", "record.json")
ESTIMATOR_FILE = "estimator.json"
"""Class labels and parameters, which `save` adds to the model directory."""
PROCESS_STATE = threading.RLock()
"""Fitting and loading set torch's number of threads and random state, which the whole process shares."""


class SentimentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The classifier of `sentiscale train` for texts in memory; two classes.

    `fit` writes its working files to a temporary folder and trains in this process, unless `layout` asks for
    several. A tenth of each class, chosen by the hash of the text, is held out for validation: it decides
    which weights are kept and how network and n-gram model are weighted. Duplicates are not dropped.

    Args:
        model: recurrent cell, "lstm" or "gru"; None is the preset's.
        wide: whether to add a linear model on n-grams to the network.
        preset: "fast", "balanced" or "accurate"; None is balanced.
        epochs: passes over the training texts, fractions allowed; None is the preset's, else 2, or 4 below
            40,000 texts.
        batch_size: texts a step; None is 128, or 32 below 40,000 texts.
        lr: Adam's largest learning rate; None is the preset's.
        max_tokens: tokens of a text that the network reads, half of them from its end; None is the preset's.
        vocab_size: largest number of words; None is 120,000.
        min_count: rarer words are unknown; None is 2, or 1 below 4,000 texts.
        cleaning: "words" or "alpha"; None is words.
        validation_fraction: share of each class to validate on, above 0 and below 1; at least 16 texts of a
            class, if that is at most a third of it.
        threads: torch's threads of each rank in training; None is as many as torch uses in this process.
            More than one pay off from some ten thousand texts on, and on idle cores.
        layout: replicas x stages. "1x1" trains in this process; any other starts a process for each rank.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32", "bf16", "fp16" or "fp64".
        time_limit: seconds of training after which the best weights so far are used; None is no limit.
        random_state: seed; None or a RandomState draw one. The same seed gives the same model.
        verbose: above 0, training reports on stderr.
        settings: any other setting by its dotted name, as in {"model.hidden_dim": 64}; wins over the rest.

    Attributes:
        classes_: both labels, sorted; the second is the one a saved model calls positive.
        predictor_: the trained model, a `sentiscale.Predictor`.
        record_: the record of the training: settings, seconds, scores on the validation texts.

    There is no `n_features_in_`, since text has no fixed number of features, and no `sample_weight`.

    >>> classifier = SentimentClassifier(preset="fast")
    >>> classifier.fit(texts, labels).predict(["Not bad at all."])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        wide: bool = True,
        preset: str | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        max_tokens: int | None = None,
        vocab_size: int | None = None,
        min_count: int | None = None,
        cleaning: str | None = None,
        validation_fraction: float = 0.1,
        threads: int | None = 1,
        layout: str = "1x1",
        device: str = "auto",
        precision: str = "auto",
        time_limit: float | None = None,
        random_state: Any = 0,
        verbose: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.wide = wide
        self.preset = preset
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.max_tokens = max_tokens
        self.vocab_size = vocab_size
        self.min_count = min_count
        self.cleaning = cleaning
        self.validation_fraction = validation_fraction
        self.threads = threads
        self.layout = layout
        self.device = device
        self.precision = precision
        self.time_limit = time_limit
        self.random_state = random_state
        self.verbose = verbose
        self.settings = settings

    def fit(self, X: Any, y: Any) -> "SentimentClassifier":
        """Fit to texts `X` (n,) and their labels `y` (n,) of two classes.

        Args:
            X: list, numpy array, or pandas, Polars or Arrow column of str; no missing values.
            y: labels that can be sorted: str, bool, int.

        Raises:
            ValueError: unusable texts or labels, or impossible parameters.
            SentiscaleError: the training failed.
        """
        texts = as_texts(X)
        classes, labels = two_classes(y, len(texts))
        try:
            predictor, record = self._train(texts, labels)
        except (UsageError, DataError) as error:
            raise ValueError(str(error)) from error
        except Interrupted as error:  # without its advice to resume: the temporary folder is gone
            raise KeyboardInterrupt(str(error).partition(";")[0]) from error
        self.classes_, self.predictor_, self.record_ = classes, predictor, record
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float32]:
        """Logits (n,) of the second class; the logit of a text does not depend on the other texts.

        Raises: NotFittedError before `fit`; ValueError for anything but texts.
        """
        check_is_fitted(self)
        texts, predictor = as_texts(X), self.predictor_
        parts = []
        with denormals_preserved():
            for begin in range(0, len(texts), CHUNK_ROWS):
                rows = predictor.encoder.encode(copied_slice(texts, begin, begin + CHUNK_ROWS))
                parts.append(predictor.logits(rows))
        return np.concatenate(parts)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probability of each class (n, 2), in the order of `classes_`."""
        second = probabilities(self.decision_function(X))
        return np.column_stack([1 - second, second])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The more probable label of each text (n,)."""
        logits = self.decision_function(X)
        labels: npt.NDArray[Any] = self.classes_[(logits > 0).astype(int)]
        return labels

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a model directory, which `sentiscale predict` and `serve` accept as well.

        Its second class is called positive there; `load` restores the labels that `fit` was given.

        Raises:
            OutputExistsError: `path` exists; with `force` a model directory is replaced.
            ValueError: labels of a type that JSON cannot store.
        """
        check_is_fitted(self)
        description = self._description()
        with whole_directory(Path(path), replace=force, marker=MODEL_FILES[0]) as working:
            for name, content in self._model_files().items():
                (working / name).write_bytes(content)
            write_file(working / ESTIMATOR_FILE, description)

    @classmethod
    def load(cls, path: str | Path) -> "SentimentClassifier":
        """Load what `save` wrote, or RUN/model of a training: then the labels are negative and positive.

        Raises: DataError when it is missing, damaged or of another version.
        """
        path = Path(path)
        with process_state_preserved():
            predictor = Predictor.load(path)
        parameters, classes = _read_description(path)
        try:
            estimator = cls(**parameters)
        except TypeError as error:
            raise DataError(
                f"{path / ESTIMATOR_FILE} was written by another version: {error}. Fit and save it again."
            ) from error
        estimator.classes_, estimator.predictor_ = classes, predictor
        estimator.record_ = read_record(path)
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, labels and the content of the model directory: nothing of torch."""
        state = dict(super().__getstate__())
        if state.pop("predictor_", None) is not None:
            state["model_files_"] = self._model_files()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        files = state.pop("model_files_", None)
        super().__setstate__(state)
        if files is not None:
            with process_state_preserved(), tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
                for name in MODEL_FILES:  # and no other names, which could lead out of the folder
                    if name in files:
                        Path(folder, name).write_bytes(files[name])
                self.predictor_ = Predictor.load(folder)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_class = False
        return tags

    def _train(self, texts: pa.Array, labels: npt.NDArray[np.uint8]) -> tuple[Predictor, dict[str, Any]]:
        settings = self._settings(len(texts))
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"validation_fraction is {self.validation_fraction}; it must be above 0, below 1."
            )
        progress = StderrProgress() if self.verbose else Progress()
        with process_state_preserved(), tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
            data, run = Path(folder, "data"), Path(folder, "run")
            data.mkdir()
            dataset = prepare_texts(texts, labels, data, settings.prepare, self.validation_fraction)
            if settings.train.layout == "1x1":
                resolved = settings.resolved(dataset.manifest.rows["train"])
                model, record = train_in_process(TrainJob(dataset, RunDir(run), resolved), progress)
                return Predictor(model), record.model_dump(mode="json")
            record = train(dataset, run, settings, progress=progress)
            return Predictor.load(run / "model"), record.model_dump(mode="json")

    def _settings(self, texts: int) -> Settings:
        """All settings: `settings` wins over the other parameters, and these win over the preset."""
        flags = {setting: getattr(self, name) for name, setting in PARAMETER_SETTINGS.items()}
        if self.min_count is None and texts < FEW_TEXTS:
            flags["prepare.min_count"] = 1
        flags["train.threads_per_rank"] = self.threads
        if self.threads is None and self.layout == "1x1":
            flags["train.threads_per_rank"] = min(torch.get_num_threads(), available_cores())
        if isinstance(self.random_state, Integral):
            flags["train.seed"] = int(self.random_state)
        else:
            flags["train.seed"] = int(check_random_state(self.random_state).randint(2**32, dtype=np.int64))
        for key in self.settings or {}:
            if key.startswith(("prepare.", "track.")) and key not in PREPARE_SETTINGS:
                raise UsageError(
                    f"setting '{key}' has no effect on texts in memory.{did_you_mean(key, PREPARE_SETTINGS)} "
                    f"Allowed: those of model, wide, vectors and train, and {', '.join(PREPARE_SETTINGS)}."
                )
        flags |= self.settings or {}
        plain = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in flags.items()
        }
        return resolve(base=preset_values(self.preset), flags=plain)

    def _model_files(self) -> dict[str, bytes]:
        """Content of the files of the model directory."""
        record = RunRecord.model_validate(self.record_) if self.record_ else None
        with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
            save_model(Path(folder, "model"), self.predictor_.model, record)
            return {file.name: file.read_bytes() for file in Path(folder, "model").iterdir()}

    def _description(self) -> str:
        """Content of ESTIMATOR_FILE; parameters that JSON cannot store are omitted."""
        classes = self.classes_.tolist()
        if not all(isinstance(label, str | int | float) for label in classes):
            raise ValueError(
                f"classes_ are {classes!r}; a model directory takes labels that are str, bool, int or float. "
                "Use pickle or joblib, or other labels."
            )
        parameters = {}
        for name, value in self.get_params().items():
            with suppress(TypeError):
                json.dumps(value)
                parameters[name] = value
        document = {"classes": classes, "dtype": self.classes_.dtype.str, "parameters": parameters}
        return json.dumps(document, indent=2) + "\n"


def _read_description(path: Path) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """Parameters and labels of a model directory; without ESTIMATOR_FILE, those of `sentiscale train`."""
    file = path / ESTIMATOR_FILE
    if not file.exists():
        return {}, np.array(["negative", "positive"])
    try:
        document = json.loads(file.read_bytes())
        classes = np.array(document["classes"], np.dtype(document["dtype"]))
        if classes.shape != (2,):
            raise ValueError(f"it has {len(classes)} classes")
        return dict(document["parameters"]), classes
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file} is damaged: {error}. Copy the directory or save it again.") from error


class StderrProgress(Progress):
    def say(self, message: str) -> None:
        sys.stderr.write(message + "\n")


@contextmanager
def process_state_preserved() -> Iterator[None]:
    """Restore torch's random state and this thread's arithmetic at the end; one block at a time."""
    with PROCESS_STATE, torch.random.fork_rng(devices=()), denormals_preserved():
        yield


@contextmanager
def denormals_preserved() -> Iterator[None]:
    """Restore this thread's treatment of denormal numbers at the end."""
    flushed = sys.float_info.min / 2 == 0.0  # torch has no function that returns it
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
