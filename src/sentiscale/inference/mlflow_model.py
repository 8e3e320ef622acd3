"""Load the model of a tracked run with `mlflow.pyfunc.load_model`, from a model directory without pickle.

MLflow calls `_load_pyfunc` because `tracking/mlflow_run.py` names this module in the model's `MLmodel` file.
"""

from collections.abc import Iterable
from typing import Any

from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Predictor

TEXT = "text"


class PyfuncModel:
    """Predictor with the interface of an MLflow pyfunc model."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Predict reviews; returns one dictionary per review, with label, probability and probabilities.

        Args:
            model_input: a list or column of texts, or a table that has a column `text` or only one column.
            params: ignored.

        Raises: UsageError when the input has another form.
        """
        return [prediction.as_dict() for prediction in self.predictor.stream(_texts(model_input))]


def _texts(model_input: Any) -> Iterable[str]:
    if hasattr(model_input, "columns"):
        columns = list(model_input.columns)
        if TEXT not in columns and len(columns) != 1:
            raise UsageError(f"the table has columns {columns}; it needs a column '{TEXT}' or only one.")
        model_input = model_input[TEXT if TEXT in columns else columns[0]]
    texts = [model_input] if isinstance(model_input, str) else list(model_input)
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise UsageError(f"a review is of type {type(wrong).__name__}; it must be a str.")
    return texts


def _load_pyfunc(path: str) -> PyfuncModel:
    return PyfuncModel(Predictor.load(path))
