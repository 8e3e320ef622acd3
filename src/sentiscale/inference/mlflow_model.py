"""What `mlflow.pyfunc.load_model` loads of a tracked run: the model directory as a Predictor, no pickle.

MLflow calls `_load_pyfunc`, by the name that `tracking/mlflow_run.py` wrote into the model's `MLmodel`.
"""

from collections.abc import Iterable
from typing import Any

from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Predictor

TEXT = "text"


class PyfuncModel:
    """Reviews in, one mapping with label and probability out for each."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Label reviews.

        Args:
            model_input: a list of texts, a column, or a table with a column `text` or a single column.
            params: none are known.

        Raises: UsageError for another kind of input.
        """
        return [prediction.as_dict() for prediction in self.predictor.stream(texts_of(model_input))]


def texts_of(model_input: Any) -> Iterable[str]:
    """The reviews of what MLflow hands on."""
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
