"""The verbs as Python functions that give objects to go on with."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from sentiscale.config import TRAIN_FLAGS, preset_values, resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError, did_you_mean
from sentiscale.predictor import Prediction, Predictor
from sentiscale.progress import Progress
from sentiscale.records import RunRecord
from sentiscale.text.column import Texts
from sentiscale.training.loop import train as run_training
from sentiscale.training.rundir import RunDir

if TYPE_CHECKING:
    from sentiscale.explain import Explanation


class Model(Predictor):
    """A trained model: labels, probabilities and reasons.

    >>> model = Model.load("run/model")  # doctest: +SKIP
    >>> model.predict_proba(["Great screen, but the battery died in a week."])  # doctest: +SKIP
    array([[0.93, 0.07]])
    """

    @overload
    def explain(self, texts: str) -> "Explanation": ...
    @overload
    def explain(self, texts: list[str] | tuple[str, ...]) -> "list[Explanation]": ...
    def explain(self, texts: str | list[str] | tuple[str, ...]) -> "Explanation | list[Explanation]":
        """What each word contributed to the logit of one review, or of several; some 20 reviews a second."""
        from sentiscale.explain import explain  # loads Captum

        found = explain(self, [texts] if isinstance(texts, str) else texts)
        return found[0] if isinstance(texts, str) else found


class Run:
    """A finished training run: its record and its model."""

    def __init__(self, path: str | Path, record: RunRecord) -> None:
        self.path = Path(path)
        self.record = record

    @cached_property
    def model(self) -> Model:
        """The trained model, loaded when first used."""
        return Model.load(self.path / "model")

    @overload
    def predict(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap] # a str is asked first
    @overload
    def predict(self, texts: Texts) -> list[Prediction]: ...
    def predict(self, texts: str | Texts) -> Prediction | list[Prediction]:
        """Label one review, or several (see `Model.predict`); the answer has the form of the question."""
        return self.model.predict(texts)

    def __repr__(self) -> str:
        scores = self.record.test or self.record.valid
        return f"Run('{self.path}', accuracy={scores['accuracy']:.4f}, rows={scores['rows']})"


def train(
    dataset: PreparedDataset | str | Path,
    out: str | Path,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Train a model as `sentiscale train` does.

    Args:
        dataset: prepared data, opened or as a path.
        out: the run directory to write.
        preset: fast, balanced or accurate.
        config: a TOML file with settings.
        resume: go on with the run in `out`.
        force: replace the run in `out`.
        progress: where to show how it goes; silent by default.
        **settings: as the command's flags (`epochs=3, model="gru", wide=False`), or any setting by
            its section and name joined by two underscores (`model__hidden_dim=64`).

    Raises:
        UsageError: unknown or impossible settings, or `out` exists.
        DataError: prepared data that is missing or damaged.
    """
    flags = {_setting(name): value for name, value in settings.items()}
    run = RunDir(Path(out))
    base = run.stored_settings() if resume and run.has_begun else preset_values(preset)
    resolved = resolve(config=Path(config) if config else None, base=base, flags=flags)
    return Run(out, run_training(dataset, out, resolved, resume=resume, force=force, progress=progress))


def _setting(name: str) -> str:
    if name in TRAIN_FLAGS:
        return TRAIN_FLAGS[name]
    if "__" in name:
        return name.replace("__", ".", 1)
    raise UsageError(
        f"unknown setting '{name}'.{did_you_mean(name, TRAIN_FLAGS)} Allowed: {', '.join(TRAIN_FLAGS)}, "
        "or section__name."
    )
