"""Explanations as columns beside the predictions."""

import pyarrow as pa

from sentiscale.explain import Explanation, explain
from sentiscale.labelling.inputs import Chunk
from sentiscale.labelling.outputs import EXPLAINED
from sentiscale.predictor import Predictor


def texts_of(chunk: Chunk) -> list[str]:
    """The reviews as strings."""
    texts: list[str] = chunk.texts.cast(pa.large_string()).to_pylist()
    return texts


def explained(predictor: Predictor, chunk: Chunk) -> list[Explanation]:
    """What each word of each review of a chunk contributed."""
    return explain(predictor, texts_of(chunk))


def explained_table(explanations: list[Explanation]) -> pa.Table:
    """The columns logit, base and words."""
    rows = [
        {
            "logit": found.logit,
            "base": found.base,
            "words": [
                {"word": w.word, "start": w.start, "end": w.end, "contribution": w.contribution}
                for w in found.words
            ],
        }
        for found in explanations
    ]
    return pa.Table.from_pylist(rows, EXPLAINED)
