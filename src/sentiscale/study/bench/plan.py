"""Which cases a study measures: layouts, threads, batch sizes, models, precisions, devices."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from sentiscale.config import Settings
from sentiscale.errors import UsageError
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import Precision
from sentiscale.records import Record, available_cores
from sentiscale.study.records import Case
from sentiscale.training.hardware import Hardware

DEFAULT_ROWS = 2560
"""Rows that each run goes through: five steps of the largest default batch, 1 to 3 s on a core."""


class Amount(Record):
    """How much each run does: exactly one of these."""

    rows: int | None = None
    """The same for all cases; in weak scaling, of each replica."""
    steps: int | None = None
    """So many timed optimiser steps, whatever the rows in them."""
    target_accuracy: float | None = None
    """Train until validation reaches it."""

    @property
    def kept(self) -> dict[str, float]:
        """As records hold it."""
        return self.model_dump(exclude_none=True)

    def steps_of(self, case: Case) -> int:
        """Optimiser steps of a run, where it is measured by steps."""
        growth = replicas(case) if case.scaling == "weak" else 1
        return self.steps or max(1, round((self.rows or DEFAULT_ROWS) * growth / case.batch_size))


class Asked(Record):
    """What a study is to measure; None stands for what suits this machine."""

    layouts: tuple[str, ...] | None = None
    """Replicas x stages, such as 2x1."""
    threads: tuple[int, ...] | None = None
    """Of each rank."""
    batch_sizes: tuple[int, ...] = (32, 128, 512)
    """Rows of an optimiser step."""
    models: tuple[str, ...] = ("lstm", "gru")
    """lstm, gru."""
    precisions: tuple[str, ...] = ("auto",)
    """auto: what training takes by itself on the device."""
    devices: tuple[str, ...] = ("cpu",)
    """cpu, cuda."""
    scaling: str = "strong"
    """Strong: each batch size over all ranks. Weak: of each replica."""
    repeats: int = 5
    """Runs of each case."""
    seed: int = 0
    """Fixes the rows that are trained on and the order of the runs."""
    baselines: bool = True
    """Also what parallel runs are judged by: plain serial, one rank that exchanges with itself, threads only,
    and independent trainings side by side."""
    amount: Amount = Amount(rows=DEFAULT_ROWS)
    """How much each run does."""


class LeftOut(Record):
    """A case that is not measured, and why."""

    case: Case
    """The case."""
    reason: str
    """Why it cannot run here, as a sentence."""


class StudyPlan(Record):
    """All there is to measure."""

    cases: list[Case]
    """In the order they are listed; they run in random order."""
    left_out: list[LeftOut] = Field(default_factory=list)
    """Asked for, but impossible here."""
    repeats: int = 1
    """Runs of each case."""

    @property
    def runs(self) -> int:
        """How many it takes."""
        return len(self.cases) * self.repeats


@dataclass(frozen=True)
class Way:
    """A way to use the machine: what a case says beside its model and batch."""

    layout: str
    """Replicas x stages."""
    threads: int = 1
    """Of each rank."""
    collectives: bool = False
    """Whether gradients go through the exchange."""
    copies: int = 1
    """Independent trainings at once."""

    @property
    def workers(self) -> int:
        """Cores it keeps busy."""
        return Layout.parse(self.layout).world_size * self.copies * self.threads


def replicas(case: Case) -> int:
    """Among how many a batch is divided: replicas of a layout, or copies."""
    return Layout.parse(case.layout).data * case.copies


def plan_of(asked: Asked, units: dict[str, int]) -> StudyPlan:
    """All cases that were asked for, in a sensible order; `units`: cores and graphics processors by device.

    Raises: UsageError when nothing was asked for, or something that no layout is.
    """
    for name in ("batch_sizes", "models", "precisions", "devices"):
        if not getattr(asked, name):
            raise UsageError(f"--{name.replace('_', '-')} is empty; give one value or several, by commas.")
    found = StudyPlan(cases=[], repeats=asked.repeats)
    for device in asked.devices:
        fitting, beyond = ways(asked, max(1, units.get(device, 1)), device)
        for model in asked.models:
            for precision in asked.precisions:
                for size in asked.batch_sizes:
                    common = {"model": model, "precision": precision, "device": device}
                    found.cases.extend(_case(way, size, asked, common) for way in fitting)
                    found.left_out.extend(
                        LeftOut(case=_case(way, size, asked, common), reason=reason) for way, reason in beyond
                    )
    return found


def _case(way: Way, batch_size: int, asked: Asked, common: dict[str, str]) -> Case:
    growth = Layout.parse(way.layout).data * way.copies if asked.scaling == "weak" else 1
    return Case.model_validate(
        {
            **common,
            "kind": "copies" if way.copies > 1 else "train",
            "layout": way.layout,
            "collectives": way.collectives,
            "copies": way.copies,
            "threads_per_rank": way.threads,
            "batch_size": batch_size * growth,
            "scaling": asked.scaling,
        }
    )


def ways(asked: Asked, units: int, device: str) -> tuple[list[Way], list[tuple[Way, str]]]:
    """Ways to use `units` cores or graphics processors, and those that are left out, with the reason."""
    on_cpu = device == "cpu"
    threads = (asked.threads or doubling(units)) if on_cpu else (1,)
    wanted = [
        Way(layout, count, collectives=Layout.parse(layout).world_size > 1)
        for layout in asked.layouts or usual_layouts(units, oversubscribed=on_cpu)
        for count in threads
    ]
    fewest = {way.layout: min(w.workers for w in wanted if w.layout == way.layout) for way in wanted}
    fitting, beyond = [], []
    for way in wanted:
        # With all of its variants beyond the machine, the smallest shows what too many ranks cost.
        if way.workers <= units or (way.workers == fewest[way.layout] and on_cpu and way.layout != "1x1"):
            fitting.append(way)
        elif asked.threads or not on_cpu:
            unit = "cores" if on_cpu else "graphics processors"
            beyond.append((way, f"keeps {way.workers} {unit} busy and this machine has {units}"))
    if asked.baselines:
        fitting = [*baselines(units, threads_only=on_cpu), *fitting]
    return list(dict.fromkeys(fitting)), beyond


def baselines(units: int, *, threads_only: bool) -> list[Way]:
    """What every study holds: serial, exchanging with itself, threads only, the machine's own ceiling."""
    threads = doubling(units)[1:] if threads_only else []
    return [
        Way("1x1"),
        Way("1x1", collectives=True),
        *(Way("1x1", count) for count in threads),
        *(Way("1x1", copies=count) for count in doubling(units)[1:]),
    ]


