"""A rank of a training run to which something happens: bench_faults.py starts it in place of the real one."""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

from sentiscale.data.batches import Batch
from sentiscale.parallel.runner import WholeRunner
from sentiscale.training.rank import main


def happen(fault: str, runner: WholeRunner) -> None:
    """What goes wrong, in this process."""
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "interpreter held":
        ctypes.PyDLL(None).sleep(600)
    elif fault == "raises":
        raise ValueError("something unforeseen")
    elif fault == "out of memory":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, used + 2**20))
    elif fault == "NaN":
        for parameter in runner.parameters.values():
            parameter.data.fill_(float("nan"))


def spoil(fault: str, at_step: int, mark: Path) -> None:
    """Let the fault happen once, on rank 1, at a step; leave the time of day in `mark`."""
    compute = WholeRunner.forward_backward

    def forward_backward(runner: WholeRunner, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        if step == at_step and os.environ["RANK"] == "1" and not mark.exists():
            mark.write_text(str(time.time()))
            happen(fault, runner)
        return compute(runner, batch, step, loss_scale)

    WholeRunner.forward_backward = forward_backward


if __name__ == "__main__":
    spoil(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    sys.exit(main(Path(sys.argv[1])))
