"""Checks that need a process of their own: `python -m sentiscale.doctor.probe NAME [ARGUMENT...]`.

Each prints one JSON document as its last line.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

PROBE_SECONDS = 45.0
"""Limit for a whole probe; importing torch from a cold or shared disk can take most of it."""
GLOO_SECONDS = 15.0
"""Limit for two ranks to meet and to answer."""


def run_probe(name: str, *arguments: str) -> dict[str, Any]:
    """Run one probe in a fresh process and return what it found.

    Raises: RuntimeError with the process's last words when it fails or takes too long.
    """
    return finish_probe(start_probe(name, *arguments))


def start_probe(name: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a probe without waiting for it."""
    command = [sys.executable, "-m", "sentiscale.doctor.probe", name, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_probe(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a probe and return what it found; it is stopped when it takes too long."""
    try:
        out, err = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer within {PROBE_SECONDS:.0f} s") from error
    finally:
        stop_probe(process)
    if process.returncode != 0:
        raise RuntimeError((err.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def stop_probe(process: subprocess.Popen[str]) -> None:
    """End a probe, if it has not ended by itself, and let go of everything it held."""
    process.kill()
    process.communicate()


def probe_denormals() -> dict[str, Any]:
    """Multiply denormals with and without flushing; see whether flushing reaches every thread.

    Flushing is a flag of each thread that threads inherit when they start, so it can only be judged in a
    process where no pool of threads has been started yet.
    """
    import torch

    torch.set_flush_denormal(True)
    tiny = torch.full((1 << 20,), 1e-41)  # below 1.2e-38, the smallest normal float32
    flushed_everywhere = bool((tiny * 0.5 == 0).all())  # large enough to be cut among all threads
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = torch.full((1 << 15,), 1e-41)
    seconds = {}
    for flush in (True, False):
        torch.set_flush_denormal(flush)
        small.mul(0.5)
        best = float("inf")
        for _ in range(7):
            started_at = time.perf_counter()
            for _ in range(20):
                small.mul(0.5)
            best = min(best, time.perf_counter() - started_at)
        seconds[flush] = best
    slowdown = seconds[False] / seconds[True]
    return {"flushed_everywhere": flushed_everywhere, "slowdown": round(slowdown, 2), "threads": threads}


def probe_all_reduce(backend: str, rank: str, world: str, meeting_file: str) -> dict[str, Any]:
    """Meet the other ranks over a file, sum a tensor with them and say how fast that went."""
    import torch
    from torch import distributed

    device = "cuda" if backend == "nccl" else "cpu"
    distributed.init_process_group(
        backend, init_method=f"file://{meeting_file}", rank=int(rank), world_size=int(world),
        timeout=timedelta(seconds=GLOO_SECONDS),
    )  # fmt: skip
    numbers = torch.ones(1 << 20, device=device)
    distributed.all_reduce(numbers)
    correct = bool((numbers == int(world)).all())
    started_at = time.perf_counter()
    distributed.all_reduce(numbers)
    seconds = time.perf_counter() - started_at
    distributed.destroy_process_group()
    return {"correct": correct, "megabytes_per_s": round(numbers.nbytes / 1e6 / seconds)}


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "denormals": probe_denormals,
    "all_reduce": probe_all_reduce,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])) + "\n")
