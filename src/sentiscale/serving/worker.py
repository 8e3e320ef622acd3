"""The program of a worker process, which loads the model and answers batches until its socket closes.

The front process runs it as `python -m sentiscale.serving.worker DESCRIPTOR MODEL THREADS [--full]`.
"""

import gc
import hashlib
import json
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiscale.errors import DataError, SentiscaleError
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, load_model, read_record
from sentiscale.model.files import FILES
from sentiscale.model.thresholds import ThresholdReport, read_threshold_report
from sentiscale.serving.pool import fingerprint
from sentiscale.serving.schema import ThresholdFacts
from sentiscale.serving.worker_process import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from sentiscale.inference.predictor import Predictor

MAX_PADDING = 3.0
"""A batch is split into short and long texts if padding would enlarge it by more than this factor."""
LONGEST_READ = 2400
"""Number of characters from which longer texts take no more time; about as much as the network reads."""
WARM_UP = ("Great screen, but the battery died in a week. ",) * 8
SCORES = (
    *("accuracy", "loss", "f1", "precision", "recall", "auc", "ece", "rows", "unsure", "confusion"),
    *("per_class", "macro_f1", "balanced_accuracy", "majority_share", "binary_accuracy"),
    *("mae", "quadratic_kappa"),
)
DIGEST_CHARACTERS = 16

Json = dict[str, Any]


def main() -> None:
    # Ctrl-C in a terminal and SIGTERM from systemd reach all processes, but only the front process decides
    # when to stop.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.disable(logging.WARNING)  # the front process logs
    descriptor, path, threads = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    full = "--full" in sys.argv[4:]
    with Connection(descriptor) as front:
        try:
            predictors, card = load(path, threads, full=full)
        except (SentiscaleError, OSError) as error:
            _send(front, {"failed": str(error), "exit_code": getattr(error, "exit_code", 1)})
            return
        try:
            _send(front, {"ready": card})
            while True:
                request = json.loads(front.recv_bytes(MAX_MESSAGE_BYTES))
                front.send_bytes(answer(predictors, request))
        except (EOFError, OSError):
            return  # the front process has ended


def _send(front: Connection, message: Json) -> None:
    front.send_bytes(json.dumps(message, separators=(",", ":")).encode())


