"""The costs of a training that is described by its sizes instead of measured, with dense gradients."""

from dataclasses import asdict, dataclass, replace

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.study.plan.costs import DEFAULT_SPREAD, FLOAT, Curve, TrainingCosts
from sentiscale.study.plan.measured import dense_bytes

BYTES_PER_PARAMETER = 28
"""Memory that a dense Adam step moves: weight, gradient and two moments read, three of them written."""

DEFAULT_MEMORY_BANDWIDTH = 8e9
"""Bytes per second of one core."""


@dataclass(frozen=True)
class TrainingSizes:
    name: str = "given"
    vocab: int = 0
    embedding: int = 0
    hidden: int = 0
    layers: int = 1
    seconds_per_row: float | None = None  # forward and backward on one core; required
    dense_bytes: float | None = None  # sent by every rank in a step; None: follows from the sizes
    batch_size: int = 32  # rows of a step on one rank
    rows: int = 0  # of an epoch


CLASSIC = TrainingSizes("classic", 130_000, 400, 512, 2, seconds_per_row=0.081, rows=320_000)
"""The classic recipe: two layers of 512 units, 200 tokens, dense gradients. 2.6 s for 32 rows on a core of a
2.5 GHz Xeon with denormal numbers flushed (10 times as long without)."""

SHAPES = {"classic": CLASSIC}


def sizes_of(shape: str | None, **given: float | None) -> TrainingSizes:
    """Given sizes, in place of those of a named shape.

    Raises: UsageError for unknown names and missing sizes.
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
    """Computing in proportion to rows; an update that passes over all parameters."""
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
    """The same costs on hosts whose memory serves all ranks together `memory_bandwidth` bytes per second.

    Updates are bound by memory: more ranks than it serves at full speed take turns.
    """
    served = memory_bandwidth / DEFAULT_MEMORY_BANDWIDTH
    ranks = sorted({1.0, *(factor * max(served, 1.0) for factor in (1.0, 2.0, 1024.0))})
    curve = Curve(tuple(ranks), tuple(max(1.0, each / served) for each in ranks))
    return replace(costs, update_slowdown=curve)
