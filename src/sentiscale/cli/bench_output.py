"""Print the progress and results of `sentiscale bench`.

Progress is a live table on a terminal and one line per run elsewhere.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sentiscale.cli.options import print_table
from sentiscale.study.analysis.wording import case_name
from sentiscale.study.bench.plan import BenchPlan
from sentiscale.study.bench.study import BenchProgress, BenchResult
from sentiscale.study.records import BenchRun, Case

MOST_LINES = 30
"""Maximum number of cases in the live table; its last row counts the others."""


def make_progress(quiet: bool) -> BenchProgress:
    """Report progress on stderr, or nowhere with `--quiet`."""
    if quiet:
        return BenchProgress()
    console = Console(file=sys.stderr, highlight=False)
    return BenchTable(console) if console.is_terminal else BenchLog(console)


def full_name(case: Case) -> str:
    """Short name of a case, with its model and batch size."""
    if case.kind == "prepare":
        return case_name(case)
    precision = "" if case.precision == "fp32" else f", {case.precision}"
    device = "" if case.device == "cpu" else f" on {case.device}"
    return f"{case.model} {case.batch_size}: {case_name(case)}{precision}{device}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def result_of(run: BenchRun) -> str:
    if run.accuracy is not None:
        reached = "reached" if run.reached else "stopped at"
        return f"{run.seconds:,.1f} s, {reached} {run.accuracy:.4f}"
    return f"{run.rows_per_s:,.0f} rows/s"


class BenchLog(BenchProgress):
    """Print one line per finished run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.prefix = self.suffix = ""

    def begin(self, plan: BenchPlan, finished: Sequence[BenchRun]) -> None:
        stored = f", {len(finished)} of them already finished" if finished else ""
        self.say(f"{plan.runs} runs of {len(plan.cases)} cases{stored}")
        for line in left_out_lines(plan):
            self.say(line)

    def begin_run(
        self, case: Case, repeat: int, finished: int, total: int, seconds_left: float | None
    ) -> None:
        self.prefix = f"{finished + 1}/{total} "
        self.suffix = f", {duration(seconds_left)} left at its start" if seconds_left else ""

    def end_run(self, run: BenchRun) -> None:
        flag = " (disturbed)" if run.interference and run.interference.disturbed else ""
        self.say(f"{self.prefix}{full_name(run.case)}: {result_of(run)}{flag}{self.suffix}")

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, soft_wrap=True)


class BenchTable(BenchLog):
    """Show all cases with their medians so far; drawn only between runs, so that drawing disturbs no run."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.live: Live | None = None
        self.plan = BenchPlan(cases=[])
        self.runs: list[BenchRun] = []

    def begin(self, plan: BenchPlan, finished: Sequence[BenchRun]) -> None:
        super().begin(plan, finished)
        self.plan, self.runs = plan, list(finished)

    def begin_run(
        self, case: Case, repeat: int, finished: int, total: int, seconds_left: float | None
    ) -> None:
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False)
            self.live.start()
        title = (
            f"{finished}/{total} runs, {duration(seconds_left)} left; now {full_name(case)}, "
            f"repeat {repeat + 1}"
        )
        self.live.update(self._table(title), refresh=True)

    def end(self) -> None:
        if self.live is not None:
            self.live.stop()

    def end_run(self, run: BenchRun) -> None:
        self.runs.append(run)

    def _table(self, title: str) -> Table:
        table = Table("case", "runs", "median", "", title=title, box=None, title_justify="left")
        latest = self.runs[-1].case.key if self.runs else ""
        for case in self.plan.cases[:MOST_LINES]:
            runs = [run for run in self.runs if run.case.key == case.key]
            speed = f"{median(run.rows_per_s for run in runs):,.0f} rows/s" if runs else "-"
            last = result_of(self.runs[-1]) if case.key == latest else ""
            table.add_row(full_name(case), f"{len(runs)}/{self.plan.repeats}", speed, last)
        if len(self.plan.cases) > MOST_LINES:
            table.add_row(f"and {len(self.plan.cases) - MOST_LINES} more", "", "", "")
        return table


def left_out_lines(plan: BenchPlan) -> list[str]:
    return [f"left out: {full_name(each.case)}: {each.reason}" for each in plan.left_out]


def summary_of(case: Case, runs: Sequence[BenchRun]) -> dict[str, Any]:
    """One entry of `cases` in the `--json` document."""
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


def plan_document(out: Path, plan: BenchPlan, expected: float | None) -> dict[str, Any]:
    """JSON document of `--dry-run --json`."""
    return {
        "out": str(out),
        "runs": plan.runs,
        "cases": [case.model_dump() for case in plan.cases],
        "seconds_expected": None if expected is None else round(expected),
        "left_out": [each.model_dump() for each in plan.left_out],
    }


def result_document(result: BenchResult) -> dict[str, Any]:
    """JSON document of `--json`."""
    return {
        "out": str(result.out),
        "runs": len(result.runs),
        "cases": [summary_of(case, result.runs) for case in result.plan.cases],
        "seconds": round(result.seconds, 1),
        "left_out": [each.model_dump() for each in result.plan.left_out],
    }


def print_plan(plan: BenchPlan, expected: float | None) -> None:
    for line in [*map(full_name, plan.cases), *left_out_lines(plan)]:
        print(line)
    print(
        f"{plan.runs} runs of {len(plan.cases)} cases, about {duration(expected)} "
        "on an otherwise idle machine"
    )


def print_result(result: BenchResult) -> None:
    rows = []
    for case in result.plan.cases:
        summary = summary_of(case, result.runs)
        flags = ["more threads than cores"] if summary["oversubscribed"] else []
        flags += [f"{summary['disturbed']} disturbed"] if summary["disturbed"] else []
        cells = [
            case.model if case.precision == "fp32" else f"{case.model} {case.precision}",
            str(case.batch_size),
            case_name(case) if case.device == "cpu" else f"{case_name(case)} on {case.device}",
            f"{summary['seconds_median']:,.2f}",
            f"{summary['rows_per_s']:,.0f}",
            f"{summary['rows_per_s_min']:,.0f}-{summary['rows_per_s_max']:,.0f}",
            f"{summary['warm_up_seconds']:.2f}",
            f"{summary['start_seconds']:.2f}",
            str(summary["repeats"]),
            ", ".join(flags),
        ]
        rows.append(cells)
    titles = ("model", "batch", "case", "seconds", "rows/s", "min-max", "warm-up s", "start s", "runs", "")
    print_table(titles, rows, left={"model", "case", ""})
    print(f"records: {result.out / 'records.jsonl'}; next: sentiscale report {result.out}")
