"""Build the ONNX graph of a model node by node; docs/decisions/0009 explains why it is not traced.

The functions `add_…` append nodes to a `GraphBuilder` and return the names of their output tensors. Suffixes
of names are axes: W tokens, B rows, E embedding, H hidden units, G gates times units, V words, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from torch import Tensor, nn

from sentiscale.errors import UsageError
from sentiscale.inference.onnx_runtime import LABEL_CODE, OnnxMetadata
from sentiscale.model.cascade import Cascade
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import JOIN_FACTOR, Ngrams
from sentiscale.model.wide import Combination, WideModel
from sentiscale.text.vocab import PAD, UNK
from sentiscale.text.word_table import MIX_FACTORS, MIX_SHIFT

OPSET = 18
"""First opset with BitwiseXor; ONNX Runtime has supported it since version 1.14 (early 2023)."""
IR_VERSION = 8
"""Version of the file format that was released together with this opset."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators, such as the quantised LSTM."""
MAX_BYTES = 2**31 - 2**20
"""Largest size of the weights: the 2 GiB limit of Protocol Buffers minus room for the rest of the file."""

INT64, UINT64, INT32, FLOAT = TensorProto.INT64, TensorProto.UINT64, TensorProto.INT32, TensorProto.FLOAT
INPUTS = {"ids": (INT64, ["batch", "tokens"]), "lengths": (INT64, ["batch"])}

DESCRIPTION = """Sentiment of reviews.
Inputs: ids (batch, tokens), the first `stored_tokens` word ids of each review, padded with 0 at the end;
lengths (batch,), the number of ids of each review without padding, which may be 0.
Outputs: {outputs}.
The metadata properties contain labels, cleaning rule and vocabulary (one word per line, from id 0)."""
OF_TWO = "probability (batch,) of the second label, the sigmoid of the logit; logit (batch,)"
OF_MORE = "probabilities (batch, labels), the softmax of the logits; logits (batch, labels)"
WITH_LABELS = f"; {LABEL_CODE} (batch,), the position of a review's label, or the number of labels if unsure"

Input = str | int | list[int] | npt.NDArray[Any] | np.generic
"""Input of a node: a tensor name, or numbers for an initializer. "" omits an optional input. Python integers
become int64, as ONNX requires for axes, positions and sizes."""
TensorType = tuple[int, Sequence[str | int]]
"""Element type and axes of an input or output; an axis is a name or, if its size is fixed, a number."""
FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]


