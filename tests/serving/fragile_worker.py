"""The real worker, but for a fault: a text with the word `deadly` ends its process, `faulty` raises."""

import os
from collections.abc import Sequence
from typing import Any

from sentiscale.serving import worker

answer_as_usual = worker.predictions


def predictions(predictor: Any, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Answer, unless it is the end."""
    if any("deadly" in text for text in texts):
        os._exit(9)
    if any("faulty" in text for text in texts):
        raise ValueError("a fault")
    return answer_as_usual(predictor, texts)


if __name__ == "__main__":
    worker.predictions = predictions
    worker.main()
