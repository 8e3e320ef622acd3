"""A scikit-learn estimator that is trained on texts and labels in memory."""

import json
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from sentiscale.config import Settings, preset_values, resolve
from sentiscale.errors import DataError, Interrupted, UsageError, did_you_mean, quoted
from sentiscale.inference.predictor import CHUNK_ROWS, Predictor
from sentiscale.inference.sklearn_data import (
    as_texts,
    class_codes,
    copied_slice,
    named_classes,
    prepare_texts,
)
from sentiscale.model.directory import SavedModel, read_record, save_model
from sentiscale.model.files import CONFIG, DIGESTS, FILES, RECORD
from sentiscale.model.metrics import probabilities
from sentiscale.parallel.world import single_rank
from sentiscale.records import RunRecord, available_cores
from sentiscale.text.classes import Classes
from sentiscale.training.finish import as_saved_model, score_answers
from sentiscale.training.hardware import Hardware, RankContext
from sentiscale.training.launch import train
from sentiscale.training.loop import fit
from sentiscale.training.run import Training, TrainJob, current_record
from sentiscale.training.run_directory import RunDir
from sentiscale.training.setup import set_up
from sentiscale.util.atomic import whole_directory, write_file
from sentiscale.util.files import read_json
from sentiscale.util.progress import Progress


def train_in_process(job: TrainJob, progress: Progress) -> tuple[SavedModel, RunRecord]:
    """Train in this process with layout 1x1; checkpoints and a log are written to the job's run directory.

    Raises the same exceptions as `train`.
    """
    job.run_dir.create(resume=job.resume, force=job.force)
    hardware = Hardware.choose(job.settings)
    with set_up(job, RankContext(single_rank(hardware.device), hardware), progress) as training:
        fit(training, progress)
        return _finished(training)


def _finished(training: Training) -> tuple[SavedModel, RunRecord]:
    """Restore the best weights; returns the model and the run record with its validation scores."""
    record = current_record(training, "finished", training.clock.seconds())
    runner = training.learner.runner
    runner.restore(training.best)
    answers = score_answers(training)
    assert answers is not None, "one rank is rank 0"
    model = as_saved_model(training, runner.full_state(), answers)
    model.net.eval()
    return model, record.model_copy(update=answers.for_record())


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
"""Setting for each parameter; a parameter that is None keeps the preset's value."""
PREPARE_SETTINGS = ("prepare.clean", "prepare.vocab_size", "prepare.min_count", "prepare.max_tokens")
"""Preparation settings that apply to texts in memory."""
FEW_TEXTS = 4000
"""Below this number of texts, words that occur only once are kept; on real reviews, this was better for 2,000
texts and worse for 8,000."""
ESTIMATOR_FILE = "estimator.json"
"""File with class labels and parameters, which `save` adds to the model directory."""
MAX_LABEL_BYTES = 64 * 2**10
PROCESS_STATE = threading.RLock()
"""Lock for PyTorch's number of threads and random state: fitting and loading change them process-wide."""


class SentimentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The classifier of `sentiscale train` as an estimator for texts in memory, with 2 to 100 classes.

    `fit` writes working files to a temporary folder and trains in this process, unless `layout` requires
    several processes. A tenth of each class, selected by the hash of the text, is held out for validation; it
    is used to select the weights to keep and to weight the network and the n-gram model. Duplicates are not
    dropped.

    Args:
        model: recurrent cell, "lstm" or "gru"; None uses the preset's value.
        wide: whether to combine the network with a linear n-gram model.
        preset: "fast", "balanced" or "accurate"; None means "balanced".
        epochs: number of passes over the training texts, possibly fractional; None uses the preset's value if
            it has one, otherwise 2, or 4 below 40,000 texts.
        batch_size: number of texts per step; None means 128, or 32 below 40,000 texts.
        lr: Adam's largest learning rate; None uses the preset's value.
        max_tokens: number of tokens of a text that the network reads, half of them from its end; None uses
            the preset's value.
        vocab_size: largest number of words in the vocabulary; None means 120,000.
        min_count: smallest number of occurrences of a word in the vocabulary; None means 2, or 1 below 4,000
            texts.
        cleaning: "words" or "alpha"; None means "words".
        validation_fraction: share of each class to validate on, above 0 and below 1. At least 16 texts per
            class are used, if that is at most a third of the class.
        threads: number of PyTorch threads per rank in training; None uses the current number of this process.
            More than one is faster from about ten thousand texts, if the cores are idle.
        layout: replicas x stages. "1x1" trains in this process; other layouts start one process per rank.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32", "bf16", "fp16" or "fp64".
        time_limit: seconds after which training ends with the best weights so far; rows are sampled where
            they would take too long. None means no limit.
        random_state: integer seed, or None or a RandomState from which a seed is drawn. The same seed
            produces the same model.
        class_weight: weight of each class in the loss, {label: weight} or "balanced", which weights all
            classes equally; None weights all texts equally. `predict` returns the class with the largest
            product of weight and probability; probabilities keep the shares of the training texts.
        ordinal: whether the labels are numbers whose order matters, such as stars. With three or more
            classes, the network then has an ordinal output layer, and `record_` has their mean error.
        verbose: if above 0, write training progress to stderr.
        settings: further settings by dotted name, as in {"model.hidden_dim": 64}; they override all other
            parameters.

    Attributes:
        classes_: the labels, sorted; a saved model calls two labels negative and positive.
        predictor_: the trained model, a `sentiscale.Predictor`.
        record_: record of the training: settings, seconds and scores on the validation texts.

    There is no `n_features_in_`, because text has no fixed number of features.

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
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        ordinal: bool = False,
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
        self.class_weight = class_weight
        self.ordinal = ordinal
        self.verbose = verbose
        self.settings = settings

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "SentimentClassifier":
        """Fit the classifier to texts `X` (n,) and labels `y` (n,).

        Args:
            X: list, NumPy array, or pandas, Polars or Arrow column of str, without missing values.
            y: sortable labels, such as str, bool or int.
            sample_weight: weight of each text in the loss, (n,); texts of weight 0 are left out.

        Raises:
            ValueError: texts, labels or parameters are invalid.
            SentiscaleError: training failed.
        """
        texts = as_texts(X)
        labels, codes = class_codes(y, len(texts))
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, texts, ensure_non_negative=True)
            texts, codes, weights = texts.filter(weights > 0), codes[weights > 0], weights[weights > 0]
            weights = (weights / weights.mean()).astype(np.float32) if np.ptp(weights) else None
        try:
            predictor, record = self._train(texts, codes, labels, weights)
        except (UsageError, DataError) as error:
            raise ValueError(str(error)) from error
        except Interrupted as error:  # drops the advice to resume, because the temporary folder is deleted
            raise KeyboardInterrupt(str(error).partition(";")[0]) from error
        self.classes_, self.predictor_, self.record_ = labels, predictor, record
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float32]:
        """Logits: (n,) of the second of two classes, or (n, K) of K classes.

        The logits of a text do not depend on the other texts.

        Raises: NotFittedError when the classifier is not fitted; ValueError when `X` is not a collection of
            texts.
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
        """Class probabilities (n, K), in the order of `classes_`."""
        return probabilities(self.decision_function(X))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predicted label of each text (n,).

        It is the label that `sentiscale predict` gives, or the most probable one where that is unsure.
        """
        chances = self.predict_proba(X)
        codes = self.predictor_.decision.codes(chances)
        sure = np.where(codes < len(self.classes_), codes, chances.argmax(axis=1))
        labels: npt.NDArray[Any] = self.classes_[sure]
        return labels

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a model directory, which `sentiscale predict` and `serve` accept as well.

        There, two classes are called negative and positive, and labels are text; `load` restores the labels
        passed to `fit`.

        Args:
            path: directory to write.
            force: replace an existing model directory.

        Raises:
            OutputExistsError: `path` exists and `force` is not set, or `path` is not a model directory.
            ValueError: the labels are of a type that JSON cannot store.
        """
        check_is_fitted(self)
        description = self._description()
        with whole_directory(Path(path), replace=force, marker=CONFIG) as working:
            for name, content in self._model_files().items():
                (working / name).write_bytes(content)
            write_file(working / ESTIMATOR_FILE, description)

    @classmethod
    def load(cls, path: str | Path) -> "SentimentClassifier":
        """Load a directory written by `save` or, with the classes of the data as labels, RUN/model of a run.

        Raises: DataError when the directory is missing or damaged, or was written by an incompatible version.
        """
        path = Path(path)
        with process_state_preserved():
            predictor = Predictor.load(path)
        parameters, labels = _read_description(path, predictor.classes.names)
        try:
            estimator = cls(**parameters)
        except TypeError as error:
            raise DataError(
                f"{path / ESTIMATOR_FILE} was written by another version: {error}. Fit and save it again."
            ) from error
        estimator.classes_, estimator.predictor_ = labels, predictor
        estimator.record_ = read_record(path)
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, labels and the content of the model directory, without PyTorch objects."""
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
                for name in (*FILES, DIGESTS, RECORD):  # other names could be paths outside the folder
                    if name in files:
                        Path(folder, name).write_bytes(files[name])
                self.predictor_ = Predictor.load(folder)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _train(
        self,
        texts: pa.Array,
        codes: npt.NDArray[np.uint8],
        labels: npt.NDArray[Any],
        weights: npt.NDArray[np.float32] | None,
    ) -> tuple[Predictor, dict[str, Any]]:
        classes = named_classes(labels, ordinal=self.ordinal)
        settings = self._settings(len(texts), labels, classes)
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"validation_fraction is {self.validation_fraction}; it must be above 0 and below 1."
            )
        progress = StderrProgress() if self.verbose else Progress()
        with process_state_preserved(), tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
            data, run = Path(folder, "data"), Path(folder, "run")
            data.mkdir()
            share = self.validation_fraction
            dataset = prepare_texts(texts, codes, data, settings.prepare, share, classes, weights)
            if settings.train.layout == "1x1":
                resolved = dataset.resolve(settings)
                model, record = train_in_process(TrainJob(dataset, RunDir(run), resolved), progress)
                return Predictor(model), record.model_dump(mode="json")
            record = train(dataset, run, settings, progress=progress)
            return Predictor.load(run / "model"), record.model_dump(mode="json")

    def _settings(self, texts: int, labels: npt.NDArray[Any], classes: Classes) -> Settings:
        """Resolve all settings: `settings` overrides the other parameters, which override the preset."""
        flags = {setting: getattr(self, name) for name, setting in PARAMETER_SETTINGS.items()}
        if self.min_count is None and texts < FEW_TEXTS:
            flags["prepare.min_count"] = 1
        flags["model.head"] = "ordinal" if self.ordinal else None
        flags["train.class_weight"] = self.class_weight
        if isinstance(self.class_weight, Mapping):
            weights = compute_class_weight(self.class_weight, classes=labels, y=labels)
            flags["train.class_weight"] = dict(zip(classes.names, weights.tolist(), strict=True))
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
                    "Use settings of model, wide, cascade, vectors or train, or "
                    f"{', '.join(PREPARE_SETTINGS)}."
                )
        flags |= self.settings or {}
        plain = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in flags.items()
        }
        return resolve(base=preset_values(self.preset), flags=plain)

    def _model_files(self) -> dict[str, bytes]:
        """Content of the model directory's files by name."""
        record = RunRecord.model_validate(self.record_) if self.record_ else None
        with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
            save_model(Path(folder, "model"), self.predictor_.model, record)
            return {file.name: file.read_bytes() for file in Path(folder, "model").iterdir()}

    def _description(self) -> str:
        """Content of ESTIMATOR_FILE; parameters that JSON cannot store are omitted."""
        classes = self.classes_.tolist()
        if not all(isinstance(label, str | int | float) for label in classes):
            raise ValueError(
                f"classes_ are {classes!r}; a model directory stores only str, bool, int or float labels. "
                "Use pickle or joblib, or fit with other labels."
            )
        parameters = {}
        for name, value in self.get_params().items():
            with suppress(TypeError):
                json.dumps(value)
                parameters[name] = value
        document = {"classes": classes, "dtype": self.classes_.dtype.str, "parameters": parameters}
        return json.dumps(document, indent=2) + "\n"