def usual_layouts(units: int, *, oversubscribed: bool) -> list[str]:
    """Replicas by doubling, two stages, both together; on cores, also one layout that is too large."""
    found = [f"{count}x1" for count in doubling(units)]
    if units >= 2:
        found.append("1x2")
    if units >= 4:
        found.append(f"{units // 2}x2")
    return [*found, f"{units}x2" if units > 1 else "2x1"] if oversubscribed else found


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def in_random_order(cases: Sequence[Case], repeats: int, seed: int) -> Iterator[tuple[int, Case]]:
    """Round after round, all cases in an order of the round's own; it does not depend on what is done."""
    for repeat in range(repeats):
        yield from (
            (repeat, case)
            for case in random.Random(f"{seed} {repeat}").sample(cases, len(cases))  # noqa: S311
        )


def machine_units() -> dict[str, int]:
    """Cores and graphics processors of this machine, by device."""
    import torch

    return {"cpu": available_cores(), "cuda": torch.cuda.device_count()}


def settings_of(case: Case, settings: Settings, seed: int) -> Settings:
    """The settings a case is trained with."""
    layout = f"{case.copies}x1" if case.kind == "copies" else case.layout
    train = {
        "layout": layout,
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


def runnable(asked: Asked, settings: Settings, rows: int, units: dict[str, int]) -> StudyPlan:
    """The plan, without cases that cannot run here; `rows`: of the training split.

    Raises: UsageError when none is left.
    """
    plan = plan_of(asked, units)
    different = {case.key: case for case in map(with_precision, plan.cases)}
    plan = plan.model_copy(update={"cases": list(different.values())})
    why = {case.key: why_not(case, settings, asked.amount, rows) for case in plan.cases}
    cases = [case for case in plan.cases if why[case.key] is None]
    refused = [LeftOut(case=case, reason=why[case.key] or "") for case in plan.cases if why[case.key]]
    left_out = [*plan.left_out, *refused]
    if not cases:
        reasons = "\n".join(dict.fromkeys(each.reason for each in left_out))
        raise UsageError(f"none of the cases that were asked for can run here:\n{reasons}")
    return plan.model_copy(update={"cases": cases, "left_out": left_out})


def with_precision(case: Case) -> Case:
    """The case with the precision that training takes by itself, where it says auto."""
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
