"""How long do raw reviews take to become a model, and how good is it after how many seconds?

Run:      python benchmarks/bench_main_job.py TRAIN TEST --out records.jsonl [--seeds 0,1,2] [--peers]
Fixed:    default settings of `prepare` and `train`, all cores      Varies: seed, --wide/--no-wide, cell
          time budget at which a run of the same schedule is stopped
Timed:    `prepare` as a whole process; training as `train_seconds`: everything after `prepare` (wide part,
          validations and checkpoints included; start-up of the process and the scoring of the test set not)
Expect:   about 12 min on 2 cores for 213,000 training reviews and three seeds; test accuracy 0.931-0.934
Not for:  comparing hosts; choosing settings (the test file is scored once per run, choices use validation)

Peers (`pip install "sentiscale[compare]"`): fastText with bigrams, lr 0.25, 5 epochs, as its documentation
tunes it for this kind of data; TF-IDF of words and pairs with logistic regression by SGD, from scikit-learn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sentiscale.data.sources import Stream

THRESHOLDS = (0.90, 0.92, 0.925, 0.93)
"""Validation accuracies whose first time is noted."""

BUDGETS = (5, 15, 30, 45, 60, 90)
"""Seconds after which runs of the same schedule are stopped and scored on the test file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(arguments.out, "a", encoding="utf-8") as out:
        for record in measure(arguments, Path(folder)):
            out.write(json.dumps(record) + "\n")
            out.flush()
            print(json.dumps(record))


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[dict]:
    """One record a measurement."""
    data = folder / "data"
    prepared = verb("prepare", arguments.train, "--test", arguments.test, "--out", data, "--json")
    yield {"what": "prepare", **prepared}
    variants = [
        ("default", ()),
        ("lstm alone", ("--no-wide",)),
        ("gru alone", ("--no-wide", "--model", "gru")),
    ]
    for seed in map(int, arguments.seeds.split(",")):
        for name, flags in variants[: 3 if seed == 0 else 1]:
            run = folder / f"run-{name.replace(' ', '-')}-{seed}"
            result = verb("train", data, "--out", run, "--seed", seed, "--json", "--quiet", *flags)
            yield {"what": "train", "variant": name, "seed": seed, "reached": reached(run), **result}
    for seconds in BUDGETS:
        run = folder / f"run-{seconds}"
        limit = ("--time-limit", seconds, "--seed", 0)
        result = verb("train", data, "--out", run, "--json", "--quiet", *limit)
        yield {"what": "budget", "budget": seconds, **result}
    if arguments.peers:
        train, test = (plain(path, folder) for path in (arguments.train, arguments.test))
        cleaned = [normalised(path) for path in (train, test)]  # as its documentation advises; not timed
        yield {"what": "peer", "variant": "fastText bigram", **fasttext_bigram(*cleaned)}
        yield {"what": "peer", "variant": "TF-IDF + SGD", **tfidf_sgd(train, test)}


def verb(*arguments: object) -> dict:
    """Run one verb of the command in a process of its own; its JSON and its seconds."""
    started_at = time.perf_counter()
    command = [sys.executable, "-m", "sentiscale", *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {**json.loads(output), "process_seconds": round(time.perf_counter() - started_at, 2)}


def reached(run: Path) -> dict[str, float | None]:
    """Seconds at which validation accuracy first reached each threshold."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        str(threshold): next((ln["seconds"] for ln in lines if ln["valid_accuracy"] >= threshold), None)
        for threshold in THRESHOLDS
    }


def plain(path: Path, folder: Path) -> Path:
    """A decompressed copy: the peers read plain text."""
    copy = folder / f"{path.name}.plain"
    with Stream.detected(str(path)) as stream, open(copy, "wb") as file:
        while chunk := stream.read(2**20):
            file.write(chunk)
    return copy


def normalised(path: Path) -> Path:
    """The same file with every text cleaned by the `words` profile: lower case, punctuation apart."""
    import pyarrow as pa

    from sentiscale.text.clean import clean

    lines = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").split("\n") if " " in line]
    texts = clean(pa.array([text for _, text in lines], pa.large_string()), "words").texts()
    copy = path.with_suffix(".normalised")
    pairs = zip(lines, texts, strict=True)
    copy.write_text("".join(f"{label} {text}\n" for (label, _), text in pairs), encoding="utf-8")
    return copy


def fasttext_bigram(train: Path, test: Path) -> dict:
    import fasttext

    started_at = time.perf_counter()
    model = fasttext.train_supervised(
        str(train), wordNgrams=2, lr=0.25, epoch=5, dim=50, bucket=2_000_000, thread=2, verbose=0
    )
    seconds = time.perf_counter() - started_at
    rows, accuracy, _ = model.test(str(test))
    return {"train_seconds": round(seconds, 2), "test": {"accuracy": accuracy, "rows": rows}}


def tfidf_sgd(train: Path, test: Path) -> dict:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    texts, labels = labelled(train)
    started_at = time.perf_counter()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    features = vectorizer.fit_transform(texts)
    classifier = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=5, tol=None, random_state=0)
    classifier.fit(features, labels)
    seconds = time.perf_counter() - started_at
    texts, labels = labelled(test)
    accuracy = classifier.score(vectorizer.transform(texts), labels)
    return {"train_seconds": round(seconds, 2), "test": {"accuracy": accuracy, "rows": len(labels)}}


def labelled(path: Path) -> tuple[list[str], list[bool]]:
    """Texts and whether they are positive, of a fastText file."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    pairs = [line.split(" ", 1) for line in lines if " " in line]
    return [text for _, text in pairs], [label == "__label__2" for label, _ in pairs]


if __name__ == "__main__":
    main()
