"""The verbs of the command line as Python functions that return result objects.

>>> from sentiscale.api import bench, plan, report
>>> measured = bench("data", "study", layouts=("1x1", "2x1"), batch_sizes=(128,))  # doctest: +SKIP
>>> print(report(measured, out="report.html").recommendation.why)  # doctest: +SKIP
>>> print(*plan("study", workers=(4, 8, 16), network="10gbit").sentences)  # doctest: +SKIP
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from sentiscale.config import TRAIN_FLAGS, PrepareSettings, Settings, preset_values, resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError, did_you_mean
from sentiscale.inference.predictor import Prediction, Predictor
from sentiscale.records import RunRecord
from sentiscale.report.scaling import markdown as as_markdown
from sentiscale.report.scaling import write_report
from sentiscale.study.analysis.scaling import study_of
from sentiscale.study.analysis.study import Study
from sentiscale.study.analysis.timings import read_timings, study_of_timings
from sentiscale.study.bench.auto_layout import settle_layout
from sentiscale.study.bench.plan import DEFAULT_ROWS, Amount, BenchRequest
from sentiscale.study.plan.plan import CapacityPlan, make_plan
from sentiscale.study.plan.prediction import CapacityRequest
from sentiscale.study.records import read_runs
from sentiscale.text.column import Texts
from sentiscale.training.launch import train as run_training
from sentiscale.training.run_directory import RunDir
from sentiscale.util.atomic import check_output, write_file
from sentiscale.util.progress import Progress

if TYPE_CHECKING:
    from sentiscale.inference.evaluate import EvaluationResult
    from sentiscale.inference.explain import Explanation
    from sentiscale.study.bench.study import BenchProgress, BenchResult


AMOUNTS = ("rows", "steps", "target_accuracy")
SIZES = ("seconds_per_row", "vocab", "embedding", "hidden", "layers", "dense_bytes")


def bench(
    data: str | Path,
    out: str | Path,
    *,
    prepare: Sequence[str | Path] = (),
    predict: str | Path | None = None,
    progress: "BenchProgress | None" = None,
    limit_cores: float | None = None,
    **request: Any,
) -> "BenchResult":
    """Measure training under every layout, as `sentiscale bench` does; finished runs in `out` are kept.

    Args:
        data: prepared data.
        out: output directory of the study.
        prepare: fastText files whose preparation is also measured, with each engine.
        predict: a model directory or a run whose prediction speed is also measured.
        progress: where to show progress.
        limit_cores: a run is repeated if other programs keep more cores than this busy; None means 0.25.
        **request: fields of `sentiscale.study.bench.plan.BenchRequest` (`layouts=("1x1", "2x1"), repeats=3`),
            one of `rows`, `steps` and `target_accuracy`, and training settings as section and name joined
            by two underscores (`model__hidden_dim=64`).

    Raises:
        UsageError: no layout can run here, or `out` holds runs of another study.
        DataError: the prepared data is missing or damaged.
        Interrupted: SIGINT or SIGTERM was received; finished runs are kept.
    """
    # Loads torch, which `report` and `plan` do not need.
    from sentiscale.study.bench.study import LIMIT_CORES, open_study

    limit = LIMIT_CORES if limit_cores is None else limit_cores
    wanted, settings = _bench_request(request)
    with open_study(data, out, wanted, settings, prepare=prepare, predict=predict) as study:
        return study.run(out, progress, limit)


def plan(records: str | Path | None = None, *, workers: Sequence[int], **request: Any) -> CapacityPlan:
    """Predict speed and efficiency for other numbers of ranks and networks, as `sentiscale plan` does.

    Args:
        records: directory written by `bench`; None if the training is described by its sizes.
        workers: numbers of ranks to predict for.
        **request: fields of `sentiscale.study.plan.prediction.CapacityRequest`, and sizes of a training
            (`seconds_per_row`, `vocab`, `embedding`, `hidden`, `layers`, `dense_bytes`).

    Raises:
        UsageError: the arguments do not fit together.
        DataError: the records are not sufficient for a prediction.
    """
    _check_names(request, {field.name for field in fields(CapacityRequest)} - {"sizes"} | set(SIZES))
    sizes = {name: request.pop(name) for name in SIZES if name in request}
    path = None if records is None else Path(records)
    return make_plan(CapacityRequest(records=path, workers=tuple(workers), sizes=sizes, **request))


def _bench_request(given: dict[str, Any]) -> tuple[BenchRequest, Settings]:
    flags = {name.replace("__", ".", 1): value for name, value in given.items() if "__" in name}
    named = {name: value for name, value in given.items() if "__" not in name}
    _check_names(named, {*BenchRequest.model_fields, *AMOUNTS} - {"amount"})
    amounts = {name: named.pop(name) for name in AMOUNTS if name in named}
    if len(amounts) > 1:
        raise UsageError(f"{' and '.join(amounts)} all set the length of a run. Give only one of them.")
    amount = Amount.model_validate(amounts or {"rows": DEFAULT_ROWS})
    return BenchRequest(**named, amount=amount), resolve(base=preset_values(None), flags=flags)


def _check_names(given: dict[str, Any], allowed: set[str]) -> None:
    for name in given:
        if name not in allowed:
            raise UsageError(
                f"unknown '{name}'.{did_you_mean(name, allowed)} Allowed: {', '.join(sorted(allowed))}."
            )


def report(
    *studies: "BenchResult | str | Path",
    timings: str | Path | None = None,
    out: str | Path | None = None,
    markdown: str | Path | None = None,
) -> Study:
    """Report speedups, fits, a recommendation and caveats, as `sentiscale report` does.

    Args:
        *studies: results of `bench`, or directories it wrote; several are combined.
        timings: CSV file of other timings to use instead: workers,seconds[,strategy].
        out: HTML page to write or replace.
        markdown: Markdown file to write or replace.

    Raises:
        UsageError: both studies and timings were given, or neither.
        DataError: a directory has no runs, or the timings cannot be read; the message names file and line.
    """
    if bool(studies) == (timings is not None):
        raise UsageError(
            "report takes either directories that `sentiscale bench` wrote, or timings from a CSV file; "
            f"got {'both' if studies else 'neither'}."
        )
    for path in (out, markdown):
        _check_writable(path)
    if timings is not None:
        found = study_of_timings(read_timings(Path(timings)))
    else:
        runs = (read_runs(Path(each)) if isinstance(each, str | Path) else each.runs for each in studies)
        found = study_of(list(chain.from_iterable(runs)))
    if out is not None:
        write_report(found, Path(out))
    if markdown is not None:
        write_file(Path(markdown), as_markdown(found))
    return found


def _check_writable(path: str | Path | None) -> None:
    """Fail before any work if `path` cannot be written."""
    if path is not None:
        check_output(Path(path), replace=True)
        if Path(path).is_dir():
            raise UsageError(f"{path} is a directory; give the name of a file in it.")


class Model(Predictor):
    """A trained model that returns labels, probabilities, explanations and scores.

    `classes.names` are the names of the classes, in the order of the columns of `predict_proba`.

    >>> model = Model.load("run/model")  # doctest: +SKIP
    >>> model.predict_proba(["Great screen, but the battery died in a week."])  # doctest: +SKIP
    array([[0.93, 0.07]])
    """

    def evaluate(
        self,
        data: str | Path,
        *,
        split: str = "test",
        settings: PrepareSettings | None = None,
        progress: Progress | None = None,
    ) -> "EvaluationResult":
        """Score the model on all labelled rows, as `sentiscale evaluate` does.

        Args:
            data: prepared data, or a raw file or folder in any input format.
            split: split to evaluate, if `data` is prepared data.
            settings: how to read raw files (format, columns).
            progress: where to show progress; silent by default.

        Raises: DataError when the data cannot be used, or there is no labelled row.
        """
        from sentiscale.inference.evaluate import evaluate

        return evaluate(self, data, split=split, settings=settings, progress=progress)

    @overload
    def explain(self, texts: str, *, target: str | None = None) -> "Explanation": ...
    @overload
    def explain(
        self, texts: list[str] | tuple[str, ...], *, target: str | None = None
    ) -> "list[Explanation]": ...
    def explain(
        self, texts: str | list[str] | tuple[str, ...], *, target: str | None = None
    ) -> "Explanation | list[Explanation]":
        """Return each word's contribution to the logit of one or several reviews; about 20 reviews/s.

        Args:
            texts: a review, which returns one explanation, or several.
            target: class whose logit is explained. By default, the second of two classes, and of more
                classes each review's label.

        Raises: UsageError when `target` is not a class.
        """
        from sentiscale.inference.explain import explain  # loads Captum

        found = explain(self, [texts] if isinstance(texts, str) else texts, target=target)
        return found[0] if isinstance(texts, str) else found


class Run:
    """A finished training run with its record and its model."""

    def __init__(self, path: str | Path, record: RunRecord) -> None:
        self.path = Path(path)
        self.record = record

    @cached_property
    def model(self) -> Model:
        """The trained model, loaded on first use."""
        return Model.load(self.path / "model")

    @overload
    def predict(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap] # a str is asked first
    @overload
    def predict(self, texts: Texts) -> list[Prediction]: ...
    def predict(self, texts: str | Texts) -> Prediction | list[Prediction]:
        """Label one review or several (see `Model.predict`); one review returns a single prediction."""
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
        preset: `fast`, `balanced` or `accurate`.
        config: a TOML file with settings.
        resume: resume the run in `out`.
        force: replace the run in `out`.
        progress: where to show progress; silent by default.
        **settings: flags of the command (`epochs=3, model="gru", wide=False`), or any setting as its section
            and name joined by two underscores (`model__hidden_dim=64`).

    Raises:
        UsageError: settings are unknown or cannot work, or `out` exists.
        DataError: prepared data is missing or damaged.
    """
    flags = {_setting(name): value for name, value in settings.items()}
    run = RunDir(Path(out))
    base = run.stored_settings() if resume and run.has_begun else preset_values(preset)
    resolved = resolve(config=Path(config) if config else None, base=base, flags=flags)
    progress = progress or Progress()
    resolved, layout_choice = settle_layout(resolved, dataset, out, progress, resume=resume, force=force)
    record = run_training(
        dataset, out, resolved, resume=resume, force=force, progress=progress, layout_choice=layout_choice
    )
    return Run(out, record)


def _setting(name: str) -> str:
    if name in TRAIN_FLAGS:
        return TRAIN_FLAGS[name]
    if "__" in name:
        return name.replace("__", ".", 1)
    raise UsageError(
        f"unknown setting '{name}'.{did_you_mean(name, TRAIN_FLAGS)} Allowed: {', '.join(TRAIN_FLAGS)}, "
        "or section__name."
    )
