"""Costs of a training that was not measured here, from its sizes and one number for its computing."""

from dataclasses import dataclass, replace

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.planning.costs import DEFAULT_SPREAD, Costs
from sentiscale.planning.curves import Curve
from sentiscale.planning.measured import dense_bytes

BYTES_PER_PARAMETER = 28
"""Memory that a dense Adam step moves: weight, gradient and two moments read, three of them written."""

DEFAULT_MEMORY_BANDWIDTH = 8e9
"""Bytes a second of one core."""


@dataclass(frozen=True)
class Shape:
    """A training by its sizes. None where it is to be given."""

    name: str = "given"
    vocab: int = 0
    embedding: int = 0
    hidden: int = 0
    layers: int = 1
    seconds_per_row: float | None = None
    """Of forward and backward on one core."""
    dense_bytes: float | None = None
    """Sent by every rank in a step; None: follows from the sizes."""
    batch_size: int = 0
    """Rows a rank."""
    rows: int = 0
    """Of an epoch."""


CLASSIC = Shape(
    name="classic", vocab=130_000, embedding=400, hidden=512, layers=2,
    seconds_per_row=0.081, batch_size=32, rows=320_000,
)  # fmt: skip
"""The classic recipe: two layers of 512 units, 200 tokens, dense gradients. 2.6 s for 32 rows on a core of a
2.5 GHz Xeon with denormal numbers flushed (10 times as long without)."""

SHAPES = {"classic": CLASSIC}


def shape_of(name: str | None, **given: float | None) -> Shape:
    """A shape by name, or one of the given sizes; what is given wins.

    Raises: UsageError for unknown names and where a size is missing.
    """
    if name is not None and name not in SHAPES:
        raise UsageError(f"--shape is '{name}'.{did_you_mean(name, SHAPES)} Allowed: {', '.join(SHAPES)}.")
    base = SHAPES[name] if name else Shape()
    values = {key: value for key, value in given.items() if value is not None}
    shape = Shape(**{**base.__dict__, **values})
    if not shape.seconds_per_row or shape.seconds_per_row <= 0:
        raise UsageError("--seconds-per-row is missing: seconds of forward and backward, on one core.")
    if shape.dense_bytes is None and not (shape.vocab and shape.embedding and shape.hidden):
        raise UsageError(
            "the bytes of a step are not known: give --bytes, or all of --vocab, --embedding and --hidden."
        )
    return shape


def costs_of_shape(shape: Shape) -> Costs:
    """Dense gradients; computing in proportion to rows; an update that walks over all parameters."""
    assert shape.seconds_per_row is not None
    sizes = {"embedding_dim": shape.embedding, "hidden_dim": shape.hidden, "layers": shape.layers}
    table = 4.0 * shape.vocab * shape.embedding
    whole = shape.dense_bytes if shape.dense_bytes is not None else dense_bytes(sizes) + table
    rows = shape.batch_size or 32
    return Costs(
        name=shape.name,
        compute=Curve((float(rows),), (shape.seconds_per_row * rows,)),
        update_fixed=whole / 4 * BYTES_PER_PARAMETER / DEFAULT_MEMORY_BANDWIDTH,
        dense_bytes=whole,
        sparse=False,
        spread=DEFAULT_SPREAD,
        unknown=(
            "computing is what was given, not measured here, and taken in proportion to the rows",
            f"an update moves {BYTES_PER_PARAMETER} bytes a parameter at "
            f"{DEFAULT_MEMORY_BANDWIDTH / 1e9:g} GB/s",
            f"times of ranks differ by {DEFAULT_SPREAD:.0%}",
        ),
    )


def contended(shape_costs: Costs, memory_bandwidth: float) -> Costs:
    """The same on hosts whose memory gives all ranks together `memory_bandwidth` bytes a second.

    Updates wait for memory: beyond total / one core's bandwidth ranks, they take turns.
    """
    enough = memory_bandwidth / DEFAULT_MEMORY_BANDWIDTH
    ranks = [1.0, max(enough, 1.0), 2 * max(enough, 1.0), 1024.0 * max(enough, 1.0)]
    known = sorted({each: max(1.0, each / enough) for each in ranks}.items())
    curve = Curve(tuple(each for each, _ in known), tuple(slow for _, slow in known))
    return replace(shape_costs, update_slowdown=curve)
