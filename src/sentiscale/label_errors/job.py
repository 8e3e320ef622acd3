"""Analyse a model's mistakes on labelled reviews and write an HTML page about them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sentiscale.config import PrepareSettings
from sentiscale.data.prepared import MANIFEST, Manifest, PreparedDataset
from sentiscale.data.sources import find_files
from sentiscale.errors import DataError, UsageError
from sentiscale.inference.predictor import Predictor
from sentiscale.label_errors.counts import ReviewCounts
from sentiscale.label_errors.doubt import DoubtCounter
from sentiscale.label_errors.facts import TopMistakes, TriageFacts, phrase, random_keys
from sentiscale.label_errors.page import triage_page
from sentiscale.label_errors.rows import (
    LabelledChunk,
    SplitTexts,
    file_chunks,
    frequent_words,
    read_rows,
    split_chunks,
    with_texts,
)
from sentiscale.model.directory import read_record
from sentiscale.report.page import check_page
from sentiscale.text.rejects import RejectCounts
from sentiscale.util.atomic import write_file
from sentiscale.util.progress import Progress
from sentiscale.util.storage import printable
from sentiscale.util.templates import finding


def cautions_of_split(record: dict[str, Any], dataset: PreparedDataset, split: str) -> list[str]:
    """Return caveats about a split, given the record of the run that trained the model."""
    if record.get("data_digest") != dataset.manifest.digest:
        return phrase(finding("other_data")) if record else []
    kinds = {"train": "trained_on_them", "valid": "calibrated_on_them"}
    return phrase(finding(kinds[split])) if split in kinds else []


def cautions_of_files(record: dict[str, Any], paths: list[str]) -> list[str]:
    """Return caveats about files, such as that the model was trained on reviews from them."""
    trained_on = record.get("data") or {}
    inputs = {_absolute(path) for path in trained_on.get("inputs", [])} & {_absolute(path) for path in paths}
    if not inputs:
        return []
    held_out = _test_inputs(trained_on.get("path", ""), record.get("data_digest", ""))
    if held_out is None:
        return phrase(finding("perhaps_trained_on_them"))
    return phrase(finding("trained_on_them")) if inputs - held_out else []


def _test_inputs(path: str, digest: str) -> set[str] | None:
    """Return the files that were given as the test set; None if the prepared data no longer exist."""
    try:
        manifest: Manifest = PreparedDataset.open(path, verify=False).manifest
    except DataError:
        return None
    return {_absolute(name) for name in manifest.test_inputs} if manifest.digest == digest else None


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(printable(path)).absolute())


SHOWN = 20
"""Number of reviews per list that the page shows and explains."""
MOST_DRAWN = 10 * SHOWN
"""Number of mistakes drawn at random; those with a doubtful label are removed later."""
NOT_AS_WRITTEN = (
    "The texts are cleaned and truncated, as stored in the prepared data; preparation with "
    "--set prepare.keep_text=true stores the original texts. ▢ stands for a word outside the vocabulary."
)


@dataclass(frozen=True)
class Triage:
    """Result of `triage`: the written page and the analysis."""

    out: Path
    bytes: int
    facts: TriageFacts


def triage(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    category_column: str | None = None,
    top: int = 100,
    settings: PrepareSettings | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Triage:
    """Write a page that shows a model's mistakes and the labels that are probably wrong.

    Args:
        model: a model directory.
        data: prepared data, or a raw labelled file, glob or folder in any input format.
        out: the .html file to write.
        split: split to analyse, if `data` is prepared data.
        category_column: column by whose values the rows of a table are grouped.
        top: number of confident mistakes to return; the page shows the first twenty.
        settings: format and columns of raw files.
        force: whether to replace `out` if it exists.
        progress: receives the progress.

    Raises:
        DataError: the model or data cannot be used, or the data contain no labelled row.
        UsageError: `out` exists or is not an .html file, a column does not exist, or `top` is below 1.
    """
    out, progress = Path(out), progress or Progress()
    if top < 1:
        raise UsageError(f"--top is {top}; it must be at least 1.")
    check_page(out, force, "triage.html")
    predictor, record = Predictor.load(model), read_record(Path(model))
    counter = TriageCounter(predictor, max(top, SHOWN), category_column)
    if (Path(data) / MANIFEST).exists():
        texts, cautions = counter.take_split(PreparedDataset.open(data), split, record, progress)
    else:
        texts, cautions = None, cautions_of_files(record, find_files([str(data)]))
        counter.take_files(str(data), settings or PrepareSettings(), progress)
    facts = counter.facts(str(model), str(data), split if texts is not None else None, cautions)
    page = _page(predictor, facts, texts, progress).encode()
    write_file(out, page)
    mistakes, drawn = with_texts(facts.mistakes[:top], texts), with_texts(facts.drawn, texts)
    return Triage(out, len(page), replace(facts, mistakes=mistakes, drawn=drawn))


class TriageCounter:
    """Counts all rows and keeps the few that the results list."""

    def __init__(self, predictor: Predictor, most: int, category_column: str | None) -> None:
        self.predictor, self.category_column = predictor, category_column
        self.counts = ReviewCounts(
            predictor.classes,
            frequent_words=frequent_words(predictor),
            kept_tokens=predictor.model.config.stored_tokens,
            by_category=category_column is not None,
        )
        self.doubt = DoubtCounter(len(predictor.classes))
        self.surest, self.drawn = TopMistakes(most), TopMistakes(MOST_DRAWN)
        self.rows = 0
        self.left_out = RejectCounts()

    def take_split(
        self, dataset: PreparedDataset, split: str, record: dict[str, Any], progress: Progress
    ) -> tuple[SplitTexts, list[str]]:
        """Count the rows of a split; returns its texts and caveats about it."""
        if self.category_column is not None:
            raise UsageError(
                f"{dataset.path} is prepared data, which has no columns. Give the table itself with "
                "--category-column."
            )
        texts = SplitTexts(dataset, split, self.predictor.model.vocab)
        self._take(split_chunks(self.predictor, dataset, split, progress))
        return texts, cautions_of_split(record, dataset, split)

    def take_files(self, data: str, settings: PrepareSettings, progress: Progress) -> None:
        """Count the rows of files.

        Raises: DataError when the files contain no labelled review.
        """
        self._take(file_chunks(self.predictor, data, settings, self.category_column, progress))
        if self.rows == 0:
            lines = [f"{data} holds no labelled review; left out:", *self.left_out.lines()]
            raise DataError("\n".join(lines))

    def _take(self, chunks: Iterator[LabelledChunk]) -> None:
        for chunk in chunks:
            block = chunk.block
            self.counts.add(block)
            self.doubt.add(block.labels, block.chances)
            wrong = ~block.correct & (block.predicted < len(self.predictor.classes))
            self.surest.offer(block.contradiction, chunk.row)
            self.drawn.offer(random_keys(self.rows, len(wrong)) * wrong, chunk.row)
            self.rows += len(wrong)
            self.left_out.add(chunk.rejects)

    def facts(self, model: str, data: str, split: str | None, cautions: list[str]) -> TriageFacts:
        facts = TriageFacts(
            model=model,
            classes=self.predictor.classes,
            data=data,
            split=split,
            left_out=self.left_out,
            confusion=self.counts.confusion[:, :-1].tolist(),
            unsure=int(self.counts.confusion[:, -1].sum()),
            loss=self.counts.loss_sum / max(self.rows, 1),
            everything=self.counts.everything(),
            calibration=self.counts.calibration(),
            divisions=self.counts.divisions(self.category_column),
            doubt=self.doubt.result(),
            mistakes=self.surest.rows,
            drawn=[],
            cautions=cautions,
        )
        drawn = [row for row in self.drawn.rows if not facts.is_doubtful(row)][:SHOWN]
        return replace(facts, drawn=sorted(drawn, key=lambda row: -row.margin))


def _page(predictor: Predictor, facts: TriageFacts, texts: SplitTexts | None, progress: Progress) -> str:
    first = (facts.doubtful or facts.mistakes)[:SHOWN]
    shown = {(row.file, row.number) for row in first}
    drawn = [row for row in facts.drawn if (row.file, row.number) not in shown]
    read = read_rows(predictor, [*first, *drawn], texts, progress)
    note = NOT_AS_WRITTEN if texts is not None and not texts.as_written else ""
    return triage_page(facts, read[: len(first)], read[len(first) :], note)
