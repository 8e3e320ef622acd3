"""Does a review get the same probability by every way there is: Python, pipe, files, HTTP, ONNX?

Run:      python benchmarks/answers_equal.py MODEL REVIEWS --rows 2000 --out answers-equal_HOST_DATE.md
          REVIEWS has one review a line, plain or compressed; labels in front are dropped
Fixed:    the reviews, of which the last 15 are odd ones: empty, 2,500 words, one word of 20,000 letters,
          emoji, right to left, control characters        Varies: the way, neighbours, threads, processes
Compared: with Python in 32 bits, one review at a time, one thread: the largest |difference| of the
          probability of "positive", and the labels that differ
Expect:   every way in 32 bits at 1e-5 or less (else the exit code is 1); int8 and bf16 stand there to be
          seen; 3 minutes for 2,000 reviews on 2 cores
Not for:  speed (bench_predict.py, bench_serve.py)
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "400")  # as the command line does, for its reasons; before torch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_serve import TEXTS, all_started, read_texts, serving
from measured import provenance
from results_page import heading

import sentiscale
from sentiscale.errors import UsageError
from sentiscale.inference.onnx_graph import onnx_bytes
from sentiscale.model.metrics import probabilities
from sentiscale.parallel.cpu import torch_threads

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
from tests.serving.odd_texts import ODD_TEXTS

MOST = 1e-5
"""Difference of a probability that is allowed."""

Command = Callable[[Sequence[object], str], str]
"""Runs `sentiscale` with these arguments and this standard input; its standard output."""


@dataclass(frozen=True)
class Bench:
    """What all ways share."""

    model: Path
    texts: list[str]
    folder: Path
    port: int
    """Where `sentiscale serve` answers for the same model."""
    command: Command
    clients: int = 64
    explained: int = 200
    """Texts that are sent to be explained, which takes a hundred times as long."""


@dataclass(frozen=True)
class Answers:
    """Probabilities (rows,) of "positive" by one way, for the first rows of the texts."""

    way: str
    positive: np.ndarray
    exact: bool = True
    """Whether it computes in 32 bits, so that it has to give the same."""
    labels: Sequence[str] = field(default=())
    """Labels where the way names them; else they follow from the probabilities."""

    @property
    def is_positive(self) -> np.ndarray:
        """The labels as truth values."""
        if self.labels:
            return np.array([label == "positive" for label in self.labels])
        return self.positive > 0.5


@dataclass(frozen=True)
class Compared:
    """One line of the table."""

    way: str
    rows: int
    largest: float
    """Largest difference of a probability."""
    other_labels: int
    exact: bool

    @property
    def is_equal(self) -> bool:
        """Whether it gives what it has to give."""
        return not self.exact or self.largest <= MOST


def compared(reference: np.ndarray, answers: Answers) -> Compared:
    """How far a way is from the reference."""
    expected = reference[: len(answers.positive)]
    differences = np.abs(np.asarray(answers.positive, np.float64) - expected)
    other_labels = int(np.sum(answers.is_positive != (expected > 0.5)))
    return Compared(
        answers.way, len(expected), float(differences.max(initial=0.0)), other_labels, answers.exact
    )


def compare(bench: Bench) -> Iterator[Compared]:
    """Every way against Python, one review at a time."""
    model = sentiscale.Model.load(bench.model)
    reference = one_by_one(model, bench.texts, 1)
    for ways in (in_python, by_command, by_http, by_onnx):
        for answers in ways(bench, model):
            yield compared(reference, answers)


def one_by_one(model: sentiscale.Model, texts: Sequence[str], threads: int) -> np.ndarray:
    """Probabilities (rows,), each review alone."""
    with torch_threads(threads):
        return np.array([model.predict_proba(text)[0, 1] for text in texts])


def in_python(bench: Bench, model: sentiscale.Model) -> Iterator[Answers]:
    """Any number at a time, any neighbours, any number of threads; half the digits to be seen."""
    texts = bench.texts
    yield Answers("Python, one at a time, 2 threads", one_by_one(model, texts, 2))
    for size, threads in ((7, 1), (256, 1), (len(texts), 1), (len(texts), 2)):
        how = "all at once" if size == len(texts) else f"{size} at a time"
        yield Answers(f"Python, {how}, {threads} thread(s)", together(model, texts, size, threads))
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(len(texts))
        found = np.empty(len(texts))
        found[order] = together(model, [texts[place] for place in order], 64, 1)
        yield Answers(f"Python, 64 at a time, neighbours shuffled ({seed})", found)
    streamed = np.array([found.positive_probability for found in model.stream(texts, 100)])
    yield Answers("Python, `stream`", streamed)
    try:
        half = sentiscale.Model.load(bench.model, precision="bf16")
    except UsageError:  # a processor without it
        return
    yield Answers("Python, bf16", together(half, texts, len(texts), 1), exact=False)


def together(model: sentiscale.Model, texts: Sequence[str], size: int, threads: int) -> np.ndarray:
    """Probabilities (rows,), `size` reviews at a time."""
    with torch_threads(threads):
        parts = [
            model.predict_proba(list(texts[start : start + size]))[:, 1]
            for start in range(0, len(texts), size)
        ]
    return np.concatenate(parts)


def by_command(bench: Bench, model: sentiscale.Model) -> Iterator[Answers]:
    """The verb `predict`: through a pipe, and from file to file."""
    lines = "".join(f"{text}\n" for text in bench.texts)
    said = json.loads(bench.command(("predict", bench.model, "-", "--json", "--quiet"), lines))
    yield from_objects("pipe to JSON: `predict MODEL --json`", said["predictions"])
    plain, columns = bench.folder / "reviews.txt", bench.folder / "reviews.parquet"
    plain.write_text(lines, encoding="utf-8", newline="")
    pq.write_table(pa.table({"text": bench.texts}), columns)
    for name, source in (("lines", plain), ("Parquet", columns)):
        out = bench.folder / f"{name}-labelled.parquet"
        bench.command(("predict", bench.model, source, "--out", out, "--workers", 2, "--quiet"), "")
        yield from_objects(f"{name} to Parquet: `predict --workers 2`", pq.read_table(out).to_pylist())


def by_http(bench: Bench, model: sentiscale.Model) -> Iterator[Answers]:
    """The service: single reviews that meet in a batch, lists, and what the page sends."""
    texts = bench.texts
    singles = [{"texts": [text]} for text in texts]
    how = f"HTTP, one a request, {bench.clients} requests at once"
    yield from_objects(how, ask_all(bench, singles, bench.clients))
    for size, clients in ((32, 8), (256, 2)):
        lists = [{"texts": texts[start : start + size]} for start in range(0, len(texts), size)]
        yield from_objects(f"HTTP, lists of {size}, {clients} at once", ask_all(bench, lists, clients))
    own = {"Origin": f"http://127.0.0.1:{bench.port}", "Sec-Fetch-Site": "same-origin"}
    pages = [{"texts": texts[start : start + 128], "explain": False} for start in range(0, len(texts), 128)]
    yield from_objects("HTTP as the page asks for many: lists of 128", ask_all(bench, pages, 2, own))
    short = texts[: bench.explained]
    wanted = [{"texts": [text], "explain": True} for text in short]
    yield from_objects("HTTP as the page asks for one: explained", ask_all(bench, wanted, 2, own))


def by_onnx(bench: Bench, model: sentiscale.Model) -> Iterator[Answers]:
    """The exported file in ONNX Runtime; 8 bits to be seen."""
    plain, small = bench.folder / "model.onnx", bench.folder / "model-int8.onnx"
    bench.command(("export", bench.model, "--out", plain, "--quiet"), "")
    small.write_bytes(onnx_bytes(model.model, int8=True))
    for name, file, threads, size in (
        ("ONNX, one at a time", plain, 1, 1),
        ("ONNX, all at once", plain, 1, len(bench.texts)),
        ("ONNX, all at once, 2 threads", plain, 2, len(bench.texts)),
        ("ONNX int8, all at once", small, 1, len(bench.texts)),
    ):
        predictor = sentiscale.OnnxPredictor.load(file, threads=threads)
        parts = [
            predictor.logits(predictor.encoder.encode(bench.texts[start : start + size]))
            for start in range(0, len(bench.texts), size)
        ]
        yield Answers(name, probabilities(np.concatenate(parts))[:, 1], exact=file == plain)


def from_objects(way: str, found: Sequence[dict[str, Any]]) -> Answers:
    """Answers that come as objects."""
    positive = np.array([each["positive_probability"] for each in found])
    return Answers(way, positive, labels=[each["label"] for each in found])


def ask_all(
    bench: Bench, requests: Sequence[dict[str, Any]], clients: int, headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """The predictions of all requests in order, sent over so many connections at once."""
    own = threading.local()
    opened: list[http.client.HTTPConnection] = []
    head = {"Content-Type": "application/json", **(headers or {})}

    def ask(request: dict[str, Any]) -> list[dict[str, Any]]:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=120)
            opened.append(own.connection)
        own.connection.request("POST", "/v1/predict", json.dumps(request).encode(), head)
        answer = own.connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"the service answered {answer.status}: {content}")
        predictions: list[dict[str, Any]] = content["predictions"]
        return predictions

    with ThreadPoolExecutor(clients) as pool:
        found = [prediction for answer in pool.map(ask, requests) for prediction in answer]
    for connection in opened:
        connection.close()
    return found


def run_command(arguments: Sequence[object], stdin: str) -> str:
    """Run the real command."""
    command = [sys.executable, "-m", "sentiscale", *map(str, arguments)]
    done = subprocess.run(command, input=stdin.encode(), stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments[:2]))} ended with {done.returncode}")
    return done.stdout.decode()


def page(found: Sequence[Compared], command: str, about: dict[str, Any]) -> str:
    """The table, with where it comes from."""
    lines = [
        *heading("The same review, the same answer by every way", command, about),
        "Compared with Python in 32 bits, one review at a time, one thread. Allowed: 1e-5.",
        "",
        "| way | reviews | largest difference of a probability | other labels | |",
        "|---|---|---|---|---|",
    ]
    for each in found:
        verdict = "to be seen" if not each.exact else "ok" if each.is_equal else "**too far**"
        lines.append(f"| {each.way} | {each.rows:,} | {each.largest:.1e} | {each.other_labels} | {verdict} |")
    return "\n".join(lines) + "\n"


def measure(arguments: argparse.Namespace, folder: Path) -> list[Compared]:
    """All ways, told as they come."""
    found = []
    real = read_texts(str(arguments.reviews), folder)[: arguments.rows - len(ODD_TEXTS)]
    with serving(arguments.model, folder, "--workers", 2) as service:
        all_started(service)
        texts = [*real, *ODD_TEXTS.values()]
        bench = Bench(
            arguments.model, texts, folder, service.port, run_command, explained=arguments.explained
        )
        for each in compare(bench):
            print(f"{each.way}: {each.largest:.1e}, {each.other_labels} other labels", file=sys.stderr)
            found.append(each)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("reviews", type=Path, help="reviews, one a line")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--explained", type=int, default=200, help="reviews to be explained over HTTP")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    arguments = parser.parse_args()
    if arguments.rows > TEXTS:
        parser.error(f"--rows is {arguments.rows}; at most {TEXTS} are compared")
    about = provenance()
    with tempfile.TemporaryDirectory() as name:
        found = measure(arguments, Path(name))
    shown = f"{arguments.model.resolve().parent.name}/{arguments.model.name} {arguments.reviews.name}"
    command = f"python benchmarks/answers_equal.py {shown} --rows {arguments.rows} --out {arguments.out.name}"
    arguments.out.write_text(page(found, command, about), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))
    sys.exit(0 if all(each.is_equal for each in found) else 1)


if __name__ == "__main__":
    main()
