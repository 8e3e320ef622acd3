"""Build an ONNX graph node by node: constants by value, results by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from torch import Tensor, nn

from sentiscale.errors import UsageError
from sentiscale.inference.onnx_facts import Facts
from sentiscale.model.directory import SavedModel
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import WideModel
from sentiscale.text.vocab import PAD, UNK

OPSET = 18
"""The first with BitwiseXor; ONNX Runtime reads it since 1.14 (early 2023)."""
IR_VERSION = 8
"""The file format that came with this opset."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators, which the quantised LSTM is one of."""

SMALL_BYTES = 256

INT64, UINT64, INT32, FLOAT = TensorProto.INT64, TensorProto.UINT64, TensorProto.INT32, TensorProto.FLOAT

Value = str | npt.NDArray[Any] | np.generic
"""What a node reads: the name of a result, or numbers; "" leaves an optional input out."""


class Graph:
    """Nodes in the order they are added, so that each reads only what stands before it."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, operator: str, *inputs: Value, domain: str = "", **attributes: Any) -> str:
        """Add a node with one result; returns the result's name."""
        return self.add_many(operator, 1, *inputs, domain=domain, **attributes)[0]

    def add_many(
        self, operator: str, results: int, *inputs: Value, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several results; returns their names."""
        number = len(self._nodes)
        names = [f"{operator}_{number}_{place}" for place in range(results)]
        read = [value if isinstance(value, str) else self._constant(np.asarray(value)) for value in inputs]
        self._nodes.append(
            helper.make_node(operator, read, names, f"{operator}_{number}", domain=domain, **attributes)
        )
        return names

    def name_result(self, value: str, name: str) -> None:
        """Make a value a result of the whole graph under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name], f"result_{name}"))

    def model(
        self, inputs: Mapping[str, tuple[int, list[str]]], results: Mapping[str, tuple[int, list[str]]]
    ) -> ModelProto:
        """The whole as a model; inputs and results are given as type and names of the dimensions."""
        given, made = (
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()]
            for values in (inputs, results)
        )
        graph = helper.make_graph(self._nodes, "sentiscale", given, made, initializer=self._tensors)
        domains = {"": OPSET, **{node.domain: 1 for node in self._nodes if node.domain}}
        opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _constant(self, numbers: npt.NDArray[Any]) -> str:
        # Small ones occur again and again; tables do not, and would be kept twice as keys.
        key = (numbers.dtype.str, numbers.shape, numbers.tobytes()) if numbers.nbytes <= SMALL_BYTES else None
        if key is not None and key in self._known:
            return self._known[key]
        name = f"constant_{len(self._tensors)}"
        self._tensors.append(numpy_helper.from_array(np.asarray(numbers, order="C"), name))
        if key is not None:
            self._known[key] = name
        return name


def whole(number: int) -> np.int64:
    """A scalar constant."""
    return np.int64(number)


def axes(*numbers: int) -> npt.NDArray[np.int64]:
    """A list of axes, places or sizes, as many operators take it."""
    return np.array(numbers, np.int64)


FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]

MOST = 127
MOST_OF_WEIGHTS = 63
"""Weights take 7 of the 8 bits: without VNNI, x86 processors add two products in 16 bits, and two of 8 bits
overflow there. So a file answers alike on all of them."""


class QuantisedWeights(NamedTuple):
    """Weights of an LSTM in the form that ONNX Runtime's quantised operator takes."""

    numbers: Int8Array
    """(1, inputs, gates)."""
    scales: tuple[FloatArray, Int8Array]
    """Scale and zero point of each gate's unit, (1, gates) each; zero points are 0."""


def int8_rows(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Numbers (rows, width) and scales (rows,) with `table` about numbers * scales[:, None]."""
    numbers, scales = _scaled(table, MOST)
    return numbers, scales[:, 0]


def int8_columns(weights: FloatArray) -> QuantisedWeights:
    """Weights (gates, inputs), with one scale for each row of them."""
    numbers, scales = _scaled(weights, MOST_OF_WEIGHTS)
    zeros = np.zeros((1, len(weights)), np.int8)
    return QuantisedWeights(np.ascontiguousarray(numbers.T)[None], (scales.T.copy(), zeros))


def square_roots(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Numbers (rows, columns) and steps (columns,) with `table` about numbers * abs(numbers) * steps.

    Square roots spend the 255 numbers on small values, which most of a linear model's are.
    """
    largest = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny)
    numbers = np.rint(np.sign(table) * np.sqrt(np.abs(table) / largest) * MOST).astype(np.int8)
    return numbers, (largest / MOST**2).astype(np.float32)


