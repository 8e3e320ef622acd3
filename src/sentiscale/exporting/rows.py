"""Rows of token ids in the graph: cut to what is there, and what the network reads of each.

Shape suffixes: B rows, M the longest row of the batch (at least 1), W tokens the network reads.
"""

from dataclasses import dataclass

from sentiscale.exporting.graph import INT32, Graph, axes, whole
from sentiscale.text.vocab import PAD


@dataclass(frozen=True)
class Rows:
    """Names of the values that describe a batch."""

    ids: str
    """(B, M + beyond) int64: ids, PAD from each row's end on."""
    lengths: str
    """(B,) int64: tokens of each row, 0 allowed."""
    longest: str
    """() int64: M."""
    beyond: int
    """Columns of padding after the longest row, so that a look ahead stays inside."""


@dataclass(frozen=True)
class NetworkRows:
    """What the network reads: names of values."""

    ids: str
    """(W, B) int64: time first, as ONNX Runtime's recurrent operators want it."""
    lengths: str
    """(B,) int32, at least 1: an empty row is one padding token."""
    real: str
    """(W, B, 1) bool: true where a token is real."""


def add_rows(graph: Graph, ids: str, lengths: str, beyond: int) -> Rows:
    """Bring the caller's ids (B, T) and lengths (B,) into order.

    However wide the caller padded, the columns after the longest row are cut off, and whatever stands
    behind a row's end counts as padding. A length beyond T counts as T, one below 0 as 0.
    """
    width = graph.add("Shape", ids, start=1, end=2)
    lengths = graph.add("Max", graph.add("Min", lengths, width), whole(0))
    longest = graph.add("ReduceMax", graph.add("Concat", lengths, axes(1), axis=0), keepdims=0)
    padded = graph.add("Pad", ids, axes(0, 0, 0, beyond + 1), whole(PAD))
    stop = graph.add("Add", longest, whole(beyond))
    cut = graph.add("Slice", padded, axes(0), graph.add("Unsqueeze", stop, axes(0)), axes(1))
    position = graph.add("Range", whole(0), stop, whole(1))
    real = graph.add("Less", position, graph.add("Unsqueeze", lengths, axes(1)))
    return Rows(graph.add("Where", real, cut, whole(PAD)), lengths, longest, beyond)


def add_network_rows(graph: Graph, rows: Rows, max_tokens: int) -> NetworkRows:
    """Choose the first and the last half of `max_tokens` of each longer row."""
    width = graph.add("Min", rows.longest, whole(max_tokens))
    position = graph.add("Range", whole(0), width, whole(1))
    left_out = graph.add("Max", graph.add("Sub", rows.lengths, whole(max_tokens)), whole(0))
    in_second_half = graph.add("GreaterOrEqual", position, whole(max_tokens // 2))
    shift = graph.add("Where", in_second_half, graph.add("Unsqueeze", left_out, axes(1)), whole(0))
    # A shifted place is before its row's end; one that is not shifted is before the longest row's.
    chosen = graph.add("GatherElements", rows.ids, graph.add("Add", position, shift), axis=1)
    lengths = graph.add("Max", graph.add("Min", rows.lengths, whole(max_tokens)), whole(1))
    real = graph.add("Less", graph.add("Unsqueeze", position, axes(1)), lengths)
    return NetworkRows(
        graph.add("Transpose", chosen, perm=[1, 0]),
        graph.add("Cast", lengths, to=INT32),
        graph.add("Unsqueeze", real, axes(2)),
    )
