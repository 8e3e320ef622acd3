"""Preparation by engine and workers: sentiscale's, and what pandas, Dask and Polars do of it.

`sentiscale` prepares completely. All others only clean: they stop where counting words, splitting without
leaks, encoding and checking begin. So their rows a second are not those of the same work; `sentiscale-clean`
does what they do, no more, and is what they compare with. Each record says which of the two it was: `does`
and `complete` in its `shape`.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path

from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import PreparedDataset
from sentiscale.data.sources import Stream, compression_of
from sentiscale.errors import DataError, UsageError
from sentiscale.model.directory import load_model
from sentiscale.records import available_cores
from sentiscale.study.bench.child import PredictJob, PrepareJob
from sentiscale.study.bench.child import run as run_fresh
from sentiscale.study.bench.plan import LeftOut, StudyPlan
from sentiscale.study.bench.run import Beside, Conditions, changed, record, worker_counts
from sentiscale.study.records import BenchRun, Case

WARM_UP_MB = 2
CHUNK = 2**20


@dataclass(frozen=True)
class RawFiles:
    """Plain files that are there as long as the block of `raw_files` is open."""

    names: list[str]
    """As they were given."""
    plain: list[Path]
    head: Path
    """The first lines of the first file."""
    rows: int
    """Lines of all files."""
    size: int
    """Bytes of all plain files."""
    digest: str
    """SHA-256 of their content."""


@contextmanager
def raw_files(given: Sequence[str | Path], folder: Path) -> Iterator[RawFiles]:
    """Look at review files, and unpack compressed ones into `folder`.

    Raises:
        UsageError: a file is not in fastText's format, which is all that every engine reads.
        DataError: a file is missing, damaged or empty.
    """
    corpus = Corpus.find(list(given))
    for source in corpus.sources:
        if source.table.format != "fasttext" or source.pipe is not None:
            kind = "a pipe" if source.pipe else source.table.format
            raise UsageError(
                f"--prepare got {source.path}, {kind}; engines are compared on files of fastText lines "
                "(`__label__2 text`), plain or compressed. "
                "`sentiscale synth` makes such files."
            )
    plain_files = [plain(Path(path), folder / f"input-{n}.txt") for n, path in enumerate(corpus.paths)]
    rows, size, digest = 0, 0, hashlib.sha256()
    for path in plain_files:
        chunk = b""
        with open(path, "rb") as file:
            while more := file.read(CHUNK):
                chunk, rows, size = more, rows + more.count(b"\n"), size + len(more)
                digest.update(more)
        rows += chunk[-1:] not in (b"", b"\n")  # a last line without an end is one
    if rows == 0:
        raise DataError(f"{', '.join(corpus.paths)}: no line of text to prepare. Give files with reviews.")
    names = [Path(path).name for path in corpus.paths]
    yield RawFiles(
        names, plain_files, head(plain_files[0], folder / "head.txt"), rows, size, digest.hexdigest()
    )


def plain(path: Path, copy: Path) -> Path:
    """The file itself, or an unpacked copy; either way it is in the page cache afterwards."""
    compression = compression_of(str(path))
    with Stream(str(path), compression) as stream, open(copy if compression else "/dev/null", "wb") as file:
        while chunk := stream.read(CHUNK):
            file.write(chunk)
    return copy if compression else path


def head(path: Path, copy: Path) -> Path:
    """The first lines of a file."""
    with open(path, "rb") as file:
        start = file.read(WARM_UP_MB * 10**6)
        whole = not file.read(1)
    copy.write_bytes(start if whole else start[: start.rfind(b"\n") + 1])
    return copy


CLEANS = "cleans (a-z only), drops empty and equal texts, writes one Parquet file"
COMPLETE = (
    "cleans (words), reports bad rows, drops equal texts, splits without leaks, counts words, "
    "encodes, checks, writes a prepared dataset"
)


@dataclass(frozen=True)
class Engine:
    """One way to prepare."""

    name: str
    cleaner: str
    """Its name in `cleaners.CLEANERS`."""
    needs: tuple[str, ...] = ()
    """What must be importable."""
    scales: bool = True
    """Whether it can take more than one worker."""
    complete: bool = False
    """Whether it prepares all that training needs; else it only cleans."""

    @property
    def missing(self) -> str | None:
        """What it lacks here, and how to get it, or None."""
        lacking = [name for name in self.needs if find_spec(name) is None]
        return f"it needs {', '.join(lacking)}: pip install 'sentiscale[bench]'" if lacking else None

    def case(self, workers: int) -> Case:
        """The case of so many workers."""
        return Case(kind="prepare", engine=self.name, engine_workers=workers, collectives=False)


ENGINES = (
    Engine("sentiscale", "sentiscale", complete=True),
    Engine("sentiscale-clean", "sentiscale-clean"),
    Engine("dask", "dask", ("pandas",)),
    Engine("pandas", "pandas", ("pandas",), scales=False),
    Engine("polars", "polars-dedupe", ("polars",)),
)


@dataclass(frozen=True)
class Preparing:
    """Cases of kind `prepare`."""

    files: RawFiles
    folder: Path
    """Where outputs are written and removed, and messages of a failed run are kept."""
    workers: tuple[int, ...] = ()
    """How many to try; empty is 1, 2, 4, ... up to all cores."""

    @property
    def cases(self) -> list[Case]:
        """Engines that are installed, each with every number of workers it can take."""
        counts = worker_counts(available_cores(), self.workers)
        return [
            engine.case(count)
            for engine in ENGINES
            if engine.missing is None
            for count in (counts if engine.scales else [1])
        ]

    @property
    def left_out(self) -> list[LeftOut]:
        """Engines that are not installed."""
        return [LeftOut(case=engine.case(1), reason=engine.missing) for engine in ENGINES if engine.missing]

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Prepare the files once, into a temporary folder.

        Raises: SentiscaleError when the engine fails.
        """
        engine = engine_called(case.engine)
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=self.folder) as name:
            job = PrepareJob(
                engine=engine.cleaner,
                workers=case.engine_workers,
                files=self.files.plain,
                warm_up=self.files.head,
                folder=Path(name).resolve(),
            )
            label = f"preparation with {case.engine}, {case.engine_workers} workers"
            done = run_fresh(job, label, self.folder, case.engine_workers)
        shape = {
            **self._shape(engine),
            "files": self.files.names,
            "rows_out": done.timed.rows,
            "bytes_out": done.timed.bytes_out,
            "mb_per_s": round(self.files.size / 1e6 / max(done.timed.seconds, 1e-9), 2),
        }
        kept = record(case, repeat, done, self.files.digest, self.files.rows, shape)
        return kept, done.other_cores

    def differences(self, run: BenchRun) -> Iterator[str]:
        """Why a kept run was another preparation."""
        yield from changed(run, self.files.digest, self._shape(engine_called(run.case.engine)))

    def _shape(self, engine: Engine) -> dict[str, object]:
        does = COMPLETE if engine.complete else CLEANS
        return {"bytes_in": self.files.size, "complete": engine.complete, "does": does}


