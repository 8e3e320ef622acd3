"""A saved model as one ONNX file: token ids and lengths in, probability and logit out."""

from importlib.metadata import version

import numpy as np
from onnx import ModelProto, checker, helper

from sentiscale.errors import UsageError
from sentiscale.exporting.facts import Facts
from sentiscale.exporting.graph import FLOAT, INT64, Graph
from sentiscale.exporting.network import add_network
from sentiscale.exporting.rows import add_network_rows, add_rows
from sentiscale.exporting.widepart import add_wide, look_ahead
from sentiscale.modeldir import SavedModel

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
