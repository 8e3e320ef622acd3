"""Look at a prepared dataset: balance, lengths, vocabulary, telling words, findings; one HTML page."""

from dataclasses import dataclass
from pathlib import Path

from sentiscale.analysis.eda_page import eda_page
from sentiscale.analysis.facts import Facts, gather
from sentiscale.atomic import check_output, write_file
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError
from sentiscale.progress import Progress

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Eda:
    """A page that was written, and the numbers behind it."""

    out: Path
    """The page."""
    bytes: int
    """Size of the page."""
    facts: Facts
    """The numbers behind it."""


def eda(
    data: PreparedDataset | str | Path,
    out: str | Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Eda:
    """Write a self-contained HTML page about a prepared dataset; the same data give the same bytes.

    Args:
        data: prepared data, opened or as a path.
        out: the .html file to write, whole or not at all.
        force: replace `out` if it exists.
        progress: who is told how it goes; nobody by default.

    Raises:
        DataError: prepared data that is missing, damaged or empty.
        UsageError: `out` exists, cannot be written or is no name of a page.
    """
    out = Path(out)
    _check(out, force)
    dataset = data if isinstance(data, PreparedDataset) else PreparedDataset.open(data)
    facts = gather(dataset, progress)
    page = eda_page(facts).encode()
    write_file(out, page)
    return Eda(out, len(page), facts)


def _check(out: Path, force: bool) -> None:
    """Fail before any work is done; the suffix keeps --force from replacing a file of another kind."""
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        what = "is a directory" if out.is_dir() else "does not end in .html"
        raise UsageError(f"--out is {out}, which {what}; the page is one HTML file. Try: --out eda.html")
    check_output(out, replace=force)
