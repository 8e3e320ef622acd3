"""The processes of bench_predict.py: the network alone, ONNX Runtime, and the peers; and what they need.

Run:      by bench_predict.py: `predicting.py forward|onnx|fasttext|tfidf-lr MODEL [CORES] REVIEWS`, which
          prints rows, rows_per_s and accuracy as JSON; `predicting.py make NAME MODEL DATA FOLDER`;
          `predicting.py table OUT REVIEWS`
Peers:    they have no pipeline of their own for cleaning, so they get ours, inside the clock; their texts
          come in chunks of some 10,000 reviews, as ours do. Both predict on one core
"""

import json
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.data.inputs import Chunk, Inputs
from sentiscale.text.clean import clean

FORWARD_ROWS = 60_000
"""Rows whose batches are padded beforehand: some 50 MB."""
FORWARD_SECONDS = 10.0

Answer = Callable[[Chunk], npt.NDArray[np.bool_]]
"""Whether each review of a chunk is positive."""


def main(what: str, *arguments: str) -> None:
    if what == "make":
        MAKERS[arguments[0]](*map(Path, arguments[1:]))
    elif what == "table":
        write_table(Path(arguments[0]), arguments[1])
    elif what == "forward":
        print(json.dumps(forward(*arguments)))
    else:
        print(json.dumps(labelled(ANSWERS[what](*arguments[:-1]), arguments[-1])))


def chunks(reviews: str) -> Iterator[Chunk]:
    return Inputs.find([reviews], labelled=True).without_columns().chunks()


def labelled(answer: Answer, reviews: str) -> dict[str, float]:
    """Label the whole file."""
    started_at, rows, right = time.perf_counter(), 0, 0
    for chunk in chunks(reviews):
        rows += len(chunk)
        right += int(np.sum(answer(chunk) == chunk.labels))
    return {"rows": rows, "rows_per_s": rows / (time.perf_counter() - started_at), "accuracy": right / rows}


def forward(model: str, cores: str, reviews: str) -> dict[str, float]:
    """The network alone, on all cores, on batches that are there already; several times over."""
    from sentiscale.data.batches import padded_ids
    from sentiscale.inference.predictor import ChunkLogits, Predictor, SingleThreads

    predictor, batches, rows = Predictor.load(model), [], 0
    for chunk in chunks(reviews):
        encoded = predictor.encoder.encode(chunk.texts)
        batches += [
            padded_ids(encoded.ids, encoded.offsets, batch, predictor.model.config.max_tokens)
            for batch in ChunkLogits(predictor, encoded.ids, encoded.offsets).network_batches()
        ]
        rows += len(chunk)
        if rows >= FORWARD_ROWS:
            break
    done = 0
    with SingleThreads(int(cores)) as pool:
        list(pool.map(lambda batch: predictor.network_logits(*batch), batches[: 4 * int(cores)]))
        started_at = time.perf_counter()
        while time.perf_counter() - started_at < FORWARD_SECONDS:
            list(pool.map(lambda batch: predictor.network_logits(*batch), batches))
            done += rows
        seconds = time.perf_counter() - started_at
    return {"rows": done, "rows_per_s": done / seconds}


def onnx(model: str, cores: str) -> Answer:
    from sentiscale.inference.onnx_runtime import OnnxPredictor

    predictor = OnnxPredictor.load(model, threads=int(cores))
    encoder = predictor.encoder
    return lambda chunk: predictor.logits(encoder.encode(chunk.texts)) > 0


def cleaned(chunk: Chunk) -> list[str]:
    """Tokens with a space between, as the peers have learnt them."""
    return clean(chunk.texts, "words").texts()


def fasttext(model: str) -> Answer:
    import fasttext

    loaded = fasttext.load_model(model)
    return lambda chunk: np.array([row[0] == "__label__2" for row in loaded.predict(cleaned(chunk))[0]])


def tfidf(model: str) -> Answer:
    vectorizer, classifier = pickle.loads(Path(model).read_bytes())
    return lambda chunk: classifier.decision_function(vectorizer.transform(cleaned(chunk))) > 0


def make_fasttext(model: Path, data: Path, folder: Path) -> None:
    import fasttext

    from sentiscale.data.prepared import PreparedDataset
    from sentiscale.study.compare.contestants import CONTESTANTS
    from sentiscale.study.compare.peers.fasttext import zeroed_memory
    from sentiscale.study.compare.peers.training import write_fasttext

    write_fasttext(PreparedDataset.open(data), "train", folder / "train.txt", 0)
    recipe = dict(CONTESTANTS["fasttext"].recipe)
    with zeroed_memory():
        made = fasttext.train_supervised(str(folder / "train.txt"), seed=1, verbose=0, **recipe)
    made.save_model(str(folder / "fasttext.bin"))
    (folder / "train.txt").unlink()


def make_tfidf(model: Path, data: Path, folder: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    from sentiscale.data.prepared import PreparedDataset
    from sentiscale.study.compare.contestants import CONTESTANTS
    from sentiscale.study.compare.peers.training import texts

    recipe, dataset = CONTESTANTS["tfidf-lr"].recipe, PreparedDataset.open(data)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, recipe["ngrams"]),
        min_df=recipe["min_df"],
        sublinear_tf=True,
        tokenizer=str.split,
        token_pattern=None,
        lowercase=False,
    )
    classifier = SGDClassifier(
        loss="log_loss", alpha=recipe["alpha"], max_iter=recipe["passes"], tol=None, random_state=0
    )
    classifier.fit(
        vectorizer.fit_transform(texts(dataset, "train")), np.asarray(dataset.split("train").labels)
    )
    (folder / "tfidf-lr.bin").write_bytes(pickle.dumps((vectorizer, classifier)))


def make_onnx(model: Path, data: Path, folder: Path) -> None:
    from sentiscale.inference.onnx_export import export

    export(model, folder / "fp32.onnx", check=data, max_drop=0.5)


def make_int8(model: Path, data: Path, folder: Path) -> None:
    from sentiscale.inference.onnx_export import export

    export(model, folder / "int8.onnx", int8=True, check=data, max_drop=0.5)


def write_table(out: Path, reviews: str) -> None:
    """The same reviews as a table with a number, the label and the text."""
    schema = pa.schema({"id": pa.int64(), "stars": pa.int8(), "text": pa.string()})
    with pq.ParquetWriter(out, schema) as writer:
        for chunk in chunks(reviews):
            stars = pa.array(1 + 4 * np.asarray(chunk.labels, np.int8))
            writer.write_table(
                pa.table([pa.array(chunk.lines), stars, chunk.texts.cast(pa.string())], schema=schema)
            )


ANSWERS: dict[str, Callable[..., Answer]] = {"onnx": onnx, "fasttext": fasttext, "tfidf-lr": tfidf}
MAKERS = {"onnx": make_onnx, "onnx-int8": make_int8, "fasttext": make_fasttext, "tfidf-lr": make_tfidf}

if __name__ == "__main__":
    main(*sys.argv[1:])
