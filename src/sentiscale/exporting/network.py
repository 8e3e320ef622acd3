"""The network as ONNX nodes: embedding, LSTM or GRU operators, pooling, head.

Shape suffixes as in `sentiscale.model`, with time first: W tokens, B rows, E embedding width, H units.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from sentiscale.exporting.graph import FLOAT, MICROSOFT, Graph, Value, axes
from sentiscale.exporting.quantised import int8_columns, int8_rows
from sentiscale.exporting.rows import NetworkRows
from sentiscale.model import SentimentNet

FloatArray = npt.NDArray[np.float32]

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
    graph: Graph, cell: nn.RNNBase, inputs: str, rows: NetworkRows, pooling: str,
    *, int8: bool, backward: bool = False,
) -> list[str]:  # fmt: skip
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