def _scaled(table: FloatArray, most: int) -> tuple[Int8Array, npt.NDArray[Any]]:
    scales = np.abs(table).max(axis=1, keepdims=True) / most
    scales[scales == 0] = 1.0
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)


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


GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""Gates of PyTorch's weights (LSTM: input, forget, cell, output; GRU: reset, update, new) in ONNX's order."""

LOWEST = np.finfo(np.float32).min


def add_network(graph: Graph, net: SentimentNet, rows: NetworkRows, *, int8: bool) -> str:
    """Add the whole network; returns the name of its logits (B,)."""
    table_VE = numbers_of(net.embedding.weight)
    embedded_WBE = add_embedding(graph, table_VE, rows.ids, int8=int8)
    recurrent = net.recurrent
    pooled = add_direction(graph, recurrent.cell, embedded_WBE, rows, recurrent.pooling, int8=int8)
    if recurrent.backward_cell is not None:
        pooled += add_direction(
            graph, recurrent.backward_cell, embedded_WBE, rows, recurrent.pooling, int8=int8, backward=True
        )
    pooled_BD = pooled[0] if len(pooled) == 1 else graph.add("Concat", *pooled, axis=1)
    linear = net.head.linear
    logits_B1 = graph.add("Gemm", pooled_BD, numbers_of(linear.weight), numbers_of(linear.bias), transB=1)
    return graph.add("Squeeze", logits_B1, axes(1))


def add_embedding(graph: Graph, table_VE: FloatArray, ids: str, *, int8: bool) -> str:
    """Look the words' vectors up: (W, B) to (W, B, E); in int8, with a scale for each word."""
    if not int8:
        return graph.add("Gather", table_VE, ids)
    numbers_VE, scales_V = int8_rows(table_VE)
    vectors = graph.add("Cast", graph.add("Gather", numbers_VE, ids), to=FLOAT)
    return graph.add("Mul", vectors, graph.add("Gather", scales_V[:, None], ids))


def add_direction(
    graph: Graph,
    cell: nn.RNNBase,
    inputs: str,
    rows: NetworkRows,
    pooling: str,
    *,
    int8: bool,
    backward: bool = False,
) -> list[str]:
    """Add the layers of one direction and the pooling of the last one: names of values (B, H).

    With `sequence_lens`, ONNX's reverse direction reads every row from its last real token and leaves its
    outputs where the tokens stand, so the first token's is the last that it makes.
    """
    last = outputs = ""
    for layer in range(cell.num_layers):
        outputs, last = add_layer(graph, cell, layer, inputs, rows.lengths, int8=int8, backward=backward)
        inputs = outputs = graph.add("Squeeze", outputs, axes(1))
    if pooling == "last":
        return [graph.add("Squeeze", last, axes(0))]
    largest = graph.add("ReduceMax", graph.add("Where", rows.real, outputs, LOWEST), axes(0), keepdims=0)
    if pooling == "max":
        return [largest]
    total = graph.add("ReduceSum", outputs, axes(0), keepdims=0)  # outputs behind a row's end are 0
    tokens = graph.add("Unsqueeze", graph.add("Cast", rows.lengths, to=FLOAT), axes(1))
    return [largest, graph.add("Div", total, tokens)]