def _read_description(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """Read parameters and labels; without ESTIMATOR_FILE, returns defaults and the names of the classes."""
    file = path / ESTIMATOR_FILE
    try:
        document = read_json(file)
    except FileNotFoundError:
        return {}, np.array(names)
    try:
        dtype = np.dtype(document["dtype"])
        if dtype.kind not in "biufUO" or dtype.itemsize > MAX_LABEL_BYTES:
            raise ValueError(f"dtype is {quoted(document['dtype'])}")
        classes = np.array(document["classes"], dtype)
        if classes.shape != (len(names),):
            raise ValueError(f"it has {len(classes)} classes, and the model {len(names)}")
        return dict(document["parameters"]), classes
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file} is damaged: {error}. Copy the directory or save it again.") from error


class StderrProgress(Progress):
    def say(self, message: str) -> None:
        sys.stderr.write(message + "\n")


@contextmanager
def process_state_preserved() -> Iterator[None]:
    """Restore PyTorch's random state and this thread's denormal setting on exit; holds PROCESS_STATE."""
    with PROCESS_STATE, torch.random.fork_rng(devices=()), denormals_preserved():
        yield


@contextmanager
def denormals_preserved() -> Iterator[None]:
    """Restore this thread's treatment of denormal numbers on exit."""
    flushed = sys.float_info.min / 2 == 0.0  # PyTorch has no function that returns this setting
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
