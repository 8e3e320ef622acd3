"""Choose the cases of a study: layouts, threads, batch sizes, models, precisions and devices."""

import itertools
import random
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, Field

from sentiscale.config import Settings
from sentiscale.errors import UsageError
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import Precision
from sentiscale.records import Record, available_cores
from sentiscale.study.records import Case
from sentiscale.training.hardware import Hardware

DEFAULT_ROWS = 2560
"""Rows per run: five steps of the largest default batch, which take 1 to 3 s on one core."""


class Amount(BaseModel, frozen=True):
    """The length of each run; set one of the fields."""

    rows: int | None = None  # rows per run; in weak scaling, rows per replica
    steps: int | None = None  # timed optimizer steps, regardless of their number of rows
    target_accuracy: float | None = None  # train until this validation accuracy is reached

    @property
    def as_recorded(self) -> dict[str, float]:
        return self.model_dump(exclude_none=True)

    def steps_of(self, case: Case) -> int:
        """Number of optimizer steps of a run, unless the run has a target accuracy."""
        growth = replicas(case) if case.scaling == "weak" else 1
        return self.steps or max(1, round((self.rows or DEFAULT_ROWS) * growth / case.batch_size))


class BenchRequest(BaseModel, frozen=True):
    """What to measure. None selects values that suit this machine."""

    layouts: tuple[str, ...] | None = None  # replicas x stages, such as 2x1
    threads: tuple[int, ...] | None = None  # threads per rank, and workers of preparation and prediction
    batch_sizes: tuple[int, ...] = (32, 128, 512)  # rows per optimizer step
    models: tuple[str, ...] = ("lstm", "gru")
    precisions: tuple[str, ...] = ("auto",)  # auto: the default precision of training on the device
    devices: tuple[str, ...] = ("cpu",)  # cpu, cuda
    scaling: str = "strong"  # strong: batch sizes are totals over all ranks; weak: they are per replica
    repeats: int = 5  # runs per case
    seed: int = 0  # for the training rows and the order of the runs
    baselines: bool = True
    """Whether to measure the baselines of parallel runs as well: plain serial, one rank that exchanges with
    itself, several threads in one process, and independent trainings at the same time."""
    amount: Amount = Amount(rows=DEFAULT_ROWS)


class LeftOut(Record):
    """A case that is not measured."""

    case: Case
    """The requested case."""
    reason: str
    """Reason why the case cannot run on this machine."""


class BenchPlan(BaseModel, frozen=True):
    """The cases to measure, and the requested cases that cannot run on this machine."""

    cases: list[Case]  # run in random order
    left_out: list[LeftOut] = Field(default_factory=list)  # requested, but impossible on this machine
    repeats: int = 1  # runs per case

    @property
    def runs(self) -> int:
        return len(self.cases) * self.repeats


def replicas(case: Case) -> int:
    """Number of replicas or copies among which a batch is divided."""
    return Layout.parse(case.layout).data * case.copies


def plan_of(request: BenchRequest, units: dict[str, int]) -> BenchPlan:
    """Plan all requested cases.

    Args:
        request: what to measure.
        units: number of cores (`cpu`) and GPUs (`cuda`), by device.

    Raises: UsageError if the request is empty or a layout is not valid.
    """
    for name in ("batch_sizes", "models", "precisions", "devices"):
        if not getattr(request, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is empty; give one or more values, separated by commas."
            )
    plan = BenchPlan(cases=[], repeats=request.repeats)
    for device in request.devices:
        fitting, beyond = arrangements(request, max(1, units.get(device, 1)), device)
        for values in itertools.product(request.models, request.precisions, request.batch_sizes):
            plan.cases.extend(_complete(case, *values) for case in fitting)
            plan.left_out.extend(
                LeftOut(case=_complete(each.case, *values), reason=each.reason) for each in beyond
            )
    return plan


def _complete(case: Case, model: str, precision: str, batch_size: int) -> Case:
    growth = replicas(case) if case.scaling == "weak" else 1
    values = {"model": model, "precision": precision, "batch_size": batch_size * growth}
    return case.model_copy(update=values)


