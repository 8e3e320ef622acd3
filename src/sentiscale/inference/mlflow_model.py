"""The model of a tracked run for `mlflow.pyfunc.load_model`: a model directory, no pickle.

MLflow calls `_load_pyfunc`, since `tracking/mlflow_run.py` names this module in the model's `MLmodel` file.
"""

from collections.abc import Iterable
from typing import Any

from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Predictor

TEXT = "text"


class PyfuncModel:
    """Predicts reviews with MLflow's interface."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Predict reviews; returns a mapping with label and probability for each.

        Args:
            model_input: a list of texts, a column, or a table with a column `text` or a single column.
            params: ignored.

        Raises: UsageError for any other input.
        """
        return [prediction.as_dict() for prediction in self.predictor.stream(_texts(model_input))]


def _texts(model_input: Any) -> Iterable[str]:
    if hasattr(model_input, "columns"):
        columns = list(model_input.columns)
        if TEXT not in columns and len(columns) != 1:
            raise UsageError(f"the table has columns {columns}; it needs one named '{TEXT}', or only one.")
        model_input = model_input[TEXT if TEXT in columns else columns[0]]
    texts = [model_input] if isinstance(model_input, str) else list(model_input)
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise UsageError(f"a review is {type(wrong).__name__}; the model takes text.")
    return texts


def _load_pyfunc(path: str) -> PyfuncModel:
    return PyfuncModel(Predictor.load(path))
