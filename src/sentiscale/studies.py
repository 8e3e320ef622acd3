"""A scaling study in Python: `bench` measures, `report` concludes, `plan` predicts; as the verbs do.

>>> from sentiscale.studies import bench, plan, report
>>> measured = bench("data", "study", layouts=("1x1", "2x1"), batch_sizes=(128,))  # doctest: +SKIP
>>> print(report(measured, out="report.html").recommendation.why)  # doctest: +SKIP
>>> print(*plan("study", workers=(4, 8, 16), network="10gbit").sentences)  # doctest: +SKIP
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiscale.analysis.report_markdown import markdown as as_markdown
from sentiscale.analysis.report_page import write_report
from sentiscale.analysis.scaling import study_of
from sentiscale.analysis.study import Study
from sentiscale.analysis.timings import read_timings
from sentiscale.analysis.timings_study import study_of_timings
from sentiscale.atomic import check_output, write_file
from sentiscale.bench.plan import DEFAULT_ROWS, Amount, Asked
from sentiscale.config import Settings, preset_values, resolve
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.measurements import BenchRun
from sentiscale.planning.asked import Asked as AskedPlan
from sentiscale.planning.asked import plan_from
from sentiscale.planning.plan import RECORDS, Plan
from sentiscale.records import read_jsonl

if TYPE_CHECKING:
    from sentiscale.bench.study import Study as Measured
    from sentiscale.bench.study import Watcher

AMOUNTS = ("rows", "steps", "target_accuracy")
SIZES = ("seconds_per_row", "vocab", "embedding", "hidden", "layers", "dense_bytes")


def bench(
    data: str | Path,
    out: str | Path,
    *,
    prepare: Sequence[str | Path] = (),
    predict: str | Path | None = None,
    watcher: "Watcher | None" = None,
    limit_cores: float | None = None,
    **asked: Any,
) -> "Measured":
    """Measure training under every layout, as `sentiscale bench` does; finished runs in `out` are kept.

    Args:
        data: prepared data.
        out: directory of the study.
        prepare: fastText files to prepare as well, by engine.
        predict: a model directory or a run to label texts with as well.
        watcher: is told how it goes.
        limit_cores: cores that other programs may keep busy, else a run is repeated; None is 0.25.
        **asked: fields of `sentiscale.bench.plan.Asked` (`layouts=("1x1", "2x1"), repeats=3`), one of
            `rows`, `steps` and `target_accuracy`, and settings of the training by section and name joined
            by two underscores (`model__hidden_dim=64`).

    Raises:
        UsageError: nothing of it can run here, or `out` holds runs of another study.
        DataError: prepared data that are missing or damaged.
        Interrupted: stopped; finished runs are kept.
    """
    # Loads torch, which a report and a plan do without.
    from sentiscale.bench.engines.attach import attached, beside_training
    from sentiscale.bench.interference import LIMIT_CORES
    from sentiscale.bench.study import measure_all, prepared

    wanted, settings = _asked(asked)
    limit = LIMIT_CORES if limit_cores is None else limit_cores
    conditions, planned = prepared(data, wanted, settings)
    with beside_training(data, Path(out), prepare, predict, wanted.threads or ()) as beside:
        return measure_all(*attached(conditions, planned, beside), out, watcher, limit)


def report(
    *studies: "Measured | str | Path",
    timings: str | Path | None = None,
    out: str | Path | None = None,
    markdown: str | Path | None = None,
) -> Study:
    """Speedups, fits, a recommendation and what cannot be concluded, as `sentiscale report` gives them.

    Args:
        *studies: what `bench` returned, or its directories; several are taken together.
        timings: instead, a CSV file of anyone's times: workers,seconds[,strategy].
        out: a page to write; what stood there is replaced.
        markdown: the same as Markdown.

    Raises:
        UsageError: studies and timings, or neither.
        DataError: a directory without runs, or timings that cannot be read, naming file and line.
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
        found = study_of([run for each in studies for run in _runs(each)])
    if out is not None:
        write_report(found, Path(out))
    if markdown is not None:
        write_file(Path(markdown), as_markdown(found))
    return found


def plan(records: str | Path | None = None, *, workers: Sequence[int], **asked: Any) -> Plan:
    """Time, speedup and efficiency for ranks and networks one does not have, as `sentiscale plan` gives them.

    Args:
        records: directory of `bench`; None where a training is described by its sizes.
        workers: numbers of ranks.
        **asked: fields of `sentiscale.planning.asked.Asked`, and sizes of a training (`seconds_per_row`,
            `vocab`, `embedding`, `hidden`, `layers`, `dense_bytes`).

    Raises: UsageError for what does not go together; DataError for records that do not suffice.
    """
    _check_names(asked, {field.name for field in fields(AskedPlan)} - {"sizes"} | set(SIZES))
    sizes = {name: asked.pop(name) for name in SIZES if name in asked}
    path = None if records is None else Path(records)
    return plan_from(AskedPlan(records=path, workers=tuple(workers), sizes=sizes, **asked))


def _asked(given: dict[str, Any]) -> tuple[Asked, Settings]:
    flags = {name.replace("__", ".", 1): value for name, value in given.items() if "__" in name}
    named = {name: value for name, value in given.items() if "__" not in name}
    _check_names(named, {*Asked.model_fields, *AMOUNTS} - {"amount"})
    amounts = {name: named.pop(name) for name in AMOUNTS if name in named}
    if len(amounts) > 1:
        raise UsageError(f"{' and '.join(amounts)} all say how much a run does. Give one of them.")
    amount = Amount.model_validate(amounts or {"rows": DEFAULT_ROWS})
    return Asked(**named, amount=amount), resolve(base=preset_values(None), flags=flags)


def _check_names(given: dict[str, Any], allowed: set[str]) -> None:
    for name in given:
        if name not in allowed:
            raise UsageError(
                f"unknown '{name}'.{did_you_mean(name, allowed)} Allowed: {', '.join(sorted(allowed))}."
            )


def _runs(study: "Measured | str | Path") -> list[BenchRun]:
    if not isinstance(study, str | Path):
        return study.runs
    path = Path(study) / RECORDS if Path(study).is_dir() else Path(study)
    if not path.is_file():
        raise DataError(f"{path} is not there. report takes directories that `sentiscale bench --out` wrote.")
    runs = list(read_jsonl(path, BenchRun))
    if not runs:
        raise DataError(f"{path} holds no run. Go on with `sentiscale bench DATA --out {path.parent}`.")
    return runs


def _check_writable(path: str | Path | None) -> None:
    """Fail before any work."""
    if path is not None:
        check_output(Path(path), replace=True)
        if Path(path).is_dir():
            raise UsageError(f"{path} is a directory; give the name of a file in it.")
