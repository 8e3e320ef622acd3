"""The wide part as ONNX nodes: hash n-grams as `sentiscale.ngrams` does, drop repeats, weigh them.

Products wrap around at 64 bits. ONNX shifts unsigned numbers only, and ONNX Runtime multiplies uint64 only
since 1.21, but int64 always; so values are cast between the two, which changes no bit.
"""

import numpy as np
import numpy.typing as npt

from sentiscale.exporting.graph import FLOAT, INT32, INT64, UINT64, Graph, Value, axes, whole
from sentiscale.exporting.quantised import square_roots
from sentiscale.exporting.rows import Rows
from sentiscale.ngrams import Ngrams
from sentiscale.text.vocab import UNK
from sentiscale.wide import WideModel

FACTORS = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
"""Of the hash's two rounds of mixing."""
JOINING = 0x9E3779B97F4A7C15
"""What a run's key is multiplied with before the next word is added."""
ROUND_SHIFT = 33

TINY = np.float32(1e-30)


def look_ahead(ngrams: Ngrams) -> int:
    """How many tokens after its first one a feature reaches."""
    return max(ngrams.longest - 1, ngrams.gaps + 1 if ngrams.gaps else 0)


def add_wide(graph: Graph, wide: WideModel, rows: Rows, *, int8: bool) -> str:
    """Add the wide part; returns the name of its logits (B,).

    With r the scales and w the weights of a row's different buckets, the logit is
    sum(r w) / sqrt(sum(r r)) + intercept; one table holds r w and r r side by side.
    """
    nowhere = 2**wide.ngrams.bits
    buckets = add_buckets(graph, wide.ngrams, rows, nowhere)
    distinct = add_distinct(graph, buckets, nowhere)
    table = np.zeros((nowhere + 1, 2), np.float32)  # the last row: no bucket
    table[:-1, 0] = wide.scales * wide.weights
    table[:-1, 1] = wide.scales**2
    sums_B2 = add_sums(graph, table, distinct, int8=int8)
    weighted, squares = (graph.add("Gather", sums_B2, whole(column), axis=1) for column in (0, 1))
    length = graph.add("Sqrt", graph.add("Max", squares, TINY))
    return graph.add("Add", graph.add("Div", weighted, length), np.float32(wide.intercept))


def add_buckets(graph: Graph, ngrams: Ngrams, rows: Rows, nowhere: int) -> str:
    """Buckets (B, M * features a token) int32 of all n-grams; `nowhere` where there is none."""
    tokens = [_shifted(graph, rows, places) for places in range(look_ahead(ngrams) + 1)]
    known = [graph.add("Greater", token, whole(UNK)) for token in tokens]  # padding neither
    first = key = add_mixed(graph, tokens[0])
    all_known = known[0]
    features = [(key, all_known)]
    for place in range(1, ngrams.longest):
        key = add_joined(graph, key, tokens[place])
        all_known = graph.add("And", all_known, known[place])
        features.append((key, all_known))
    if ngrams.gaps:
        apart = graph.add("Add", first, whole(1))
        for place in range(2, 2 + ngrams.gaps):
            both = graph.add("And", known[0], known[place])
            features.append((add_joined(graph, apart, tokens[place]), both))
    buckets = [_bucket(graph, key, seen, ngrams.bits, nowhere) for key, seen in features]
    return graph.add("Concat", *buckets, axis=1)


def add_joined(graph: Graph, key: str, token: str) -> str:
    """The key of a run of words with one more word: int64."""
    return add_mixed(graph, graph.add("Add", graph.add("Mul", key, _wrapped(JOINING)), token))


def add_mixed(graph: Graph, value: str) -> str:
    """Spread the bits of an int64 over all 64 (the finaliser of MurmurHash3)."""
    for factor in (*FACTORS, None):
        bits = graph.add("Cast", value, to=UINT64)
        shifted = graph.add("BitShift", bits, np.uint64(ROUND_SHIFT), direction="RIGHT")
        value = graph.add("Cast", graph.add("BitwiseXor", bits, shifted), to=INT64)
        if factor is not None:
            value = graph.add("Mul", value, _wrapped(factor))
    return value


def add_distinct(graph: Graph, buckets: str, nowhere: int) -> str:
    """Sort each row (B, N) and put `nowhere` in the place of repeats."""
    count = graph.add("Shape", buckets, start=1, end=2)
    ordered, _ = graph.add_many("TopK", 2, buckets, count, axis=1, largest=0, sorted=1)
    before = graph.add("Slice", ordered, axes(0), axes(-1), axes(1))
    before = graph.add("Pad", before, axes(0, 1, 0, 0), np.int32(-1))
    return graph.add("Where", graph.add("Equal", ordered, before), np.int32(nowhere), ordered)


def add_sums(graph: Graph, table: npt.NDArray[np.float32], buckets: str, *, int8: bool) -> str:
    """Sums (B, 2) of the table's two columns over the buckets (B, N)."""
    if not int8:
        return graph.add("ReduceSum", graph.add("Gather", table, buckets), axes(1), keepdims=0)
    numbers, steps = square_roots(table)
    roots = graph.add("Cast", graph.add("Gather", numbers, buckets), to=FLOAT)
    signed_squares = graph.add("Mul", roots, graph.add("Abs", roots))
    return graph.add("Mul", graph.add("ReduceSum", signed_squares, axes(1), keepdims=0), steps)


def _shifted(graph: Graph, rows: Rows, places: int) -> str:
    """Ids (B, M), each so many places further on in its row."""
    stop = graph.add("Unsqueeze", graph.add("Add", rows.longest, whole(places)), axes(0))
    return graph.add("Slice", rows.ids, axes(places), stop, axes(1))


def _bucket(graph: Graph, key: str, seen: str, bits: int, nowhere: int) -> str:
    top = graph.add("BitShift", graph.add("Cast", key, to=UINT64), np.uint64(64 - bits), direction="RIGHT")
    return graph.add("Where", seen, graph.add("Cast", top, to=INT32), np.int32(nowhere))


def _wrapped(number: int) -> Value:
    """The int64 with the bits of an unsigned 64-bit number."""
    return np.array(number, np.uint64).view(np.int64)
