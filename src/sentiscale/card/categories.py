"""Read which category each review of a table is in: a column that training never sees."""

from pathlib import Path

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.errors import DataError, UsageError
from sentiscale.evaluation import ScoredRows, rows_of_files
from sentiscale.predictor import Predictor
from sentiscale.progress import Progress

NO_CATEGORY = "(none)"


def rows_by_category(
    predictor: Predictor, table: Path, column: str, settings: PrepareSettings, progress: Progress
) -> tuple[ScoredRows, list[str]]:
    """Label the reviews of a table, and give the category of each.

    Raises:
        UsageError: the file is no table, or has no such column.
        DataError: it cannot be read, or holds no labelled review.
    """
    if not table.is_file():
        raise DataError(f"{table} is not a file. Give one CSV, JSONL or Parquet file with --reviews.")
    categories = categories_of(table, column, settings)
    rows = rows_of_files(predictor, str(table), settings, progress)
    lines = rows.lines.tolist() if rows.lines is not None else []
    return rows, [categories.get(line, NO_CATEGORY) for line in lines]


def categories_of(table: Path, column: str, settings: PrepareSettings) -> dict[int, str]:
    """Categories by line: the file is read as if the column were the review, and lines join the two."""
    named = {"text_column": column, "title_column": column, "label_column": None, "stars_column": None}
    corpus = Corpus.find([table], settings.model_copy(update=named), labels="none")
    if corpus.sources[0].layout.format == "fasttext":
        raise UsageError(f"{table} has lines, no columns; --by {column} needs a CSV, JSONL or Parquet file.")
    found: dict[int, str] = {}
    for block in corpus.blocks():
        names = (bytes(text).decode("utf-8", "replace").strip() for text in block.text.to_pylist())
        found |= {line: name or NO_CATEGORY for line, name in zip(block.line.tolist(), names, strict=True)}
    return found
