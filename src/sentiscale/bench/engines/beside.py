"""What a study measures beside training: preparation and prediction."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from sentiscale.bench.engines.fresh import Done
from sentiscale.bench.plan import LeftOut
from sentiscale.measurements import BenchRun, Case
from sentiscale.records import Host, available_cores, command_line, git_commit, now, package_versions

VERSIONS = ("sentiscale", "numpy", "numba", "pyarrow", "torch", "dask", "distributed", "pandas", "polars")


class Beside(Protocol):
    """One kind of cases, and how to run them."""

    @property
    def cases(self) -> list[Case]:
        """All cases that can run here."""

    @property
    def left_out(self) -> list[LeftOut]:
        """Cases that cannot."""

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Run a case in a fresh process; also returns the cores that others kept busy meanwhile.

        Raises: SentiscaleError when it fails; its messages are kept.
        """

    def differences(self, run: BenchRun) -> Iterator[str]:
        """Why a kept run of this kind does not belong to the same study."""


def record(case: Case, repeat: int, done: Done, digest: str, rows: int, shape: dict[str, Any]) -> BenchRun:
    """What is kept of a run; a row is one that went in, whatever came out of it."""
    timed = done.timed
    return BenchRun(
        case=case,
        repeat=repeat,
        seed=0,  # nothing in it is drawn
        amount={"rows": rows},
        seconds=timed.seconds,
        rows=rows,
        rows_per_s=rows / max(timed.seconds, 1e-9),
        warm_up_seconds=round(timed.warm_up_seconds, 4),
        start_seconds=round(done.start_seconds, 4),
        peak_memory_mb_per_rank=[round(done.peak_memory_mb, 1)],
        oversubscribed=case.workers > available_cores(),
        started_at=now(),
        host=Host.current(),
        command=command_line(),
        versions=package_versions(*VERSIONS),
        git_commit=git_commit(),
        data_digest=digest,
        shape={**shape, "cpu_seconds": round(done.cpu_seconds, 2)},
    )


def worker_counts(cores: int, asked: Sequence[int] = ()) -> list[int]:
    """1, 2, 4, ... up to all cores, unless others are asked for."""
    return sorted(set(asked)) or sorted({2**power for power in range(cores.bit_length())} | {cores})


def changed(run: BenchRun, digest: str, shape: dict[str, Any]) -> Iterator[str]:
    """Where a kept run was made of something else."""
    if run.data_digest != digest:
        yield f"they were made of other texts ({run.data_digest[:8]}, now {digest[:8]})"
    for name, value in shape.items():
        if run.shape.get(name) != value:
            yield f"{name} was {run.shape.get(name)}, not {value}"