def arrangements(request: BenchRequest, units: int, device: str) -> tuple[list[Case], list[LeftOut]]:
    """Cases, without model and batch size, that fit into `units` cores or GPUs, and cases that do not fit."""
    on_cpu = device == "cpu"
    common = {"device": device, "scaling": request.scaling}
    threads = (request.threads or doubling(units)) if on_cpu else [1]
    layouts = request.layouts or usual_layouts(units, oversubscribed=on_cpu)
    requested = [
        Case.model_validate(
            {**common, "layout": layout, "threads_per_rank": count, "collectives": layout != "1x1"}
        )
        for layout in map(str, map(Layout.parse, layouts))
        for count in threads
    ]
    fewest = {
        case.layout: min(each.workers for each in requested if each.layout == case.layout)
        for case in requested
    }
    fitting, beyond = [], []
    for case in requested:
        # If no variant of a layout fits, the smallest one is measured to show the cost of too many ranks.
        smallest = case.workers == fewest[case.layout] and on_cpu and case.layout != "1x1"
        if case.workers <= units or smallest:
            fitting.append(case)
        elif request.threads or not on_cpu:
            unit = "cores" if on_cpu else "graphics processors"
            reason = f"keeps {case.workers} {unit} busy and this machine has {units}"
            beyond.append(LeftOut(case=case, reason=reason))
    if request.baselines:
        serial = Case.model_validate({**common, "collectives": False})
        several = doubling(units)[1:]
        fitting = [
            serial,
            serial.model_copy(update={"collectives": True}),
            *(serial.model_copy(update={"threads_per_rank": count}) for count in several if on_cpu),
            *(serial.model_copy(update={"kind": "copies", "copies": count}) for count in several),
            *fitting,
        ]
    return list(dict.fromkeys(fitting)), beyond


def usual_layouts(units: int, *, oversubscribed: bool) -> list[str]:
    """Powers of two of replicas, two stages, and both combined.

    With `oversubscribed`, the last layout has more ranks than units.
    """
    layouts = [f"{count}x1" for count in doubling(units)]
    if units >= 2:
        layouts.append("1x2")
    if units >= 4:
        layouts.append(f"{units // 2}x2")
    return [*layouts, f"{units}x2" if units > 1 else "2x1"] if oversubscribed else layouts


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def in_random_order(cases: Sequence[Case], repeats: int, seed: int) -> Iterator[tuple[int, Case]]:
    """Yield (repeat, case) for every case in each round of repeats.

    The order within a round is random and depends only on the seed and the round.
    """
    for repeat in range(repeats):
        generator = random.Random(f"{seed} {repeat}")  # noqa: S311
        yield from ((repeat, case) for case in generator.sample(cases, len(cases)))


def machine_units() -> dict[str, int]:
    """Number of cores and GPUs of this machine, by device."""
    import torch

    return {"cpu": available_cores(), "cuda": torch.cuda.device_count()}


def settings_of(case: Case, settings: Settings, seed: int) -> Settings:
    """Apply a case to the training settings."""
    train = {
        "layout": f"{case.copies}x1" if case.kind == "copies" else case.layout,
        "threads_per_rank": case.threads_per_rank,
        "batch_size": case.batch_size,
        "precision": case.precision,
        "device": case.device,
        "oversubscribe": True,
        "seed": seed,
    }
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"cell": case.model}),
            "train": settings.train.model_copy(update=train),
        }
    )


def runnable_plan(request: BenchRequest, settings: Settings, rows: int, units: dict[str, int]) -> BenchPlan:
    """Plan the requested cases that can run on this machine.

    Args:
        request: what to measure.
        settings: settings of the training.
        rows: number of rows of the training split.
        units: number of cores and GPUs, by device.

    Raises: UsageError if none of the cases can run.
    """
    plan = plan_of(request, units)
    cases, left_out = [], list(plan.left_out)
    for case in dict.fromkeys(map(with_precision, plan.cases)):
        if reason := why_not(case, settings, request.amount, rows):
            left_out.append(LeftOut(case=case, reason=reason))
        else:
            cases.append(case)
    if not cases:
        reasons = "\n".join(dict.fromkeys(each.reason for each in left_out))
        raise UsageError(f"none of the cases can run here:\n{reasons}")
    return plan.model_copy(update={"cases": cases, "left_out": left_out})


def with_precision(case: Case) -> Case:
    """Replace the precision `auto` of a case with the default precision on its device."""
    if case.precision != "auto":
        return case
    import torch

    chosen = Precision.choose("auto", torch.device(case.device))
    return case.model_copy(update={"precision": chosen.name})


def why_not(case: Case, settings: Settings, amount: Amount, rows: int) -> str | None:
    """Reason why a case cannot run on this machine, or None if it can."""
    to_target = amount.target_accuracy is not None
    if case.batch_size > rows:
        return f"a batch of {case.batch_size:,} rows is more than the {rows:,} rows to train on"
    if replicas(case) > case.batch_size:
        return f"a batch of {case.batch_size:,} rows leaves some of {replicas(case)} replicas without any"
    if to_target and case.kind == "copies":
        return "independent trainings are measured by steps only, because they do not train the same model"
    if to_target and case.collectives and case.ranks == 1:
        return "one rank that exchanges with itself is measured by steps only"
    try:
        Hardware.choose(settings_of(case, settings, 0))
    except UsageError as error:
        return str(error)
    return None
