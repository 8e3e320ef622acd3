"""Compute the statistics of prepared data and write them as an HTML page."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from sentiscale.config import PrepareSettings
from sentiscale.data.prepared import Manifest, PreparedDataset
from sentiscale.report.charts import class_styles
from sentiscale.report.eda_charts import coverage_chart, cut_chart, length_chart, word_chart, zipf_chart
from sentiscale.report.eda_counts import TRAINING_CUT, Lengths, count_lengths, count_words, filled_splits
from sentiscale.report.eda_samples import PreparationFaults, Samples, draw_samples, lean, read_faults
from sentiscale.report.eda_words import (
    Telling,
    TermCounts,
    Vocabulary,
    describe_vocabulary,
    telling_pairs,
    telling_summary,
    telling_words,
    word_counts,
)
from sentiscale.report.page import check_page, render
from sentiscale.util.atomic import write_file
from sentiscale.util.progress import Progress

MOST_TERMS = 50
"""Number of telling words and pairs to keep per class; the page shows the first ones."""
MOST_BOXES = 5
"""Most classes whose telling words have a table each; those of more classes are in one table."""


@dataclass(frozen=True)
class DatasetFacts:
    name: str
    """Name of the dataset's directory."""
    manifest: Manifest
    tokens: dict[str, int]
    """Number of stored tokens in each nonempty split."""
    lengths: Lengths
    vocabulary: Vocabulary
    word_list: Sequence[str]
    """Words of the vocabulary by id."""
    counts: TermCounts
    """Occurrences of the words in the training rows that were read."""
    words: Telling
    pairs: Telling
    pair_words: int
    """Pairs were counted among this many most frequent words."""
    every: int
    """Words were counted in every `every`-th training row."""
    findings: PreparationFaults
    samples: Samples

    def summary(self) -> dict[str, Any]:
        """Return the main numbers as plain values for JSON."""
        manifest, lengths, vocabulary = self.manifest, self.lengths, self.vocabulary
        kept = (
            "rows",
            "labels",
            "labels_per_split",
            "rejected",
            "duplicates",
            "leaks",
            "conflicts",
            "conflicting_texts",
            "oddities",
            "warnings",
            "tokens",
            "digest",
        )
        return {
            **{key: getattr(manifest, key) for key in kept},
            "lengths": {
                "mean": round(lengths.mean, 2),
                **{f"p{share}": lengths.quantile(share / 100) for share in (5, 50, 95, 99)},
                "max_tokens": lengths.max_tokens,
                "rows_cut": lengths.cut_rows,
                "tokens_cut": lengths.cut_tokens,
                "cuts": [asdict(cut) for cut in lengths.usual_cuts()],
            },
            "vocabulary": {
                "size": vocabulary.size,
                "distinct_words": vocabulary.distinct_words,
                "zipf_exponent": vocabulary.exponent,
                "unknown": vocabulary.unknown,
                "coverage": [asdict(point) for point in vocabulary.usual_coverage()],
            },
            "telling": {
                "rows_read": "all" if self.every == 1 else f"1 in {self.every}",
                "words": telling_summary(self.words),
                "pairs": telling_summary(self.pairs),
            },
        }


def gather(dataset: PreparedDataset, progress: Progress | None = None) -> DatasetFacts:
    """Compute the statistics of a dataset.

    Raises: DataError when the dataset has no training rows or its files are inconsistent.
    """
    manifest, words = dataset.manifest, dataset.vocab.words
    use = count_words(dataset, progress or Progress())
    counts = word_counts(use)
    return DatasetFacts(
        name=dataset.path.absolute().name,
        manifest=manifest,
        tokens={split.name: len(split.tokens) for split in filled_splits(dataset)},
        lengths=Lengths(count_lengths(dataset), manifest.max_tokens, manifest.cut, manifest.tokens_cut),
        vocabulary=describe_vocabulary(dataset, use),
        word_list=words,
        counts=counts,
        words=telling_words(counts, words, manifest.classes, MOST_TERMS),
        pairs=telling_pairs(use, words, manifest.classes, MOST_TERMS),
        pair_words=use.pair_words,
        every=use.every,
        findings=read_faults(dataset),
        samples=draw_samples(dataset, lean(counts, class_styles(manifest.class_set))),
    )


