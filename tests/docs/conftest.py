"""What a page takes for granted, in small: reviews, prepared data, a run, a study."""

import io
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import REAL_DATA, REPOSITORY

STUDY = "benchmarks/results/scaling-study_epyc-2-cores_20261123.jsonl"

Lay = Callable[[tuple[str, ...], Path], None]


def make_reviews(folder: Path) -> None:
    """The same 2,000 reviews as fastText lines and as a table with stars, title, text and category."""
    from sentiscale.datasets.output import synth

    synth(2000, 5, out=folder / "reviews.ft.txt")
    synth(2000, 5, out=folder / "reviews.csv")


def make_collection(folder: Path) -> None:
    """The first real reviews, or generated ones where those are absent: a training file and a test file."""
    from sentiscale.datasets.output import synth

    for split, rows in (("train", 6000), ("test", 1000)):
        source, target = REAL_DATA / f"reviews-{split}.ft.txt.zst", folder / f"{split}.ft.txt"
        if source.exists():
            stream = io.BufferedReader(pa.input_stream(source, compression="zstd"))
            with stream as lines, open(target, "wb") as out:
                out.writelines(islice(lines, rows))
        else:
            synth(rows, rows, out=target)


def make_data(folder: Path) -> None:
    """The reviews, prepared."""
    from sentiscale.data.prepare import prepare

    prepare(folder / "reviews.ft.txt", folder / "data", workers=1)


def make_run(folder: Path) -> None:
    """A model of small sizes, trained on them."""
    from sentiscale import train

    sizes = {"model__hidden_dim": 8, "model__embedding_dim": 8, "wide__bits": 14}
    train(folder / "data", folder / "run", epochs=1, layout="1x1", **sizes)


def make_study(folder: Path) -> None:
    """The records of a study that was once measured."""
    (folder / "study").mkdir()
    shutil.copy(REPOSITORY / STUDY, folder / "study" / "records.jsonl")


MAKERS = {
    "reviews.ft.txt": make_reviews,
    "reviews.csv": make_reviews,
    "train.ft.txt": make_collection,
    "test.ft.txt": make_collection,
    "data": make_data,
    "run": make_run,
    "study": make_study,
}
NEEDS = {"data": ("reviews.ft.txt",), "run": ("data",)}


@pytest.fixture(scope="session")
def lay(tmp_path_factory: pytest.TempPathFactory) -> Lay:
    """Copy things by name into a folder; each is made once, when a page first needs it."""
    store = tmp_path_factory.mktemp("given")

    def make(name: str) -> None:
        if not (store / name).exists():
            for other in NEEDS.get(name, ()):
                make(other)
            MAKERS[name](store)

    def lay_out(names: tuple[str, ...], folder: Path) -> None:
        for name in names:
            make(name)
            copy = shutil.copytree if (store / name).is_dir() else shutil.copy
            copy(store / name, folder / name)

    return lay_out