def add_layer(
    graph: Graph, cell: nn.RNNBase, layer: int, inputs: str, lengths: str, *, int8: bool, backward: bool
) -> tuple[str, str]:
    """Add one recurrent layer: names of its outputs (W, 1, B, H) and of its last ones (1, B, H).

    ONNX Runtime has a quantised LSTM but no quantised GRU: that stays as it is.
    """
    kind = "lstm" if isinstance(cell, nn.LSTM) else "gru"
    input_GE, state_GH, *biases = (
        in_onnx_order(numbers_of(getattr(cell, f"{name}_l{layer}")), kind)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    options: dict[str, Any] = {
        "hidden_size": cell.hidden_size,
        "direction": "reverse" if backward else "forward",
    }
    bias = np.concatenate(biases)[None]
    if kind == "lstm" and int8:
        input_weights, state_weights = int8_columns(input_GE), int8_columns(state_GH)
        tail: tuple[Value, ...] = ("", "", "", *input_weights.scales, *state_weights.scales)
        given: tuple[Value, ...] = (
            inputs,
            input_weights.numbers,
            state_weights.numbers,
            bias,
            lengths,
            *tail,
        )
        outputs, last, _ = graph.add_many("DynamicQuantizeLSTM", 3, *given, domain=MICROSOFT, **options)
        return outputs, last
    if kind == "gru":
        options["linear_before_reset"] = 1
    outputs, last = graph.add_many(
        kind.upper(), 2, inputs, input_GE[None], state_GH[None], bias, lengths, **options
    )
    return outputs, last


def in_onnx_order(weights: FloatArray, kind: str) -> FloatArray:
    """The gates of a weight matrix or bias, one below the other, in ONNX's order."""
    gates = np.split(weights, len(GATES[kind]))
    return np.concatenate([gates[place] for place in GATES[kind]])


def numbers_of(weights: Tensor) -> FloatArray:
    """A tensor's numbers, as 32-bit floats."""
    numbers: FloatArray = weights.detach().cpu().float().numpy()
    return numbers


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


INPUTS = {"ids": (INT64, ["batch", "tokens"]), "lengths": (INT64, ["batch"])}
RESULTS = {"probability": (FLOAT, ["batch"]), "logit": (FLOAT, ["batch"])}

MOST_BYTES = 2**31 - 2**20
"""What a file of Protocol Buffers holds, with some room for all that is not weights."""

DESCRIPTION = """Sentiment of reviews.
In: ids (batch, tokens), the first `stored_tokens` word ids of each review, padded with 0 at the end;
lengths (batch,), how many of them are real, 0 allowed.
Out: probability (batch,) of the second label; logit (batch,), of which it is the sigmoid.
The properties of this file name labels, cleaning rule and vocabulary (one word a line, from id 0)."""


def onnx_bytes(model: SavedModel, *, int8: bool = False, data_digest: str = "") -> bytes:
    """The file's content: network, wide part and their combination.

    `int8` keeps embedding, LSTM weights and the wide part's tables in 8 bits.

    Raises: UsageError when the model is larger than an ONNX file can be.
    """
    _check_size(model, int8=int8)
    built = build_graph(model, int8=int8).model(INPUTS, RESULTS)
    built.producer_name, built.producer_version = "sentiscale", version("sentiscale")
    built.doc_string = DESCRIPTION
    helper.set_model_props(built, facts_of(model, int8=int8, data_digest=data_digest).properties())
    return checked(built)


def build_graph(model: SavedModel, *, int8: bool) -> Graph:
    """All nodes, from the inputs to the two results."""
    graph = Graph()
    rows = add_rows(graph, "ids", "lengths", look_ahead(model.wide.ngrams) if model.wide else 0)
    network_rows = add_network_rows(graph, rows, model.config.max_tokens)
    combination = model.combination
    logit = graph.add(
        "Add",
        graph.add("Mul", add_network(graph, model.net, network_rows, int8=int8), np.float32(combination.net)),
        np.float32(combination.bias),
    )
    if model.wide is not None:
        wide = add_wide(graph, model.wide, rows, int8=int8)
        logit = graph.add("Add", logit, graph.add("Mul", wide, np.float32(combination.wide)))
    graph.name_result(graph.add("Sigmoid", logit), "probability")
    graph.name_result(logit, "logit")
    return graph


def facts_of(model: SavedModel, *, int8: bool, data_digest: str) -> Facts:
    """What the file will say of itself."""
    return Facts(
        cleaning=model.config.cleaning,
        max_tokens=model.config.max_tokens,
        stored_tokens=model.config.stored_tokens,
        weights="int8" if int8 else "fp32",
        version=version("sentiscale"),
        data_digest=data_digest,
        vocabulary="\n".join(model.vocab.words),
    )


def checked(built: ModelProto) -> bytes:
    """The model's bytes, after ONNX's own checker has seen it."""
    content = built.SerializeToString()
    checker.check_model(content, full_check=True)
    return bytes(content)


def _check_size(model: SavedModel, *, int8: bool) -> None:
    numbers = sum(weights.numel() for weights in model.net.parameters())
    numbers += 2 * len(model.wide.scales) if model.wide else 0
    size = numbers * (1 if int8 else 4)
    if size > MOST_BYTES:
        raise UsageError(
            f"the model would be {size / 1e9:.1f} GB as ONNX; a file holds 2 GB. "
            + ("Train" if int8 else "Add --int8, or train")
            + " it with a smaller vocabulary or --set wide.bits=23."
        )
