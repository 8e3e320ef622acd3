"""Names and numbers of a scaling study as a person would write them."""

import math

from sentiscale.study.analysis.study import Family, Interval, Study, StudyRow
from sentiscale.study.records import Case

DIGITS = 3
SMALLEST = 1e-5
"""Anything closer to zero is shown as less than this."""
OTHER_WORK = {"prepare": "preparation", "predict": "prediction"}


def figure(value: float) -> str:
    """A number in three significant digits, whole from 100 on, with separators: 0.0213, 1.83, 15,796."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < SMALLEST:
        return f"{'-' if value < 0 else ''}< {SMALLEST:.5f}"
    if abs(value) >= 10**DIGITS:
        return count(value)
    rounded = float(f"{value:.{DIGITS - 1}e}")
    decimals = DIGITS - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(decimals, 0)}f}"


def interval(ends: Interval | None, unit: str = "") -> str:
    """A 95 % interval; empty for none."""
    return f"{figure(ends[0])} to {figure(ends[1])}{unit}" if ends else ""


def per_cent(share: float) -> str:
    """A share in whole per cent, which may be more than 100."""
    return f"{100 * share:.0f} %"


def many(number: float, noun: str) -> str:
    """`1 rank`, `2 ranks`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def is_bare(case: Case) -> bool:
    """Whether nothing but a number of workers is known, as from a table of somebody's timings."""
    return case.kind == "train" and not case.model


def axes(case: Case) -> tuple[int, int]:
    """Replicas and stages of the layout."""
    data, _, model = case.layout.partition("x")
    return int(data), int(model or 1)


def is_serial(case: Case) -> bool:
    """One rank with one thread that exchanges nothing."""
    return case.kind == "train" and case.workers == 1 and not case.collectives


def case_name(case: Case) -> str:
    """What was run, in as few words as a chart has room for."""
    if case.kind in OTHER_WORK:
        return f"{case.engine or OTHER_WORK[case.kind]}, {many(case.workers, 'worker')}"
    if case.kind == "copies":
        return many(case.copies, "copy").replace("copys", "copies")
    if is_bare(case):
        return many(case.workers, "worker")
    if is_serial(case):
        return "serial"
    if case.layout == "1x1":
        return many(case.threads_per_rank, "thread") if case.threads_per_rank > 1 else "DDP, 1 rank"
    threads = f", {case.threads_per_rank} threads" if case.threads_per_rank > 1 else ""
    return case.layout + threads


def case_detail(case: Case) -> str:
    """The same spelt out."""
    if case.kind in OTHER_WORK or is_bare(case):
        return ""
    threads = f" of {many(case.threads_per_rank, 'thread')}"
    if case.kind == "copies":
        return f"{many(case.copies, 'serial training')} at once, each on its own"
    if case.layout == "1x1":
        extra = ", no exchange" if not case.collectives else ", gradients sent through the exchange"
        return f"1 rank{threads}{extra if case.threads_per_rank == 1 else ''}"
    data, model = axes(case)
    if model == 1:
        return f"{many(data, 'replica')}{threads}"
    if data == 1:
        return f"{many(model, 'stage')}{threads}, model parallel"
    return f"{many(data, 'replica')} of {many(model, 'stage')}, each{threads}, hybrid"


def headline(study: Study) -> str:
    """What to do, in one sentence."""
    found = study.recommendation
    if found is None:
        return "No recommendation follows from these runs."
    data, _, model = found.layout.partition("x")
    if not (data.isdigit() and model.isdigit()):
        return found.layout
    replicas, stages = int(data), int(model)
    if is_bare_study(study):
        return f"Use {many(replicas * stages * found.threads, 'worker')}."
    threads = many(found.threads, "thread")
    if replicas * stages == 1:
        return f"Train in one process with {threads}."
    if stages == 1:
        return f"Train with {many(replicas, 'replica')} of {threads} each."
    spread = f"{stages} stages" if replicas == 1 else f"{many(replicas, 'replica')} of {stages} stages"
    return f"Train with {spread}, {threads} each."


def flags(study: Study) -> str:
    """The recommendation as flags of `sentiscale train`; empty where nothing says that it is about it."""
    found = study.recommendation
    if found is None or is_bare_study(study):
        return ""
    return f"--layout {found.layout} --threads-per-rank {found.threads}"


def is_bare_study(study: Study) -> bool:
    """Whether it was made from a table of timings."""
    return all(is_bare(row.case) for family in study.families for row in family.rows)


def is_other_work(family: Family) -> bool:
    """Whether the family is about preparing or predicting, not training."""
    return bool(family.rows) and all(row.case.kind in OTHER_WORK for row in family.rows)


def has_speedups(family: Family) -> bool:
    """Whether there is a base that its rows were compared with."""
    return any(row.speedup is not None for row in family.rows)


def base_row(family: Family) -> StudyRow | None:
    """The row that speedups are over."""
    return next((row for row in family.rows if row.speedup == 1 and row.karp_flatt is None), None)


def counted(family: Family) -> list[StudyRow]:
    """Trainings that may be compared: not copies, and no more ranks than cores."""
    return [row for row in family.rows if row.case.kind == "train" and not row.oversubscribed]


def best_row(family: Family) -> StudyRow | None:
    """The fastest of them, by speedup where there is one."""
    rows = [row for row in counted(family) if row.speedup is not None]
    if rows:
        return max(rows, key=lambda row: row.speedup or 0)
    return min(counted(family), key=lambda row: row.seconds_median, default=None)


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


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent; what is not quite none or all is never shown as 0 or 100."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    shown = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if share > 0 and float(shown) == 0:
        return f"< {least:g} %"
    if share < 1 and float(shown) == 100:
        return f"> {100 - least:g} %"
    return f"{shown} %"


def size(amount: float) -> str:
    """A number of bytes in the unit a person would use."""
    unit, scale = next(
        (u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1)) if amount >= s or s == 1
    )
    return f"{amount / scale:.3g} {unit}"
