"""Prepare reviews, train sentiment classifiers, put them to use. The verbs of the command, in Python.

>>> import sentiscale
>>> data = sentiscale.prepare("reviews.csv", "data", stars_column="stars")  # doctest: +SKIP
>>> run = sentiscale.train(data, "run")  # doctest: +SKIP
>>> run.predict("Great screen, but the battery died in a week.")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiscale.analysis.eda import eda
    from sentiscale.api import Model, Run, train
    from sentiscale.data.prepare import prepare
    from sentiscale.data.prepared import PreparedDataset
    from sentiscale.evaluation import evaluate
    from sentiscale.explain import Explanation
    from sentiscale.exporting.job import export
    from sentiscale.exporting.runtime import OnnxPredictor
    from sentiscale.fetching.fetch import fetch
    from sentiscale.predictor import Prediction, Predictor
    from sentiscale.synthetic.output import synth
    from sentiscale.triaging.job import triage

_HOME = {
    "Explanation": "sentiscale.explain",
    "Model": "sentiscale.api",
    "OnnxPredictor": "sentiscale.exporting.runtime",
    "Prediction": "sentiscale.predictor",
    "Predictor": "sentiscale.predictor",
    "PreparedDataset": "sentiscale.data.prepared",
    "Run": "sentiscale.api",
    "eda": "sentiscale.analysis.eda",
    "evaluate": "sentiscale.evaluation",
    "export": "sentiscale.exporting.job",
    "fetch": "sentiscale.fetching.fetch",
    "prepare": "sentiscale.data.prepare",
    "synth": "sentiscale.synthetic.output",
    "train": "sentiscale.api",
    "triage": "sentiscale.triaging.job",
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
    """Import a public name when it is first used: torch and Dask take seconds to load."""
    if name not in _HOME:
        raise AttributeError(f"module 'sentiscale' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