def _json(prediction: Json) -> bytes:
    return json.dumps(prediction, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load(path: Path, threads: int, *, full: bool = False) -> tuple[Mapping[bool, "Predictor"], Json]:
    """Load the model, run it once at several lengths, and return it with its card.

    Of the two predictors, which share all but the decision, False is the one without thresholds.
    """
    import torch

    from sentiscale.inference.explain import explain
    from sentiscale.inference.predictor import Predictor

    torch.set_num_threads(threads)
    model, card = load_with_card(path)
    warm = Predictor(model, full=True)
    for repeats in (1, 4, 16, 64):  # starts threads, loads kernels and compiles functions
        warm.predict([text * repeats for text in WARM_UP])
    predictor = Predictor(model, full=full)
    explain(warm, WARM_UP[:1])  # uses other kernels, and loads Captum
    plain = copy(predictor)
    plain.decision = Decision(predictor.classes.names)
    gc.collect()
    gc.freeze()  # so that later collections skip the objects of the libraries
    return {True: predictor, False: plain}, card


def answer(predictors: Mapping[bool, "Predictor"], request: Json) -> bytes:
    """Answer `{"texts": […], "explain": bool, "thresholds": bool}` with a line of JSON, or with the error.

    After the line `{}`, there is a line per prediction, in the order of the texts: the front process sends
    them on as they are.
    """
    try:
        predict = explanations if request["explain"] else predictions
        found = predict(predictors[request["thresholds"]], request["texts"])
        return b"\n".join([b"{}", *map(_json, found)])
    except Exception as error:  # any exception: the process can continue
        return _json({"raised": type(error).__name__})


def predictions(predictor: "Predictor", texts: Sequence[str]) -> list[Json]:
    found: list[Json] = [{}] * len(texts)
    for places in by_length(texts):
        for place, prediction in zip(places, predictor.predict([texts[i] for i in places]), strict=True):
            found[place] = vars(prediction)  # `asdict` would copy each probability
    return found


def explanations(predictor: "Predictor", texts: Sequence[str]) -> list[Json]:
    from sentiscale.inference.explain import explain

    return [
        {
            **found.prediction.as_dict(),
            "class": found.target,
            "logit": found.logit,
            "base": found.base,
            "words": [
                {"word": word.word, "start": word.start, "end": word.end, "contribution": word.contribution}
                for word in found.words
            ],
        }
        for found in explain(predictor, texts)
    ]


def by_length(texts: Sequence[str]) -> list[list[int]]:
    """Group the indices of texts by forward pass: all together, or short and long texts separately.

    A pass costs its number of rows times its longest row, so one long text makes all others equally slow.
    """
    sizes = [min(len(text), LONGEST_READ) + 1 for text in texts]
    if len(texts) * max(sizes) <= MAX_PADDING * sum(sizes):
        return [list(range(len(texts)))]
    order = sorted(range(len(texts)), key=sizes.__getitem__)
    costs = [cut * sizes[order[cut - 1]] + (len(order) - cut) * max(sizes) for cut in range(1, len(order))]
    cut = 1 + costs.index(min(costs))
    return [order[:cut], order[cut:]]


def load_with_card(path: Path) -> tuple[SavedModel, Json]:
    """Load a model directory, and return the model with its card.

    Raises: DataError when the directory is missing or damaged, or is replaced during loading.
    """
    before = fingerprint(path)
    model = in_memory(load_model(path))
    card = model_card(path, model)
    if fingerprint(path) != before:
        raise DataError(f"{path} was replaced while it was read.")
    return model, card


def in_memory(model: SavedModel) -> SavedModel:
    """Copy the arrays that safetensors maps from the file: the embedding and the n-gram model's tables.

    Copying a new model over the old file truncates it briefly, and the system kills a process that reads a
    mapped page meanwhile (SIGBUS).
    """
    words = model.net.embedding.weight
    words.data = words.data.clone()
    if model.wide is None:
        return model
    wide = replace(model.wide, scales=model.wide.scales.copy(), weights=model.wide.weights.copy())
    return replace(model, wide=wide)


def model_card(path: Path, model: SavedModel) -> Json:
    """Describe the model for `GET /v1/model`, without the limits of the service."""
    record = read_record(path)
    test, valid = record.get("test") or {}, record.get("valid") or {}
    folder = path.resolve()
    train_rows = ((record.get("data") or {}).get("rows") or {}).get("train")
    rows = {"train": train_rows, "valid": valid.get("rows"), "test": test.get("rows")}
    return {
        "name": folder.parent.name if folder.name == "model" else folder.name,
        "digest": digest(path),
        "classes": model.classes.names,
        "kind": model.classes.kind,
        "thresholds": model.config.thresholds and model.config.thresholds.model_dump(),
        "threshold_reports": threshold_reports(path),
        "cell": model.config.model.cell,
        "wide": model.wide is not None,
        "parameters": model.parameters,
        "vocab_size": len(model.vocab),
        "max_tokens": model.config.max_tokens,
        "cleaning": model.config.cleaning,
        "cleaning_version": model.config.cleaning_version,
        "trained_at": record.get("finished_at") or record.get("started_at"),
        "train_seconds": record.get("train_seconds"),
        "data": {"digest": record.get("data_digest"), "rows": rows} if record else None,
        "test": {name: test.get(name) for name in SCORES} if test else None,
        "valid": {name: valid.get(name) for name in SCORES} if valid else None,
        "calibration": test.get("calibration") or None,
    }


def threshold_reports(path: Path) -> list[Json]:
    """How the thresholds were chosen, without the path of the data; empty if the report is unreadable."""
    try:
        report = read_threshold_report(path) or ThresholdReport()
    except (OSError, DataError):
        return []
    fields = set(ThresholdFacts.model_fields)
    return [entry.model_dump(mode="json", include=fields) for entry in report.entries]


def digest(path: Path) -> str:
    """Short digest of all files that predictions depend on."""
    total = hashlib.sha256()
    for name in FILES:
        with open(path / name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:DIGEST_CHARACTERS]


if __name__ == "__main__":
    main()
