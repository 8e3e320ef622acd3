"""Which cases a study measures: layouts, threads, batch sizes, models, precisions, devices."""

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
"""Rows of each run: five steps of the largest default batch, 1 to 3 s on a core."""


class Amount(BaseModel, frozen=True):
    """The length of each run: one of these."""

    rows: int | None = None  # the same for all cases; in weak scaling, of each replica
    steps: int | None = None  # timed optimizer steps, whatever the rows in them
    target_accuracy: float | None = None  # train until validation reaches it

    @property
    def as_recorded(self) -> dict[str, float]:
        return self.model_dump(exclude_none=True)

    def steps_of(self, case: Case) -> int:
        """Optimizer steps of a run that is measured by steps."""
        growth = replicas(case) if case.scaling == "weak" else 1
        return self.steps or max(1, round((self.rows or DEFAULT_ROWS) * growth / case.batch_size))


class BenchRequest(BaseModel, frozen=True):
    """What to measure; None stands for what suits this machine."""

    layouts: tuple[str, ...] | None = None  # replicas x stages, such as 2x1
    threads: tuple[int, ...] | None = None  # of each rank; workers of preparation and prediction
    batch_sizes: tuple[int, ...] = (32, 128, 512)  # rows of an optimizer step
    models: tuple[str, ...] = ("lstm", "gru")
    precisions: tuple[str, ...] = ("auto",)  # auto: the default of training on the device
    devices: tuple[str, ...] = ("cpu",)  # cpu, cuda
    scaling: str = "strong"  # strong: each batch size over all ranks; weak: of each replica
    repeats: int = 5  # runs of each case
    seed: int = 0  # of the training rows and of the order of the runs
    baselines: bool = True
    """Also measure what parallel runs are compared with: plain serial, one rank that exchanges with itself,
    threads only, and independent trainings at once."""
    amount: Amount = Amount(rows=DEFAULT_ROWS)


class LeftOut(Record):
    """A case that is not measured."""

    case: Case
    """The case."""
    reason: str
    """Why it cannot run here, as a sentence."""


class BenchPlan(BaseModel, frozen=True):
    """Everything to measure."""

    cases: list[Case]  # they run in random order
    left_out: list[LeftOut] = Field(default_factory=list)  # requested, but impossible here
    repeats: int = 1  # runs of each case

    @property
    def runs(self) -> int:
        return len(self.cases) * self.repeats


def replicas(case: Case) -> int:
    """Replicas or copies that share a batch."""
    return Layout.parse(case.layout).data * case.copies


def plan_of(request: BenchRequest, units: dict[str, int]) -> BenchPlan:
    """All requested cases; `units`: cores and graphics processors by device.

    Raises: UsageError for an empty request, or an invalid layout.
    """
    for name in ("batch_sizes", "models", "precisions", "devices"):
        if not getattr(request, name):
            raise UsageError(f"--{name.replace('_', '-')} is empty; give one value or several, by commas.")
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
    """Uses of `units` cores or graphics processors, without model and batch size; and those beyond them."""
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
        # If all variants of a layout are beyond the machine, the smallest shows the cost of too many ranks.
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
    """Replicas by doubling, two stages, both together; on cores, also one layout that is too large."""
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
    """Round after round, all cases in a random order that depends only on the seed and the round."""
    for repeat in range(repeats):
        generator = random.Random(f"{seed} {repeat}")  # noqa: S311
        yield from ((repeat, case) for case in generator.sample(cases, len(cases)))


def machine_units() -> dict[str, int]:
    """Cores and graphics processors of this machine, by device."""
    import torch

    return {"cpu": available_cores(), "cuda": torch.cuda.device_count()}


def settings_of(case: Case, settings: Settings, seed: int) -> Settings:
    """The settings a case is trained with."""
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
    """The plan, without cases that cannot run here; `rows`: of the training split.

    Raises: UsageError if none is left.
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
    """The case with the default precision of training in place of auto."""
    if case.precision != "auto":
        return case
    import torch

    chosen = Precision.choose("auto", torch.device(case.device))
    return case.model_copy(update={"precision": chosen.name})


def why_not(case: Case, settings: Settings, amount: Amount, rows: int) -> str | None:
    """Why a case cannot run here, or None."""
    to_target = amount.target_accuracy is not None
    if case.batch_size > rows:
        return f"a batch of {case.batch_size:,} rows is more than the {rows:,} rows to train on"
    if replicas(case) > case.batch_size:
        return f"a batch of {case.batch_size:,} rows leaves some of {replicas(case)} replicas without any"
    if to_target and case.kind == "copies":
        return "trainings side by side are measured by steps: they do not work on one model"
    if to_target and case.collectives and case.ranks == 1:
        return "one rank that exchanges with itself is measured by steps only"
    try:
        Hardware.choose(settings_of(case, settings, 0))
    except UsageError as error:
        return str(error)
    return None
