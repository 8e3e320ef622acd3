"""Examine this machine for what sentiscale needs: a list of findings, each with its remedy."""

from collections.abc import Callable
from pathlib import Path

from sentiscale.doctor import build, machine
from sentiscale.doctor.checks import Check, Report, examine, ok, thread_count
from sentiscale.progress import Progress
from sentiscale.records import available_cores


def doctor(*, quick: bool = False, folder: Path | None = None, progress: Progress | None = None) -> Report:
    """Check this machine; about 15 s, or 4 s with `quick`, which measures no speed and starts no process.

    Args:
        quick: only what needs no measuring.
        folder: where output will be written; the current directory if not given.
        progress: who is told how far it got.
    """
    checks = _plain_checks(folder or Path.cwd())
    found: list[Check] = []
    with (progress or Progress()).task("doctor", None, "checks") as advance:
        for name, check in checks.items():
            advance(1, name)
            found.append(examine(name, check))
        if found[-1].status != "problem":  # with a broken torch all the others would only say so again
            for name, check in _torch_checks(quick).items():
                advance(1, name)
                found.append(examine(name, check))
    found.append(choose_layout(found))
    return Report(checks=found)


def _plain_checks(folder: Path) -> dict[str, Callable[[], Check]]:
    return {
        "cores": machine.check_cores,
        "load": machine.check_load,
        "memory": machine.check_memory,
        "disk": lambda: machine.check_disk(folder),
        "libraries": machine.check_libraries,
        "torch": build.check_torch,
    }


def _torch_checks(quick: bool) -> dict[str, Callable[[], Check]]:
    from sentiscale.doctor import kernels, ranks

    checks = {
        "threads": build.check_threads,
        "gpu": build.check_gpu,
        "lstm_kernel": kernels.check_lstm_kernel,
    }
    if quick:
        return checks
    return checks | {
        "gemm_peak": kernels.check_gemm_peak,
        "lstm_step": kernels.check_lstm_step,
        "denormals": kernels.check_denormals,
        "bf16": kernels.check_bf16,
        "gloo": ranks.check_gloo,
        "nccl": ranks.check_nccl,
    }


def choose_layout(found: list[Check]) -> Check:
    """The layout training would use here, and why.

    Layout 1x1, one process with several threads, is the only one there is; what can be chosen is the
    number of threads.
    """
    rates = next((check.value for check in found if check.name == "lstm_step" and check.value), None)
    threads = int(max(rates, key=rates.get)) if rates else available_cores()
    why = "the fastest of the thread counts measured" if rates else "one for each core"
    flag = f" (--threads-per-rank {threads})" if threads != available_cores() else ""
    detail = f"1x1 with {thread_count(threads)}{flag}, {why}; training runs in one process so far"
    return ok("layout", {"layout": "1x1", "threads": threads}, detail)