FEW_WORDS = 100
"""Smallest number of words for which the vocabulary charts are shown."""


@dataclass(frozen=True)
class Part:
    name: str
    count: int
    share: float
    style: str


def eda_page(facts: DatasetFacts) -> str:
    manifest, vocabulary = facts.manifest, facts.vocabulary
    classes = manifest.class_set
    curves = len(vocabulary.words) >= FEW_WORDS
    by_word = curves and len(classes) == 2
    return render(
        "eda.html",
        facts=facts,
        manifest=manifest,
        training_cut=TRAINING_CUT,
        flow=_flow(facts),
        balance=_balance(facts),
        length_chart=length_chart(facts.lengths, classes),
        cut_chart=cut_chart(facts.lengths),
        zipf_chart=zipf_chart(vocabulary) if curves else None,
        coverage_chart=coverage_chart(vocabulary) if curves else None,
        word_chart=word_chart(facts.counts, facts.word_list, classes) if by_word else None,
        styles=dict(zip(classes.names, class_styles(classes), strict=True)),
        most_boxes=MOST_BOXES,
        changed=_changed_settings(manifest.settings),
        inputs=_names(manifest.inputs),
        test_inputs=_names(manifest.test_inputs),
    )


def _flow(facts: DatasetFacts) -> list[Part]:
    """Split the rows that were read into the parts of the dataset, duplicates and rejected rows."""
    manifest = facts.manifest
    ends = [
        *((name, rows, name) for name, rows in manifest.rows.items()),
        ("duplicates", manifest.duplicates, "dropped"),
        ("rejected", manifest.rejected["total"], "rejected"),
    ]
    read = sum(rows for _, rows, _ in ends)
    return [Part(name, rows, rows / max(read, 1), style) for name, rows, style in ends if rows]


def _balance(facts: DatasetFacts) -> list[tuple[Part, list[Part]]]:
    """Share of each class in all rows and in each split; classes without an order by size."""
    manifest = facts.manifest
    counts = [manifest.labels, *(manifest.labels_per_split[split] for split in facts.tokens)]
    balance = []
    for name, style in zip(manifest.classes, class_styles(manifest.class_set), strict=True):
        whole, *splits = [Part(name, rows[name], rows[name] / sum(rows.values()), style) for rows in counts]
        balance.append((whole, splits))
    is_ordered = manifest.class_set.sides is not None
    return balance if is_ordered else sorted(balance, key=lambda line: -line[0].count)


def _changed_settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    defaults = PrepareSettings().model_dump(mode="json")
    return [(name, _plain(value)) for name, value in settings.items() if value != defaults.get(name)]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(paths: Iterable[str]) -> list[str]:
    """File names without folders, which may contain private information; pages are often shared."""
    return [PurePath(path).name for path in paths]


@dataclass(frozen=True)
class Eda:
    """Result of `eda`: the page and its statistics."""

    out: Path
    """Path of the page."""
    bytes: int
    facts: DatasetFacts
    """Statistics shown on the page."""


def eda(
    data: PreparedDataset | str | Path,
    out: str | Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Eda:
    """Write a self-contained HTML page about a prepared dataset; the same data produce the same bytes.

    Args:
        data: prepared data, or a path to them.
        out: HTML file to write.
        force: replace `out` if it exists.
        progress: receives progress updates; by default, there are none.

    Raises:
        DataError: the prepared data are missing, damaged or empty.
        UsageError: `out` exists, cannot be written or does not end in .html or .htm.
    """
    out = Path(out)
    check_page(out, force, "eda.html")
    dataset = data if isinstance(data, PreparedDataset) else PreparedDataset.open(data)
    facts = gather(dataset, progress)
    page = eda_page(facts).encode()
    write_file(out, page)
    return Eda(out, len(page), facts)
