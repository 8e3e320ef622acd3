"""Runs that an earlier go has kept: they count if they answer the same question."""

from collections.abc import Iterable
from pathlib import Path

from sentiscale.bench.runs import Conditions
from sentiscale.errors import UsageError
from sentiscale.measurements import BenchRun
from sentiscale.records import Host, read_jsonl

RECORDS = "records.jsonl"

Key = tuple[str, int]
"""A case and its repeat."""


def key_of(run: BenchRun) -> Key:
    """Which run of the plan this is."""
    return run.case.key, run.repeat


def stored_runs(out: Path, conditions: Conditions) -> dict[Key, BenchRun]:
    """Finished runs by key; those of preparation and prediction count where these are measured.

    Raises:
        UsageError: they were made on other data, another machine, or with other settings.
        DataError: a line is no such record.
    """
    path = out / RECORDS
    runs = list(read_jsonl(path, BenchRun)) if path.exists() else []
    mine = [run for run in runs if run.case.kind in ("train", "copies", *conditions.beside)]
    host = Host.current(conditions.gpu)
    for run in mine:
        problems = [*_differences(run, conditions), *_other_machine(run.host, host)]
        if problems:
            raise UsageError(
                f"{path} holds runs that do not belong to this study: {'; '.join(problems)}. Choose another "
                "--out, or give the same data and settings as then."
            )
    return {key_of(run): run for run in mine}


def _differences(run: BenchRun, conditions: Conditions) -> Iterable[str]:
    if run.case.kind in conditions.beside:
        yield from conditions.beside[run.case.kind].differences(run)
        return
    if run.data_digest != conditions.dataset.manifest.digest:
        yield f"they were made on other data than {conditions.dataset.path}"
    if run.amount != conditions.amount.kept:
        yield f"each went through {run.amount}, not {conditions.amount.kept}"
    to_target = conditions.amount.target_accuracy is not None
    expected = conditions.seed + (run.repeat if to_target else 0)
    if run.seed != expected:
        yield f"their seed was {run.seed - (run.repeat if to_target else 0)}, not {conditions.seed}"
    wanted = conditions.shape_of(run.case)
    for name, value in wanted.items():
        if run.shape.get(name) != value:
            yield f"{name} was {run.shape.get(name)}, not {value}"


def _other_machine(then: Host, here: Host) -> Iterable[str]:
    for name in ("cpu_model", "cores", "gpu"):
        if getattr(then, name) != getattr(here, name):
            yield f"their machine had {name} {getattr(then, name)}, this one has {getattr(here, name)}"
