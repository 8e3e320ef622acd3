"""Names of cases, and the sentences for findings."""

from sentiscale.study.records import Case
from sentiscale.util.numbers import many
from sentiscale.util.templates import Finding, sentences

OTHER_WORK = {"prepare": "preparation", "predict": "prediction"}
DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def phrase(*findings: Finding) -> list[str]:
    """Render each finding as text with the template `templates/sentences.jinja`."""
    return sentences(__package__, "sentences.jinja", findings)


def axes(case: Case) -> tuple[int, int]:
    """Number of replicas and number of stages of the layout."""
    data, _, model = case.layout.partition("x")
    return int(data), int(model or 1)


def has_only_times(case: Case) -> bool:
    """Whether only the number of workers and times are known, as in a table of timings."""
    return case.kind == "train" and not case.model


def is_serial(case: Case) -> bool:
    """Whether the case is one rank with one thread and no gradient exchange."""
    return case.kind == "train" and case.workers == 1 and not case.collectives


def case_name(case: Case) -> str:
    """Short name of a case, for charts."""
    if case.kind in OTHER_WORK:
        return f"{case.engine or OTHER_WORK[case.kind]}, {many(case.workers, 'worker')}"
    if case.kind == "copies":
        return many(case.copies, "copy")
    if has_only_times(case):
        return many(case.workers, "worker")
    if is_serial(case):
        return "serial"
    if case.layout == "1x1":
        return many(case.threads_per_rank, "thread") if case.threads_per_rank > 1 else "DDP, 1 rank"
    threads = f", {case.threads_per_rank} threads" if case.threads_per_rank > 1 else ""
    return case.layout + threads


def case_detail(case: Case) -> str:
    """Description of a case; empty if the name is sufficient."""
    if case.kind in OTHER_WORK or has_only_times(case):
        return ""
    threads = f" of {many(case.threads_per_rank, 'thread')}"
    if case.kind == "copies":
        return f"{many(case.copies, 'serial training')} at once, each on its own"
    if case.layout == "1x1":
        exchange = ", gradients sent through the exchange" if case.collectives else ", no exchange"
        return f"1 rank{threads}{exchange if case.threads_per_rank == 1 else ''}"
    data, model = axes(case)
    if model == 1:
        return f"{many(data, 'replica')}{threads}"
    if data == 1:
        return f"{many(model, 'stage')}{threads}, model parallel"
    return f"{many(data, 'replica')} of {many(model, 'stage')}, each{threads}, hybrid"


def case_with_flags(case: Case) -> str:
    """Name of a case with the flags that select it, such as `2 ranks x 1 thread (--layout 2x1)`."""
    if case.kind != "train" or has_only_times(case):
        return case_name(case)
    if is_serial(case):
        return "plain serial (1 rank, 1 thread)"
    if case.workers == 1:
        return "DDP with one rank"
    threads = many(case.threads_per_rank, "thread")
    ranks = f"{many(case.ranks, 'rank')} x {threads}" if case.ranks > 1 else f"{threads} in one process"
    more = f" --threads-per-rank {case.threads_per_rank}" if case.threads_per_rank > 1 else ""
    return f"{ranks} (--layout {case.layout}{more})"