class GraphBuilder:
    """Collects initializers and nodes; add a node only after the nodes whose outputs it reads."""

    SHARED_BYTES = 256

    def __init__(self, *, int8: bool) -> None:
        self.int8 = int8
        """Whether the embedding, the LSTM weights and the tables of the n-gram model are stored in 8 bits."""
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, op_type: str, *inputs: Input, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the name of the output."""
        return self.add_multi(op_type, 1, *inputs, domain=domain, **attributes)[0]

    def add_multi(
        self, op_type: str, outputs: int, *inputs: Input, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; returns the names of the outputs."""
        name = f"{op_type}_{len(self._nodes)}"
        names = [f"{name}_{place}" for place in range(outputs)]
        read = [each if isinstance(each, str) else self._initializer(np.asarray(each)) for each in inputs]
        self._nodes.append(helper.make_node(op_type, read, names, name, domain=domain, **attributes))
        return names

    def add_output(self, tensor: str, name: str) -> None:
        """Declare a tensor as an output of the graph."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], f"result_{name}"))

    def model(self, inputs: Mapping[str, TensorType], outputs: Mapping[str, TensorType]) -> ModelProto:
        """Build the model; `inputs` and `outputs` map names to element types and axes."""
        read, written = (
            [helper.make_tensor_value_info(name, *info) for name, info in infos.items()]
            for infos in (inputs, outputs)
        )
        graph = helper.make_graph(self._nodes, "sentiscale", read, written, initializer=self._initializers)
        domains = {"": OPSET, **{node.domain: 1 for node in self._nodes if node.domain}}
        opsets = [helper.make_opsetid(domain, number) for domain, number in domains.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _initializer(self, values: npt.NDArray[Any]) -> str:
        # Small constants recur and are shared. Tables do not recur, and a key would be a second copy of one.
        is_shared = values.nbytes <= self.SHARED_BYTES
        key = (values.dtype.str, values.shape, values.tobytes() if is_shared else b"")
        if is_shared and key in self._shared:
            return self._shared[key]
        name = f"constant_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        if is_shared:
            self._shared[key] = name
        return name


# The whole model


def onnx_bytes(
    model: SavedModel,
    decision: Decision | None = None,
    *,
    int8: bool = False,
    full: bool = False,
    data_digest: str = "",
) -> bytes:
    """Build the content of an ONNX file with the network, the linear n-gram model and their combination.

    `decision` chooses the labels; the model's own by default. `int8` stores the embedding, the LSTM weights
    and the tables of the n-gram model in 8 bits. `full` lets the network read all rows, without the cascade.

    Raises: UsageError when the model is too large for an ONNX file.
    """
    _check_size(model, int8=int8)
    decision = decision or model.config.decision
    outputs = output_types(decision)
    built = build_graph(model, decision, int8=int8, full=full).model(INPUTS, outputs)
    built.producer_name, built.producer_version = "sentiscale", version("sentiscale")
    described = OF_TWO if "logit" in outputs else OF_MORE
    built.doc_string = DESCRIPTION.format(outputs=described + WITH_LABELS * (LABEL_CODE in outputs))
    metadata = OnnxMetadata(
        labels=model.classes.names,
        kind=model.classes.kind,
        cleaning=model.config.cleaning,
        cleaning_version=model.config.cleaning_version,
        max_tokens=model.config.max_tokens,
        stored_tokens=model.config.stored_tokens,
        weights="int8" if int8 else "fp32",
        version=version("sentiscale"),
        data_digest=data_digest,
        vocabulary="\n".join(model.vocab.words),
    )
    helper.set_model_props(built, metadata.properties())
    content = built.SerializeToString()
    checker.check_model(content, full_check=True)
    return bytes(content)


def _check_size(model: SavedModel, *, int8: bool) -> None:
    numbers = sum(weights.numel() for weights in model.net.parameters())
    numbers += model.wide.scales.size + model.wide.weights.size if model.wide else 0
    size = numbers * (1 if int8 else 4)
    if size > MAX_BYTES:
        raise UsageError(
            f"the model needs {size / 1e9:.1f} GB, and an ONNX file holds at most 2 GB. "
            + ("Train" if int8 else "Add --int8, or train")
            + " it with a smaller vocabulary or --set wide.bits=23."
        )


def output_types(decision: Decision) -> dict[str, TensorType]:
    """Element types and axes of the outputs.

    A file with two classes has the output `label_code` only if its labels are not the more probable classes.
    """
    classes = len(decision.names)
    if classes == 2:
        outputs: dict[str, TensorType] = {"probability": (FLOAT, ["batch"]), "logit": (FLOAT, ["batch"])}
    else:
        outputs = {"probabilities": (FLOAT, ["batch", classes]), "logits": (FLOAT, ["batch", classes])}
    return outputs if classes == 2 and decision.is_default else outputs | {LABEL_CODE: (INT64, ["batch"])}


def build_graph(model: SavedModel, decision: Decision, *, int8: bool, full: bool) -> GraphBuilder:
    graph = GraphBuilder(int8=int8)
    tokens = add_token_rows(graph, "ids", "lengths", lookahead(model.wide.ngrams) if model.wide else 0)
    wide = add_wide(graph, model.wide, tokens) if model.wide else None
    if model.cascade is None or wide is None or full:
        network = add_network(graph, model.net, add_network_inputs(graph, tokens, model.config.max_tokens))
        logits = add_combined(graph, model.combination, network, wide)
    else:
        logits = add_cascade(graph, model, model.cascade, tokens, wide)
    is_binary = len(decision.names) == 2
    probabilities = graph.add("Sigmoid", logits) if is_binary else graph.add("Softmax", logits, axis=1)
    names = output_types(decision)
    for tensor, name in zip((probabilities, logits), names, strict=False):
        graph.add_output(tensor, name)
    if LABEL_CODE in names:
        if is_binary:
            second_B1 = graph.add("Unsqueeze", probabilities, [1])
            probabilities = graph.add("Concat", graph.add("Sub", float32(1), second_B1), second_B1, axis=1)
        graph.add_output(add_decision(graph, probabilities, decision), LABEL_CODE)
    return graph


def add_decision(graph: GraphBuilder, probabilities_BK: str, decision: Decision) -> str:
    """Add the choice of labels as `Decision.codes` makes it; returns their codes (B,) int64."""
    names, unsure = decision.names, len(decision.names)
    weights = float32([decision.weights.get(name, 1.0) for name in names])
    bounds = float32([decision.thresholds.get(name, 2.0) for name in names])  # 2 is never reached
    rates = graph.add("Where", bounds <= 1, float32(-1), graph.add("Mul", probabilities_BK, weights))
    codes = graph.add("ArgMax", rates, axis=1, keepdims=0)
    if decision.thresholds:
        if len(decision.thresholds) == unsure:
            codes = graph.add("Add", graph.add("Mul", codes, 0), unsure)
        reached = graph.add("GreaterOrEqual", probabilities_BK, bounds)
        ratios = graph.add("Div", probabilities_BK, np.maximum(bounds, float32(1e-12)))
        ratios = graph.add("Where", reached, ratios, float32(-1))
        best = graph.add("ReduceMax", ratios, [1], keepdims=0)
        chosen = graph.add("ArgMax", ratios, axis=1, keepdims=0)
        codes = graph.add("Where", graph.add("GreaterOrEqual", best, float32(0)), chosen, codes)
    if decision.abstain:
        needed = graph.add("Gather", float32([*(decision.abstain.get(name, 0) for name in names), 0]), codes)
        columns = graph.add("Pad", probabilities_BK, [0, 0, 0, 1], float32(1))
        own = graph.add("GatherElements", columns, graph.add("Unsqueeze", codes, [1]), axis=1)
        is_sure = graph.add("GreaterOrEqual", graph.add("Squeeze", own, [1]), needed)
        codes = graph.add("Where", is_sure, codes, unsure)
    return codes


def float32(numbers: float | Sequence[float]) -> FloatArray:
    return np.asarray(numbers, np.float32)


# Inputs


@dataclass(frozen=True)
class TokenRows:
    """Names of the tensors that describe a padded batch."""

    ids: str
    """(B, longest + lookahead) int64; PAD after each row's end."""
    lengths: str
    """(B,) int64: number of tokens in each row, which may be 0."""
    longest: str
    """() int64: number of tokens in the longest row, at least 1."""


