"""One rank of a minimal training: sums a number with the other ranks, and fails as its options say."""

import os
import resource
import signal
import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli import _interrupt, _reporting_errors
from sentiscale.errors import DataError, Interrupted, UsageError


def rank(
    folder: Annotated[Path, typer.Argument(help="Folder for process ids and saved steps.")],
    fault: Annotated[str, typer.Option(help="kill, stop, raise, …; empty for none.")] = "",
    at: Annotated[int, typer.Option(help="The rank that fails, or is late.")] = 1,
    steps: int = 100_000,
    fault_step: int = 20,
    late: Annotated[float, typer.Option(help="Seconds that this rank needs in the end.")] = 0.0,
    plain_signals: Annotated[bool, typer.Option(help="Signals raise KeyboardInterrupt.")] = False,
    heartbeat_timeout: float = 30.0,
    pause: Annotated[float, typer.Option(help="Seconds between two steps.")] = 0.03,
) -> None:
    """Sum numbers with the other ranks until all steps are done or something happens."""
    from sentiscale.parallel.rendezvous import RankEnv

    env = RankEnv.current()
    assert env is not None
    (folder / f"pid-{env.rank}-{os.getpid()}").touch()
    if fault == "early" and env.rank == at:
        sys.exit(7)

    import torch
    import torch.distributed as dist

    from sentiscale.parallel.heartbeat import monitored_rank
    from sentiscale.parallel.rendezvous import choose_gloo_interface
    from sentiscale.training.run import StopRequest, stop_on_signals

    choose_gloo_interface(env.master_address)
    signals = nullcontext(StopRequest()) if plain_signals else stop_on_signals()
    with monitored_rank(env, heartbeat_timeout) as monitor, signals as stop:
        dist.init_process_group(
            "gloo",
            store=monitor.group_store,
            rank=env.rank,
            world_size=env.world_size,
            timeout=timedelta(minutes=5),
        )
        try:
            for step in range(steps):
                monitor.set_phase("data", step)
                if env.rank == at and step == fault_step and fault:
                    again = (folder / "fault").exists()
                    (folder / "fault").touch()
                    fail("" if again and fault == "raise-once" else fault)
                elif step == fault_step and fault:
                    time.sleep(pause)  # the others are by themselves at that moment
                monitor.set_phase("compute", step)
                stops = torch.tensor(float(stop.received is not None))
                dist.all_reduce(stops)
                if step == fault_step:
                    (folder / f"running-{env.rank}").touch()
                if stops > 0:
                    time.sleep(late * (env.rank == at))
                    (folder / f"saved-{env.rank}").touch()
                    raise Interrupted(f"interrupted at step {step}; saved.")
                if fault == "all" and step == fault_step:
                    raise UsageError("all ranks agree that this cannot work.")
                time.sleep(pause)
        finally:
            # As training does: threads of a group that still exists may abort a process that ends.
            dist.destroy_process_group()
        time.sleep(late * (env.rank == at))


def fail(fault: str) -> None:
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault in ("raise", "raise-once"):
        raise ValueError("this is the planted fault")
    elif fault == "data":
        raise DataError("reviews.txt:3 is not a review.")
    elif fault == "memory":
        use_up_memory()
    elif fault == "exit":
        os._exit(5)
    elif fault == "holds-lock":
        hold_interpreter_lock()


def use_up_memory() -> None:
    import torch

    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    torch.ones(2**33)


def hold_interpreter_lock() -> None:
    """No other thread of this process can run, the heartbeat's neither."""
    sys.setswitchinterval(1e6)
    while True:
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(_reporting_errors(rank))
    app()
