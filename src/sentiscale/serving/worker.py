"""The program of a worker process: it loads the model and answers batches until its socket closes.

Run as `python -m sentiscale.serving.worker DESCRIPTOR MODEL THREADS` by the front process only.
"""

import gc
import hashlib
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import BufferedRWPair
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiscale.errors import DataError, SentiscaleError
from sentiscale.model.directory import SavedModel, load_model, read_record
from sentiscale.serving.child import Message, packed, receive_blocking
from sentiscale.serving.pool import FILES, fingerprint

if TYPE_CHECKING:
    from sentiscale.inference.explain import Explanation
    from sentiscale.inference.predictor import Predictor


MOST_PADDING = 3.0
"""A batch that padding would make so many times larger is cut in two: short texts and long ones."""
LONGEST_READ = 2400
"""Characters beyond which a text takes no longer: about what the network reads of it."""

WARM_UP = ("Great screen, but the battery died in a week. ",) * 8


def main() -> None:
    """Answer the messages of the front process."""
    # Stopping is the front's business: a terminal's Ctrl-C and systemd's SIGTERM reach all processes at once.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    descriptor, path, threads = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        try:
            predictor, card = load(path, threads)
        except (SentiscaleError, OSError) as error:
            _send(stream, {"failed": str(error), "exit_code": getattr(error, "exit_code", 1)})
            return
        _send(stream, {"ready": card})
        try:
            answer_all(predictor, stream)
        except (BrokenPipeError, ConnectionResetError):
            return  # the front process has gone


def load(path: Path, threads: int) -> tuple["Predictor", dict[str, Any]]:
    """The model, ready to answer, and its card."""
    import torch

    from sentiscale.inference.explain import explain
    from sentiscale.inference.predictor import Predictor

    torch.set_num_threads(threads)
    model, card = load_with_card(path)
    predictor = Predictor(model)
    for repeats in (1, 4, 16, 64):  # loads the C library's threads and kernels, compiles what is not yet
        predictor.predict([text * repeats for text in WARM_UP])
    explain(predictor, WARM_UP[:1])  # has kernels of its own, and Captum to load
    gc.collect()
    gc.freeze()  # what is there now stays: no later search for garbage needs to go through it
    return predictor, card


def answer_all(predictor: "Predictor", stream: BufferedRWPair) -> None:
    """Answer batches until the other side closes; a batch that raises is answered with what it raised."""
    while (request := receive_blocking(stream)) is not None:
        try:
            answer = answered(predictor, request)
        except Exception as error:  # whatever it is, the process can go on
            answer = {"raised": type(error).__name__}
        _send(stream, answer)


def answered(predictor: "Predictor", request: Message) -> Message:
    """Predictions for `{"texts": […], "explain": bool}`, in the same order."""
    texts = request["texts"]
    if not request["explain"]:
        return {"predictions": predictions(predictor, texts)}
    from sentiscale.inference.explain import explain

    return {"predictions": [_explained(found) for found in explain(predictor, texts)]}


def predictions(predictor: "Predictor", texts: Sequence[str]) -> list[dict[str, Any]]:
    """What the model says of each text."""
    found: list[dict[str, Any]] = [{}] * len(texts)
    for places in by_length(texts):
        answers = predictor.predict([texts[place] for place in places])
        for place, prediction in zip(places, answers, strict=True):
            found[place] = prediction.as_dict()
    return found


def by_length(texts: Sequence[str]) -> list[list[int]]:
    """Places of texts that go through the network together: all, or the short ones apart from the long.

    A pass costs its rows times its longest row, so one long text would make its neighbours as slow as itself.
    """
    sizes = [min(len(text), LONGEST_READ) + 1 for text in texts]
    if len(texts) * max(sizes) <= MOST_PADDING * sum(sizes):
        return [list(range(len(texts)))]
    order = sorted(range(len(texts)), key=sizes.__getitem__)
    costs = [cut * sizes[order[cut - 1]] + (len(order) - cut) * max(sizes) for cut in range(1, len(order))]
    cut = 1 + costs.index(min(costs))
    return [order[:cut], order[cut:]]


def _explained(explanation: "Explanation") -> dict[str, Any]:
    words = [
        {"word": word.word, "start": word.start, "end": word.end, "contribution": word.contribution}
        for word in explanation.words
    ]
    own = {"logit": explanation.logit, "base": explanation.base, "words": words}
    return {**explanation.prediction.as_dict(), **own}


def _send(stream: BufferedRWPair, message: Message) -> None:
    stream.write(packed(message))
    stream.flush()


SCORES = ("accuracy", "loss", "f1", "precision", "recall", "auc", "ece", "rows", "confusion")
DIGEST_CHARACTERS = 16


def load_with_card(path: Path) -> tuple[SavedModel, dict[str, Any]]:
    """Read a model directory, and describe what was read.

    Raises: DataError when it is missing or damaged, or was replaced meanwhile.
    """
    before = fingerprint(path)
    model = in_memory(load_model(path))
    card = model_card(path, model)
    if fingerprint(path) != before:
        raise DataError(f"{path} was replaced while it was read.")
    return model, card


def in_memory(model: SavedModel) -> SavedModel:
    """The same without pages of the file, which safetensors maps: the table of words and the wide part's.

    Who copies a new model over the old file cuts it short for a moment; a process that reads a page then
    is ended by the system (SIGBUS).
    """
    words = model.net.embedding.weight
    words.data = words.data.clone()
    if model.wide is None:
        return model
    wide = replace(model.wide, scales=model.wide.scales.copy(), weights=model.wide.weights.copy())
    return replace(model, wide=wide)


def model_card(path: Path, model: SavedModel) -> dict[str, Any]:
    """The model as `GET /v1/model` shows it, without the limits of the service."""
    record = read_record(path)
    test, valid = record.get("test") or None, record.get("valid") or None
    folder = path.resolve()
    return {
        "name": folder.parent.name if folder.name == "model" else folder.name,
        "digest": digest(path),
        "cell": model.config.model.cell,
        "wide": model.wide is not None,
        "parameters": model.parameters,
        "vocab_size": len(model.vocab),
        "max_tokens": model.config.max_tokens,
        "cleaning": model.config.cleaning,
        "trained_at": record.get("finished_at") or record.get("started_at"),
        "train_seconds": record.get("train_seconds"),
        "data": _data(record, valid, test),
        "test": _scores(test),
        "valid": _scores(valid),
        "calibration": (test or {}).get("calibration") or None,
    }


def digest(path: Path) -> str:
    """A short digest of all that the answers depend on."""
    total = hashlib.sha256()
    for name in FILES:
        with open(path / name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:DIGEST_CHARACTERS]


def _data(
    record: dict[str, Any], valid: dict[str, Any] | None, test: dict[str, Any] | None
) -> dict[str, Any] | None:
    if not record:
        return None
    rows = {"train": ((record.get("data") or {}).get("rows") or {}).get("train")}
    rows |= {name: (scores or {}).get("rows") for name, scores in (("valid", valid), ("test", test))}
    return {"digest": record.get("data_digest"), "rows": rows}


def _scores(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if scores is None else {name: scores.get(name) for name in SCORES}


if __name__ == "__main__":
    main()
