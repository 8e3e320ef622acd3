"""All numbers behind the data page, gathered from a prepared dataset."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sentiscale.data.prepared import Manifest, PreparedDataset
from sentiscale.report.eda_counting import count_lengths, count_words, filled_splits
from sentiscale.report.eda_findings import Findings, read_findings
from sentiscale.report.eda_lengths import Lengths
from sentiscale.report.eda_samples import Samples, draw_samples, lean
from sentiscale.report.eda_vocabulary import Vocabulary, describe_vocabulary
from sentiscale.report.eda_words import Telling, WordScores, score_words, telling_pairs, telling_words
from sentiscale.util.progress import Progress

MOST_TERMS = 50
"""Telling words and pairs kept of each class; the page shows the first ones."""


@dataclass(frozen=True)
class Facts:
    """What there is to know about a prepared dataset."""

    name: str
    """Name of its directory."""
    manifest: Manifest
    tokens: dict[str, int]
    """Stored tokens of each filled split."""
    lengths: Lengths
    vocabulary: Vocabulary
    word_list: Sequence[str]
    """Words by id."""
    scores: WordScores
    words: Telling
    pairs: Telling
    every: int
    """Words were counted in one training row of so many."""
    findings: Findings
    samples: Samples

    def summary(self) -> dict[str, Any]:
        """The main numbers as plain values, for JSON."""
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
                "words": self.words.summary(),
                "pairs": self.pairs.summary(),
            },
        }


def gather(dataset: PreparedDataset, progress: Progress | None = None) -> Facts:
    """Read a dataset once and sum it up.

    Raises: DataError when it has no training rows or its files do not fit together.
    """
    manifest, words = dataset.manifest, dataset.vocab.words
    use = count_words(dataset, progress or Progress())
    scores = score_words(use)
    return Facts(
        name=dataset.path.absolute().name,
        manifest=manifest,
        tokens={split.name: len(split.tokens) for split in filled_splits(dataset)},
        lengths=Lengths(count_lengths(dataset), manifest.max_tokens, manifest.cut, manifest.tokens_cut),
        vocabulary=describe_vocabulary(dataset, use),
        word_list=words,
        scores=scores,
        words=telling_words(scores, words, MOST_TERMS),
        pairs=telling_pairs(use, words, MOST_TERMS),
        every=use.every,
        findings=read_findings(dataset),
        samples=draw_samples(dataset, lean(scores)),
    )