def add_token_rows(graph: GraphBuilder, ids: str, lengths: str, columns_after: int) -> TokenRows:
    """Normalise the caller's ids (B, T) and lengths (B,).

    Callers may pad rows with any id and by more than necessary: columns after the longest row are removed,
    and everything after the end of a row becomes PAD. Lengths are clipped to 0..T. `columns_after` columns of
    PAD are appended, so that n-grams of the last tokens stay inside the tensor.
    """
    width = graph.add("Shape", ids, start=1, end=2)
    lengths = graph.add("Max", graph.add("Min", lengths, width), 0)
    # With the 1, batches without rows have a maximum, and batches without tokens have a column.
    longest = graph.add("ReduceMax", graph.add("Concat", lengths, [1], axis=0), keepdims=0)
    padded = graph.add("Pad", ids, [0, 0, 0, columns_after + 1], PAD)
    stop = graph.add("Add", longest, columns_after)
    cut = graph.add("Slice", padded, [0], graph.add("Unsqueeze", stop, [0]), [1])
    position = graph.add("Range", 0, stop, 1)
    is_real = graph.add("Less", position, graph.add("Unsqueeze", lengths, [1]))
    return TokenRows(graph.add("Where", is_real, cut, PAD), lengths, longest)


@dataclass(frozen=True)
class NetworkInputs:
    """Names of the tensors that the network reads."""

    ids_WB: str
    """Token ids (int64), time first, as ONNX Runtime's recurrent operators require."""
    lengths_B: str
    """Lengths (int32), at least 1: an empty row counts as one padding token."""
    is_real_WB1: str
    """Mask (bool) of the positions that are not padding."""


