"""Estimate the costs of a training with dense gradients from its sizes, without measurements."""

from dataclasses import asdict, dataclass, replace

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.study.plan.costs import DEFAULT_SPREAD, FLOAT, Curve, TrainingCosts
from sentiscale.study.plan.measured import dense_bytes

BYTES_PER_PARAMETER = 28
"""Bytes that dense Adam reads (weight, gradient, two moments) and writes (weight, two moments) per step."""

DEFAULT_MEMORY_BANDWIDTH = 8e9
"""Memory bandwidth of one core in bytes per second."""


@dataclass(frozen=True)
class TrainingSizes:
    name: str = "given"
    vocab: int = 0
    embedding: int = 0
    hidden: int = 0
    layers: int = 1
    seconds_per_row: float | None = None  # forward and backward pass on one core; required
    dense_bytes: float | None = None  # bytes of all gradients; None to compute them from the sizes
    batch_size: int = 32  # rows per step on one rank
    rows: int = 0  # rows per epoch


CLASSIC = TrainingSizes("classic", 130_000, 400, 512, 2, seconds_per_row=0.081, rows=320_000)
"""The classic recipe: two layers of 512 units, 200 tokens, dense gradients. A step of 32 rows takes 2.6 s on
one core of a 2.5 GHz Xeon if denormal numbers are flushed to zero, and 10 times as long otherwise."""

SHAPES = {"classic": CLASSIC}


def sizes_of(shape: str | None, **given: float | None) -> TrainingSizes:
    """Sizes of a named shape, overridden by the given sizes.

    Raises: UsageError if the name is unknown or sizes are missing.
    """
    if shape is not None and shape not in SHAPES:
        raise UsageError(f"--shape is '{shape}'.{did_you_mean(shape, SHAPES)} Allowed: {', '.join(SHAPES)}.")
    base = SHAPES[shape] if shape else TrainingSizes()
    sizes = TrainingSizes(
        **{**asdict(base), **{name: value for name, value in given.items() if value is not None}}
    )
    if not sizes.seconds_per_row or sizes.seconds_per_row <= 0:
        raise UsageError("--seconds-per-row is missing: seconds of forward and backward, on one core.")
    if sizes.dense_bytes is None and not (sizes.vocab and sizes.embedding and sizes.hidden):
        raise UsageError(
            "the bytes of a step are not known: give --bytes, or all of --vocab, --embedding and --hidden."
        )
    return sizes


def costs_of_sizes(sizes: TrainingSizes) -> TrainingCosts:
    """Costs for which computing is proportional to the rows, and an update changes all parameters."""
    assert sizes.seconds_per_row is not None
    shape = {"embedding_dim": sizes.embedding, "hidden_dim": sizes.hidden, "layers": sizes.layers}
    table = float(FLOAT * sizes.vocab * sizes.embedding)
    whole = sizes.dense_bytes if sizes.dense_bytes is not None else dense_bytes(shape) + table
    return TrainingCosts(
        name=sizes.name,
        compute=Curve((float(sizes.batch_size),), (sizes.seconds_per_row * sizes.batch_size,)),
        update_fixed=whole / FLOAT * BYTES_PER_PARAMETER / DEFAULT_MEMORY_BANDWIDTH,
        dense_bytes=whole,
        sparse=False,
        unknown=(
            "computing is what was given, not measured here, and taken in proportion to the rows",
            f"an update moves {BYTES_PER_PARAMETER} bytes a parameter at "
            f"{DEFAULT_MEMORY_BANDWIDTH / 1e9:g} GB/s",
            f"times of ranks differ by {DEFAULT_SPREAD:.0%}",
        ),
    )


def with_memory_limit(costs: TrainingCosts, memory_bandwidth: float) -> TrainingCosts:
    """Costs on hosts whose ranks share a memory bandwidth of `memory_bandwidth` bytes per second.

    Updates are limited by memory bandwidth, so they slow down once the ranks together exceed it.
    """
    served = memory_bandwidth / DEFAULT_MEMORY_BANDWIDTH
    ranks = sorted({1.0, *(factor * max(served, 1.0) for factor in (1.0, 2.0, 1024.0))})
    curve = Curve(tuple(ranks), tuple(max(1.0, each / served) for each in ranks))
    return replace(costs, update_slowdown=curve)
