"""Examine this machine for what sentiscale needs: a list of findings, each with its remedy."""

from collections.abc import Callable
from pathlib import Path

from sentiscale.doctor import build, machine
from sentiscale.doctor.checks import Check, Report, examine, ok, thread_count
from sentiscale.parallel.layout import LEAST_ROWS, Layout, usual_layout
from sentiscale.progress import Progress
from sentiscale.records import available_cores

BATCH_SIZE = 128
"""Rows of a step that training takes by default where there are more than a few."""


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
    """The layout that training takes here by itself, and why."""
    by_name = {check.name: check.value for check in found}
    cores = available_cores()
    layout = Layout(1, 1) if by_name.get("gpu") else usual_layout(BATCH_SIZE, cores)
    threads = cores // layout.world_size
    why = (
        "one process on the GPU" if by_name.get("gpu") else f"replicas of {LEAST_ROWS} rows of a step or more"
    )
    rates = by_name.get("lstm_step")
    if rates and layout.data > 1:
        most = max(rates, key=int)
        why += f"; {thread_count(int(most))} in one process are {rates[most] / rates['1']:.2f} times one"
    detail = f"{layout} with {thread_count(threads)} a rank: {why}; --layout auto measures on your data"
    return ok("layout", {"layout": str(layout), "threads": threads}, detail)