def add_network_inputs(graph: GraphBuilder, tokens: TokenRows, max_tokens: int) -> NetworkInputs:
    """Select the tokens to read: in rows longer than `max_tokens`, the first half and last half of that."""
    width = graph.add("Min", tokens.longest, max_tokens)
    position = graph.add("Range", 0, width, 1)
    left_out = graph.add("Max", graph.add("Sub", tokens.lengths, max_tokens), 0)
    in_second_half = graph.add("GreaterOrEqual", position, max_tokens // 2)
    shift = graph.add("Where", in_second_half, graph.add("Unsqueeze", left_out, [1]), 0)
    # Never out of range: shifted positions lie inside their row, and the others inside the longest row.
    selected = graph.add("GatherElements", tokens.ids, graph.add("Add", position, shift), axis=1)
    lengths = graph.add("Max", graph.add("Min", tokens.lengths, max_tokens), 1)
    is_real = graph.add("Less", graph.add("Unsqueeze", position, [1]), lengths)
    return NetworkInputs(
        graph.add("Transpose", selected, perm=[1, 0]),
        graph.add("Cast", lengths, to=INT32),
        graph.add("Unsqueeze", is_real, [2]),
    )


# The network

GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""Indices of PyTorch's gates in ONNX's order (PyTorch: LSTM input, forget, cell, output; GRU reset, update,
new)."""


def add_network(graph: GraphBuilder, net: SentimentNet, inputs: NetworkInputs) -> str:
    """Add embedding, recurrent layers, pooling and head; returns the logits (B,) or (B, K)."""
    embedded_WBE = add_embedding(graph, as_numpy(net.embedding.weight), inputs.ids_WB)
    recurrent, pooled = net.recurrent, []
    for cell, direction in ((recurrent.cell, "forward"), (recurrent.backward_cell, "reverse")):
        if cell is not None:
            pooled += add_direction(graph, cell, direction, embedded_WBE, inputs, recurrent.pooling)
    pooled_BD = pooled[0] if len(pooled) == 1 else graph.add("Concat", *pooled, axis=1)
    head = net.head.linear
    logits = graph.add("Gemm", pooled_BD, as_numpy(head.weight), as_numpy(head.bias), transB=1)
    if net.head.ordinal:
        return add_ordinal_logits(graph, logits)
    return graph.add("Squeeze", logits, [1]) if net.head.outputs == 1 else logits


def add_ordinal_logits(graph: GraphBuilder, steps: str) -> str:
    """Add `model.network.ordinal_logits`: log-probabilities (B, K) from logits (B, K - 1)."""
    stopped = graph.add("Neg", graph.add("Softplus", steps))  # the logarithm of sigmoid(-step)
    passed = graph.add("Neg", graph.add("Softplus", graph.add("Neg", steps)))
    reached = graph.add("CumSum", passed, 1)
    first, last = [0, 1, 0, 0], [0, 0, 0, 1]
    return graph.add("Add", graph.add("Pad", reached, first), graph.add("Pad", stopped, last))


def add_embedding(graph: GraphBuilder, table_VE: FloatArray, ids_WB: str) -> str:
    """Look up word vectors (W, B, E)."""
    if not graph.int8:
        return graph.add("Gather", table_VE, ids_WB)
    # One scale per word; quantize_dynamic would use one scale for the whole table.
    table, scales_V = quantize_rows(table_VE)
    vectors = graph.add("Cast", graph.add("Gather", table, ids_WB), to=FLOAT)
    return graph.add("Mul", vectors, graph.add("Gather", scales_V[:, None], ids_WB))


def add_direction(
    graph: GraphBuilder, cell: nn.RNNBase, direction: str, tensor: str, inputs: NetworkInputs, pooling: str
) -> list[str]:
    """Add the layers of one direction and their pooling; returns tensors (B, H).

    With `sequence_lens`, the reverse direction starts at the last real token of each row and outputs keep the
    positions of their tokens, so rows need not be reversed.
    """
    last = ""
    for layer in range(cell.num_layers):
        outputs, last = add_layer(graph, cell, direction, layer, tensor, inputs.lengths_B)
        tensor = graph.add("Squeeze", outputs, [1])
    if pooling == "last":
        return [graph.add("Squeeze", last, [0])]
    # Outputs after the end of a row are 0 and would exceed negative maxima.
    masked = graph.add("Where", inputs.is_real_WB1, tensor, np.finfo(np.float32).min)
    maximum = graph.add("ReduceMax", masked, [0], keepdims=0)
    if pooling == "max":
        return [maximum]
    # The zeros after the end of a row do not change the sum, so no mask is needed.
    total = graph.add("ReduceSum", tensor, [0], keepdims=0)
    count = graph.add("Unsqueeze", graph.add("Cast", inputs.lengths_B, to=FLOAT), [1])
    return [maximum, graph.add("Div", total, count)]


def add_layer(
    graph: GraphBuilder, cell: nn.RNNBase, direction: str, layer: int, tensor: str, lengths_B: str
) -> tuple[str, str]:
    """Add one recurrent layer; returns its outputs (W, 1, B, H) and final state (1, B, H)."""
    kind = "lstm" if isinstance(cell, nn.LSTM) else "gru"
    input_GE, state_GH, *biases = (
        in_onnx_order(as_numpy(getattr(cell, f"{name}_l{layer}")), kind)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    bias = np.concatenate(biases)[None]
    read: tuple[Input, ...]
    attributes: dict[str, Any] = {"hidden_size": cell.hidden_size, "direction": direction}
    if kind == "lstm" and graph.int8:  # ONNX Runtime has no quantised GRU
        both = quantize_lstm(input_GE), quantize_lstm(state_GH)
        scales = [each for weights in both for each in (weights.scales, weights.zero_points)]
        read = (tensor, both[0].weights, both[1].weights, bias, lengths_B, "", "", "", *scales)
        outputs, last, _ = graph.add_multi("DynamicQuantizeLSTM", 3, *read, domain=MICROSOFT, **attributes)
        return outputs, last
    if kind == "gru":
        # PyTorch applies the reset gate after the product with the state; ONNX's default is before it.
        attributes["linear_before_reset"] = 1
    read = (tensor, input_GE[None], state_GH[None], bias, lengths_B)
    outputs, last = graph.add_multi(kind.upper(), 2, *read, **attributes)
    return outputs, last


def in_onnx_order(weights: FloatArray, kind: str) -> FloatArray:
    """Reorder the gates of a weight matrix or bias; gates are stacked along the first axis."""
    gates = np.split(weights, len(GATES[kind]))
    return np.concatenate([gates[place] for place in GATES[kind]])


def as_numpy(weights: Tensor) -> FloatArray:
    numbers: FloatArray = weights.detach().cpu().float().numpy()
    return numbers


# The linear n-gram model


def lookahead(ngrams: Ngrams) -> int:
    """Largest distance between the first and the last token of an n-gram."""
    return max(ngrams.longest - 1, ngrams.gaps + 1 if ngrams.gaps else 0)


def add_wide(graph: GraphBuilder, wide: WideModel, tokens: TokenRows) -> str:
    """Add the linear n-gram model; returns its logits (B,) or (B, K).

    With the scales r and weights w of a row's distinct buckets, the logit of a class is
    sum(r w) / sqrt(sum(r r)) + intercept. A table stores a column r w for each logit and the column r r.
    """
    no_bucket = 2**wide.ngrams.bits
    buckets = add_distinct(graph, add_buckets(graph, wide.ngrams, tokens, no_bucket), no_bucket)
    weights = wide.weights.reshape(no_bucket, -1)
    outputs = weights.shape[1]
    # The last row stays 0, so `no_bucket` adds nothing.
    table = np.zeros((no_bucket + 1, outputs + 1), np.float32)
    table[:-1, :-1] = wide.scales[:, None] * weights
    table[:-1, -1] = wide.scales**2
    sums = add_sums(graph, table, buckets)
    if wide.weights.ndim == 1:
        weighted, squares = (graph.add("Gather", sums, column, axis=1) for column in (0, 1))
    else:
        weighted, squares = graph.add_multi("Split", 2, sums, [outputs, 1], axis=1)
    norm = graph.add(
        "Sqrt", graph.add("Max", squares, np.float32(1e-30))
    )  # avoids 0 / 0 in rows without n-grams
    return graph.add("Add", graph.add("Div", weighted, norm), float32(wide.intercept))


def add_buckets(graph: GraphBuilder, ngrams: Ngrams, tokens: TokenRows, no_bucket: int) -> str:
    """Hash all n-grams as `model.ngrams` does; returns buckets (B, longest * features per token) int32.

    N-grams that contain an unknown word or padding are mapped to `no_bucket`.
    """
    shifted = [_shifted(graph, tokens, places) for places in range(lookahead(ngrams) + 1)]
    known = [graph.add("Greater", ids, UNK) for ids in shifted]  # PAD is below UNK
    first = key = add_mix(graph, shifted[0])
    all_known = known[0]
    features = [(key, all_known)]
    for place in range(1, ngrams.longest):
        key = add_join(graph, key, shifted[place])
        all_known = graph.add("And", all_known, known[place])
        features.append((key, all_known))
    if ngrams.gaps:
        pair = graph.add("Add", first, 1)  # distinguishes pairs with a gap from bigrams
        for place in range(2, 2 + ngrams.gaps):
            both_known = graph.add("And", known[0], known[place])
            features.append((add_join(graph, pair, shifted[place]), both_known))
    buckets = [_bucket(graph, key, is_known, ngrams.bits, no_bucket) for key, is_known in features]
    return graph.add("Concat", *buckets, axis=1)


def _shifted(graph: GraphBuilder, tokens: TokenRows, places: int) -> str:
    """Shift ids (B, longest) to the left by `places`."""
    stop = graph.add("Unsqueeze", graph.add("Add", tokens.longest, places), [0])
    return graph.add("Slice", tokens.ids, [places], stop, [1])


def _bucket(graph: GraphBuilder, key: str, is_known: str, bits: int, no_bucket: int) -> str:
    top = graph.add("BitShift", graph.add("Cast", key, to=UINT64), np.uint64(64 - bits), direction="RIGHT")
    return graph.add("Where", is_known, graph.add("Cast", top, to=INT32), np.int32(no_bucket))


def add_join(graph: GraphBuilder, key: str, token: str) -> str:
    """Append a word to the int64 key of an n-gram."""
    return add_mix(graph, graph.add("Add", graph.add("Mul", key, _as_int64(JOIN_FACTOR)), token))


def add_mix(graph: GraphBuilder, value: str) -> str:
    """Mix the bits of an int64 (the finaliser of MurmurHash3)."""
    # Products use int64: ONNX Runtime multiplies uint64 only since 1.21, and the low 64 bits are the same.
    # Shifts use uint64, because BitShift is not defined for signed integers.
    for factor in (*MIX_FACTORS, None):
        bits = graph.add("Cast", value, to=UINT64)
        shifted = graph.add("BitShift", bits, MIX_SHIFT, direction="RIGHT")
        value = graph.add("Cast", graph.add("BitwiseXor", bits, shifted), to=INT64)
        if factor is not None:
            value = graph.add("Mul", value, _as_int64(factor))
    return value


def _as_int64(number: np.uint64) -> npt.NDArray[np.int64]:
    """Reinterpret the bits of a uint64 as int64."""
    return np.array(number, np.uint64).view(np.int64)


def add_distinct(graph: GraphBuilder, buckets: str, no_bucket: int) -> str:
    """Sort each row (B, N) and replace duplicates by `no_bucket`: a bucket counts once per row."""
    size = graph.add("Shape", buckets, start=1, end=2)
    ordered, _ = graph.add_multi("TopK", 2, buckets, size, axis=1, largest=0, sorted=1)
    before = graph.add("Slice", ordered, [0], [-1], [1])
    before = graph.add("Pad", before, [0, 1, 0, 0], np.int32(-1))
    return graph.add("Where", graph.add("Equal", ordered, before), np.int32(no_bucket), ordered)


def add_sums(graph: GraphBuilder, table: FloatArray, buckets: str) -> str:
    """Sum the table's columns over the buckets (B, N); returns (B, columns)."""
    if not graph.int8:
        return graph.add("ReduceSum", graph.add("Gather", table, buckets), [1], keepdims=0)
    roots_table, steps = quantize_square_roots(table)
    roots = graph.add("Cast", graph.add("Gather", roots_table, buckets), to=FLOAT)
    signed_squares = graph.add("Mul", roots, graph.add("Abs", roots))
    return graph.add("Mul", graph.add("ReduceSum", signed_squares, [1], keepdims=0), steps)


# Both models together


def add_combined(graph: GraphBuilder, weights: Combination, network: str, wide: str | None) -> str:
    """Add the combination of both models' logits; returns logits (B,) or (B, K)."""
    logits = graph.add("Add", graph.add("Mul", network, float32(weights.net)), float32(weights.bias))
    return logits if wide is None else graph.add("Add", logits, graph.add("Mul", wide, float32(weights.wide)))


def add_cascade(
    graph: GraphBuilder, model: SavedModel, cascade: Cascade, tokens: TokenRows, wide: str
) -> str:
    """Add the calibrated n-gram model, and the network for the rows that it does not settle.

    Returns the logits (B,) or (B, K).
    """
    alone = cascade.calibration
    short = graph.add("Add", graph.add("Mul", wide, float32(alone.wide)), float32(alone.bias))
    if len(model.classes) == 2:
        margin_B = graph.add("Abs", short)
    else:
        largest, _ = graph.add_multi("TopK", 2, short, [2], axis=1)
        first, second = (graph.add("Gather", largest, column, axis=1) for column in (0, 1))
        margin_B = graph.add("Sub", first, second)
    unsettled_B = graph.add("Not", graph.add("GreaterOrEqual", margin_B, float32(cascade.margin)))
    rows = graph.add("Squeeze", graph.add("NonZero", unsettled_B), [0])
    # A row of one padding token is added: ONNX Runtime's recurrent operators crash on batches without rows.
    ids = graph.add("Pad", graph.add("Gather", tokens.ids, rows), [0, 0, 1, 0], PAD)
    lengths = graph.add("Concat", graph.add("Gather", tokens.lengths, rows), [1], axis=0)
    read = TokenRows(ids, lengths, graph.add("ReduceMax", lengths, keepdims=0))
    network = add_network(graph, model.net, add_network_inputs(graph, read, model.config.max_tokens))
    network = graph.add("Slice", network, [0], [-1], [0])
    combined = add_combined(graph, model.combination, network, graph.add("Gather", wide, rows))
    return graph.add("ScatterND", short, graph.add("Unsqueeze", rows, [1]), combined)


# 8 bits

INT8_MAX = 127
LSTM_WEIGHT_MAX = 63
"""Weights use only 7 of the 8 bits: x86 processors without VNNI add two products in 16 bits, which overflow
with 8-bit weights. With 7 bits, predictions do not depend on the processor."""


class QuantizedLstmWeights(NamedTuple):
    """Weights in the layout of ONNX Runtime's DynamicQuantizeLSTM."""

    weights: Int8Array
    """Shape (1, inputs, G)."""
    scales: FloatArray
    """Shape (1, G)."""
    zero_points: Int8Array
    """Shape (1, G), all 0."""


def quantize_rows(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Quantise a table; returns values (rows, width) and scales (rows,).

    The table is approximately values * scales[:, None].
    """
    values, scales = _scaled(table, INT8_MAX)
    return values, scales[:, 0]


def quantize_lstm(weights: FloatArray) -> QuantizedLstmWeights:
    """Quantise weights (G, inputs) with one scale per row."""
    values, scales = _scaled(weights, LSTM_WEIGHT_MAX)
    zero_points = np.zeros((1, len(weights)), np.int8)
    return QuantizedLstmWeights(np.ascontiguousarray(values.T)[None], scales.T.copy(), zero_points)


def quantize_square_roots(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Quantise the square roots of a table; returns values (rows, columns) and steps (columns,).

    The table is approximately values * abs(values) * steps. Most weights of a linear model are small, and
    with square roots, more of the 255 levels represent small values.
    """
    largest = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny)
    values = np.rint(np.sign(table) * np.sqrt(np.abs(table) / largest) * INT8_MAX).astype(np.int8)
    return values, (largest / INT8_MAX**2).astype(np.float32)


def _scaled(table: FloatArray, largest: int) -> tuple[Int8Array, npt.NDArray[Any]]:
    scales = np.abs(table).max(axis=1, keepdims=True) / largest
    scales[scales == 0] = 1.0  # avoids a division by 0 for rows of zeros, such as padding
    # Denormal scales are so coarse that quotients can exceed the range.
    values = np.clip(np.rint(table / scales), -largest, largest)
    return values.astype(np.int8), scales.astype(np.float32)
