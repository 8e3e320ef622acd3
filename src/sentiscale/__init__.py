"""Prepare reviews, train sentiment classifiers and use them: the command's verbs as Python functions.

>>> import sentiscale
>>> data = sentiscale.prepare("reviews.csv", "data", stars_column="stars")  # doctest: +SKIP
>>> run = sentiscale.train(data, "run")  # doctest: +SKIP
>>> run.predict("Great screen, but the battery died in a week.")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiscale.api import Model, Run, train
    from sentiscale.data.prepare import prepare
    from sentiscale.data.prepared import PreparedDataset
    from sentiscale.datasets.fetch import fetch
    from sentiscale.datasets.output import synth
    from sentiscale.inference.evaluate import evaluate
    from sentiscale.inference.explain import Explanation
    from sentiscale.inference.onnx_export import export
    from sentiscale.inference.onnx_runtime import OnnxPredictor
    from sentiscale.inference.predictor import Prediction, Predictor
    from sentiscale.label_errors.job import triage
    from sentiscale.report.eda import eda

_HOME = {
    "Explanation": "sentiscale.inference.explain",
    "Model": "sentiscale.api",
    "OnnxPredictor": "sentiscale.inference.onnx_runtime",
    "Prediction": "sentiscale.inference.predictor",
    "Predictor": "sentiscale.inference.predictor",
    "PreparedDataset": "sentiscale.data.prepared",
    "Run": "sentiscale.api",
    "eda": "sentiscale.report.eda",
    "evaluate": "sentiscale.inference.evaluate",
    "export": "sentiscale.inference.onnx_export",
    "fetch": "sentiscale.datasets.fetch",
    "prepare": "sentiscale.data.prepare",
    "synth": "sentiscale.datasets.output",
    "train": "sentiscale.api",
    "triage": "sentiscale.label_errors.job",
}

__all__ = [
    "Explanation",
    "Model",
    "OnnxPredictor",
    "Prediction",
    "Predictor",
    "PreparedDataset",
    "Run",
    "eda",
    "evaluate",
    "export",
    "fetch",
    "prepare",
    "synth",
    "train",
    "triage",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, because torch and Dask take seconds to load."""
    if name not in _HOME:
        raise AttributeError(f"module 'sentiscale' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
