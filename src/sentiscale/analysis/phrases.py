"""Parts of sentences about cases: what one is called in full, and a ratio with its interval."""

from sentiscale.analysis.report_words import case_name, figure, interval, is_bare, is_serial, many
from sentiscale.analysis.study import Interval, StudyRow
from sentiscale.measurements import Case

DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def called(case: Case) -> str:
    """A case in full, with the flags that ask for it: `2 ranks x 1 thread (--layout 2x1)`."""
    if case.kind != "train" or is_bare(case):
        return case_name(case)
    if is_serial(case):
        return "plain serial (1 rank, 1 thread)"
    if is_ddp_of_one(case):
        return "DDP with one rank"
    threads = many(case.threads_per_rank, "thread")
    more = f" --threads-per-rank {case.threads_per_rank}" if case.threads_per_rank > 1 else ""
    flags = f"(--layout {case.layout}{more})"
    return f"{many(case.ranks, 'rank')} x {threads} {flags}" if case.ranks > 1 else f"{in_one(case)} {flags}"


def in_one(case: Case) -> str:
    """Threads of one process: `2 threads in one process`."""
    return f"{many(case.threads_per_rank, 'thread')} in one process"


def is_ddp_of_one(case: Case) -> bool:
    """One rank of one thread whose gradients go through the exchange all the same."""
    return case.kind == "train" and case.workers == 1 and case.collectives and not is_bare(case)


def ratio(value: float, ends: Interval | None) -> str:
    """`1.83 (1.79 to 1.86)`."""
    return f"{figure(value)} ({interval(ends)})" if ends else figure(value)


def faster(row: StudyRow, base: str) -> str:
    """`1.83 times plain serial (1.79 to 1.86)`."""
    ends = f" ({interval(row.speedup_ci95)})" if row.speedup_ci95 else ""
    return f"{figure(row.speedup or 0.0)} times {base}{ends}"
