"""Checks of what ranks talk over: gloo between processes of the CPU, NCCL between graphics processors."""

import tempfile
from pathlib import Path
from typing import Any

from sentiscale.doctor.checks import Check, ok, problem, warning
from sentiscale.doctor.probe import finish_probe, start_probe, stop_probe

GLOO_REMEDY = (
    "Set GLOO_SOCKET_IFNAME=lo (or the name of the network interface to use), and check that this "
    "machine's host name resolves. One process still trains without it."
)


def check_gloo() -> Check:
    """Two real processes add up a tensor over gloo."""
    try:
        found = all_reduce("gloo", world=2)
    except RuntimeError as error:
        return warning("gloo", None, f"two processes could not talk: {error}", GLOO_REMEDY)
    return _judge("gloo", found, "two processes")


def check_nccl() -> Check:
    """NCCL works on the graphics processor, where there is one."""
    import torch

    if not torch.cuda.is_available():
        return ok("nccl", None, "not needed without a graphics processor")
    try:
        found = all_reduce("nccl", world=1)
    except RuntimeError as error:
        remedy = "Install the CUDA build of torch that fits this driver; NCCL_DEBUG=INFO shows more."
        return warning("nccl", None, f"NCCL does not start: {error}", remedy)
    return _judge("nccl", found, "one process")


def all_reduce(backend: str, world: int) -> dict[str, Any]:
    """Let `world` fresh processes sum a tensor; return what rank 0 found.

    Raises: RuntimeError with the reason when they cannot meet or do not answer.
    """
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        meeting_file = str(Path(folder, "meeting"))
        processes = [
            start_probe("all_reduce", backend, str(rank), str(world), meeting_file) for rank in range(world)
        ]
        try:
            found = [finish_probe(process) for process in processes]
            return found[0]
        finally:
            for process in processes:
                stop_probe(process)


def _judge(name: str, found: dict[str, Any], who: str) -> Check:
    if not found["correct"]:
        return problem(
            name, found, f"{who} got a wrong sum over {name}", "Update torch; do not train on ranks."
        )
    return ok(name, found, f"{who} sum a tensor over {name} at {found['megabytes_per_s']:,} MB/s")
