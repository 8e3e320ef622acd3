"""Look at a prepared dataset: balance, lengths, vocabulary, telling words, findings; one HTML page."""

from dataclasses import dataclass
from pathlib import Path

from sentiscale.analysis.eda_page import eda_page
from sentiscale.analysis.facts import Facts, gather
from sentiscale.analysis.page import check_page
from sentiscale.atomic import write_file
from sentiscale.data.prepared import PreparedDataset
from sentiscale.progress import Progress


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
    check_page(out, force, "eda.html")
    dataset = data if isinstance(data, PreparedDataset) else PreparedDataset.open(data)
    facts = gather(dataset, progress)
    page = eda_page(facts).encode()
    write_file(out, page)
    return Eda(out, len(page), facts)