def engine_called(name: str) -> Engine:
    """The engine of this name."""
    return next(engine for engine in ENGINES if engine.name == name)


BATCH_SIZES = (1, 128, 8192)
"""One text at a time, as a person asks; as a server collects them; as a file is labelled."""

DEFAULT_ROWS = 4096


@dataclass(frozen=True)
class Predicting:
    """Cases of kind `predict`."""

    model: Path
    """A model directory."""
    cell: str
    texts: Path
    """One JSON list of strings."""
    rows: int
    """How many they are."""
    digest: str
    """Of model and texts."""
    origin: str
    """Where the texts are from."""
    folder: Path
    """Where messages of a failed run are kept."""
    threads: tuple[int, ...] = ()
    """How many to try; empty is 1, 2, 4, ... up to all cores."""
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    @property
    def cases(self) -> list[Case]:
        """Every number of threads with every batch size; batches beyond the texts would be the same."""
        sizes = [
            size
            for size, before in zip(self.batch_sizes, (0, *self.batch_sizes), strict=False)
            if before < self.rows
        ]
        return [
            Case(
                kind="predict",
                collectives=False,
                engine="sentiscale",
                engine_workers=count,
                threads_per_rank=count,
                batch_size=size,
                model=self.cell,
                precision="fp32",
            )
            for count in worker_counts(available_cores(), self.threads)
            for size in sizes
        ]

    @property
    def left_out(self) -> list[LeftOut]:
        """Nothing."""
        return []

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Label the texts once.

        Raises: SentiscaleError when it fails.
        """
        job = PredictJob(
            model=self.model, texts=self.texts, threads=case.engine_workers, batch_size=case.batch_size
        )
        label = f"prediction with {case.engine_workers} threads, {case.batch_size} texts at once"
        done = run_fresh(job, label, self.folder, case.engine_workers)
        return record(case, repeat, done, self.digest, self.rows, self._shape()), done.other_cores

    def differences(self, run: BenchRun) -> Iterator[str]:
        """Why a kept run was another prediction."""
        yield from changed(run, self.digest, self._shape())

    def _shape(self) -> dict[str, object]:
        return {"texts": self.origin}


def predicting(
    model: str | Path,
    data: PreparedDataset,
    raw: Sequence[str | Path],
    folder: Path,
    out: Path,
    rows: int = DEFAULT_ROWS,
) -> Predicting:
    """Get texts and model ready.

    Args:
        model: a model directory, or a run that has one.
        data: where the texts are from without raw files: its test split, put together from the tokens.
        raw: review files; their first rows are labelled.
        folder: where the texts are written; it must stay as long as the result is used.
        out: where messages of a failed run are kept.
        rows: how many texts at most.

    Raises: DataError when the model or the texts cannot be used.
    """
    model = Path(model).absolute()
    model = model / "model" if (model / "model").is_dir() else model
    found = list(islice(_raw_texts(raw) if raw else _test_texts(data), rows))
    if not found:
        raise DataError(
            f"there is no text to label in {', '.join(map(str, raw)) or data.path}. "
            "Give review files with --prepare, or data that have a test split."
        )
    cell = load_model(model).config.model.cell
    texts = folder / "texts.json"
    texts.write_text(json.dumps(found), encoding="utf-8")
    return Predicting(
        model=model,
        cell=cell,
        texts=texts,
        rows=len(found),
        digest=_digest([texts, *sorted(path for path in model.iterdir() if path.is_file())]),
        origin="as written" if raw else "put together from tokens",
        folder=out,
    )


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _raw_texts(files: Sequence[str | Path]) -> Iterator[str]:
    import pyarrow as pa

    from sentiscale.data.corpus import Corpus

    for block in Corpus.find(list(files), labels="optional").blocks():
        yield from block.text.cast(pa.large_string()).to_pylist()


def _test_texts(data: PreparedDataset) -> Iterator[str]:
    split, words = data.split("test"), data.vocab.words
    for start, end in pairwise(split.offsets.tolist()):
        yield " ".join(words[token] for token in split.tokens[start:end].tolist())


@contextmanager
def beside_training(
    data: str | Path,
    out: Path,
    raw: Sequence[str | Path],
    model: str | Path | None,
    workers: Sequence[int] = (),
) -> Iterator[Mapping[str, Beside]]:
    """What else is measured, by kind of case.

    Args:
        data: prepared data, whose test rows are labelled where there are no raw files.
        out: directory of the study; nothing is written there before the first run.
        raw: review files to prepare, and to take texts from; none leaves preparation out.
        model: a model directory or a run; None leaves prediction out.
        workers: how many workers or threads to try; empty is 1, 2, 4, ... up to all cores.

    Raises:
        UsageError: files that not every engine can read.
        DataError: files, model or prepared data that are missing or damaged.
    """
    found: dict[str, Beside] = {}
    with ExitStack() as stack:
        if raw or model is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentiscale-")))
        if raw:
            found["prepare"] = Preparing(stack.enter_context(raw_files(raw, folder)), out, tuple(workers))
        if model is not None:
            labelling = predicting(model, PreparedDataset.open(data), raw, folder, out)
            found["predict"] = replace(labelling, threads=tuple(workers))
        yield found


def attached(
    conditions: Conditions, plan: StudyPlan, beside: Mapping[str, Beside], *, train: bool = True
) -> tuple[Conditions, StudyPlan]:
    """A study of training with what is measured beside it; without training if so wished.

    Raises: UsageError when nothing is left to measure.
    """
    if not (train or beside):
        raise UsageError("--no-train leaves nothing to measure. Add --prepare FILE or --predict MODEL.")
    others = list(beside.values())
    cases = [*(plan.cases if train else []), *(case for each in others for case in each.cases)]
    left_out = [*(plan.left_out if train else []), *(case for each in others for case in each.left_out)]
    both = plan.model_copy(update={"cases": cases, "left_out": left_out})
    return replace(conditions, beside=beside), both
