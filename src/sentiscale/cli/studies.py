"""How a study is shown: a live table on a terminal, a line a run elsewhere, and the result."""

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sentiscale.study.analysis.wording import case_name
from sentiscale.study.bench.harness import Coming, Study, Watcher
from sentiscale.study.bench.plan import StudyPlan
from sentiscale.study.records import BenchRun, Case

COLUMNS = ("model", "batch", "case", "seconds", "rows/s", "min-max", "warm-up s", "start s", "runs", "")
MOST_LINES = 30
"""Cases in the live table; the rest is counted."""


def make_watcher(quiet: bool) -> Watcher:
    """Silent with `--quiet`, else on stderr."""
    if quiet:
        return Watcher()
    console = Console(file=sys.stderr, highlight=False)
    return LiveTable(console) if console.is_terminal else Lines(console)


def full_name(case: Case) -> str:
    """A case in a few words, with its model and batch."""
    if case.kind == "prepare":
        return case_name(case)
    precision = "" if case.precision == "fp32" else f", {case.precision}"
    device = "" if case.device == "cpu" else f" on {case.device}"
    return f"{case.model} {case.batch_size}: {case_name(case)}{precision}{device}"


def minutes(seconds: float | None) -> str:
    """A stretch of time for people."""
    if seconds is None:
        return "unknown time"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def rate(run: BenchRun) -> str:
    """What a run came to."""
    if run.accuracy is not None:
        reached = "reached" if run.reached else "stopped at"
        return f"{run.seconds:,.1f} s, {reached} {run.accuracy:.4f}"
    return f"{run.rows_per_s:,.0f} rows/s"


class Lines(Watcher):
    """A line for each finished run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: Coming | None = None

    def begin(self, plan: StudyPlan, done: Sequence[BenchRun]) -> None:
        """Say how much there is to do, and what is left out."""
        self.say(started(plan, len(done)))

    def coming(self, run: Coming) -> None:
        """Note which run it is."""
        self.run = run

    def finished(self, run: BenchRun) -> None:
        """Print it."""
        if self.run is None:
            return
        left = f", {minutes(self.run.left_s)} left when it began" if self.run.left_s else ""
        flag = " (disturbed)" if run.interference and run.interference.disturbed else ""
        self.say(f"{self.run.done + 1}/{self.run.total} {full_name(run.case)}: {rate(run)}{flag}{left}")

    def say(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, markup=False, soft_wrap=True)


class LiveTable(Watcher):
    """All cases with their medians so far; drawn between runs only, so that drawing disturbs none."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None
        self.cases: list[Case] = []
        self.runs: list[BenchRun] = []
        self.repeats = 0

    def begin(self, plan: StudyPlan, done: Sequence[BenchRun]) -> None:
        """Draw the empty table."""
        self.say(started(plan, len(done)))
        self.cases, self.runs, self.repeats = plan.cases, list(done), plan.repeats

    def coming(self, run: Coming) -> None:
        """Show what is being measured, and how long all of it takes."""
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False)
            self.live.start()
        title = (
            f"{run.done}/{run.total} runs, {minutes(run.left_s)} left; now {full_name(run.case)}, "
            f"repeat {run.repeat + 1}"
        )
        self.live.update(self._table(title), refresh=True)

    def end(self) -> None:
        """Take the table away: the result follows."""
        if self.live is not None:
            self.live.stop()

    def finished(self, run: BenchRun) -> None:
        """Add it."""
        self.runs.append(run)

    def say(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, markup=False, soft_wrap=True)

    def _table(self, title: str) -> Table:
        table = Table("case", "runs", "median", "", title=title, box=None, title_justify="left")
        latest = self.runs[-1].case.key if self.runs else ""
        shown = self.cases[:MOST_LINES]
        for case in shown:
            mine = [run for run in self.runs if run.case.key == case.key]
            middle = f"{median(run.rows_per_s for run in mine):,.0f} rows/s" if mine else "-"
            mark = rate(self.runs[-1]) if case.key == latest else ""
            table.add_row(full_name(case), f"{len(mine)}/{self.repeats}", middle, mark)
        if len(self.cases) > len(shown):
            table.add_row(f"and {len(self.cases) - len(shown)} more", "", "", "")
        return table


def started(plan: StudyPlan, done: int) -> str:
    """What is to be done."""
    kept = f", {done} of them are there already" if done else ""
    return "\n".join([f"{plan.runs} runs of {len(plan.cases)} cases{kept}", *left_out_lines(plan)])


def left_out_lines(plan: StudyPlan) -> list[str]:
    """What is not measured, and why."""
    return [f"left out: {full_name(each.case)}: {each.reason}" for each in plan.left_out]


def summary_of(case: Case, runs: Sequence[BenchRun]) -> dict[str, Any]:
    """One case of the result."""
    mine = [run for run in runs if run.case.key == case.key]
    disturbed = sum(bool(run.interference and run.interference.disturbed) for run in mine)
    return {
        **case.model_dump(),
        "repeats": len(mine),
        "seconds_median": round(median(run.seconds for run in mine), 4),
        "rows_per_s": round(median(run.rows_per_s for run in mine), 1),
        "rows_per_s_min": round(min(run.rows_per_s for run in mine), 1),
        "rows_per_s_max": round(max(run.rows_per_s for run in mine), 1),
        "start_seconds": round(median(run.start_seconds for run in mine), 3),
        "warm_up_seconds": round(median(run.warm_up_seconds for run in mine), 3),
        "oversubscribed": mine[0].oversubscribed,
        "disturbed": disturbed,
    }


def print_plan(plan: StudyPlan, expected: float | None) -> None:
    """What `--dry-run` prints."""
    for case in plan.cases:
        print(full_name(case))
    for line in left_out_lines(plan):
        print(line)
    print(
        f"{plan.runs} runs of {len(plan.cases)} cases, about {minutes(expected)} on a machine that is quiet"
    )


def print_study(result: Study) -> None:
    """The result for a person."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in COLUMNS:
        table.add_column(title, justify="left" if title in ("model", "case", "") else "right")
    for case in result.plan.cases:
        found = summary_of(case, result.runs)
        flags = [
            *(["more threads than cores"] if found["oversubscribed"] else []),
            *([f"{found['disturbed']} disturbed"] if found["disturbed"] else []),
        ]
        table.add_row(
            case.model if case.precision == "fp32" else f"{case.model} {case.precision}",
            str(case.batch_size),
            case_name(case) if case.device == "cpu" else f"{case_name(case)} on {case.device}",
            f"{found['seconds_median']:,.2f}",
            f"{found['rows_per_s']:,.0f}",
            f"{found['rows_per_s_min']:,.0f}-{found['rows_per_s_max']:,.0f}",
            f"{found['warm_up_seconds']:.2f}",
            f"{found['start_seconds']:.2f}",
            str(found["repeats"]),
            ", ".join(flags),
        )
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    print(f"records: {result.out / 'records.jsonl'}; look at them with sentiscale report {result.out}")
