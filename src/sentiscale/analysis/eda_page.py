"""Lay the facts about a dataset out for templates/eda.html."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from sentiscale.analysis.charts import short_number
from sentiscale.analysis.counting import CLASSES, PAIR_WORDS
from sentiscale.analysis.eda_charts import coverage_chart, cut_chart, length_chart, word_chart, zipf_chart
from sentiscale.analysis.facts import Facts
from sentiscale.analysis.lengths import TRAINING_CUT
from sentiscale.analysis.page import count, percent, render, seconds, size
from sentiscale.analysis.words import Telling, Term
from sentiscale.config import PrepareSettings

SHOWN_TERMS = 15
FEW_WORDS = 100
"""With fewer words the charts of the vocabulary say nothing."""


class Card(NamedTuple):
    """One headline number."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Part:
    """A part of a whole, drawn as a piece of a bar."""

    name: str
    count: int
    share: float
    style: str


class Bar(NamedTuple):
    """One line of a table of telling terms."""

    text: str
    z: float
    width: float
    """Length of its bar as per cent of the longest one."""
    negative: int
    positive: int
    times: str


def eda_page(facts: Facts) -> str:
    """The page as HTML."""
    manifest, vocabulary = facts.manifest, facts.vocabulary
    curves = len(vocabulary.words) >= FEW_WORDS
    return render(
        "eda.html",
        facts=facts,
        manifest=manifest,
        training_cut=TRAINING_CUT,
        pair_words=PAIR_WORDS,
        cards=_cards(facts),
        flow=_flow(facts),
        balance=_balance(facts),
        length_chart=length_chart(facts.lengths),
        cut_chart=cut_chart(facts.lengths),
        zipf_chart=zipf_chart(vocabulary) if curves else None,
        coverage_chart=coverage_chart(vocabulary) if curves else None,
        word_chart=word_chart(facts.scores, facts.word_list) if curves else None,
        tables=[
            ("Words", {label: _bars(facts.words, label) for label in CLASSES}),
            ("Pairs of words", {label: _bars(facts.pairs, label) for label in CLASSES}),
        ],
        changed=_changed_settings(manifest.settings),
        inputs=_names(manifest.inputs),
        test_inputs=_names(manifest.test_inputs),
    )


def _cards(facts: Facts) -> list[Card]:
    manifest, lengths, vocabulary = facts.manifest, facts.lengths, facts.vocabulary
    rows, rejected = sum(manifest.rows.values()), manifest.rejected["total"]
    read = rows + manifest.duplicates + rejected
    splits = ", ".join(f"{count(n)} {name}" for name, n in manifest.rows.items() if n)
    positive, repeated = manifest.labels["positive"], manifest.duplicates
    workers = f"{manifest.workers} worker{'s' if manifest.workers != 1 else ''}"
    speed = f"{manifest.mb_per_s:.3g} MB/s, {workers}" if manifest.mb_per_s else workers
    known = f"knows {percent(1 - vocabulary.unknown['train'])} of the training text"
    length = f"{lengths.mean:.0f} a review, median {lengths.quantile(0.5)}"
    return [
        Card("Reviews", count(rows), splits),
        Card("Positive", percent(positive / rows), f"{count(positive)} reviews"),
        Card("Tokens", short_number(manifest.tokens), length),
        Card("Vocabulary", count(vocabulary.size), known),
        Card("Duplicates", count(repeated), _of_rows(repeated, read)),
        Card("Rejected", count(rejected), _of_rows(rejected, read)),
        Card("Prepared in", seconds(manifest.seconds), speed),
        Card(
            "Peak memory",
            f"{count(manifest.peak_memory_mb)} MiB",
            f"for {size(manifest.bytes_in)} of text",
        ),
    ]


def _of_rows(part: int, read: int) -> str:
    return f"{percent(part / read)} of the rows read" if part else "none of the rows read"


def _flow(facts: Facts) -> list[Part]:
    """Where the rows that were read went."""
    manifest = facts.manifest
    ends = [
        *((name, rows, name) for name, rows in manifest.rows.items()),
        ("duplicates", manifest.duplicates, "dropped"),
        ("rejected", manifest.rejected["total"], "rejected"),
    ]
    read = sum(rows for _, rows, _ in ends)
    return [Part(name, rows, rows / max(read, 1), style) for name, rows, style in ends if rows]


def _balance(facts: Facts) -> list[tuple[str, list[Part]]]:
    """The classes of each filled split."""
    balance = []
    for split in facts.tokens:
        labels = facts.manifest.labels_per_split[split]
        rows = sum(labels.values())
        balance.append((split, [Part(name, labels[name], labels[name] / rows, name) for name in CLASSES]))
    return balance


def _bars(telling: Telling, label: str) -> list[Bar]:
    terms = telling.of(label)[:SHOWN_TERMS]
    longest = max((abs(term.z) for term in telling.negative[:1] + telling.positive[:1]), default=1.0)
    return [
        Bar(t.text, t.z, round(100 * abs(t.z) / longest, 1), t.negative, t.positive, _times(t)) for t in terms
    ]


def _times(term: Term) -> str:
    if min(term.negative, term.positive) == 0:
        return "only"
    return f"{term.times:.1f}" if term.times < 100 else f"{term.times:,.0f}"


def _changed_settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Settings of preparation that are not the default."""
    defaults = PrepareSettings().model_dump(mode="json")
    return [(name, _plain(value)) for name, value in settings.items() if value != defaults.get(name)]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(paths: Iterable[str]) -> list[str]:
    """File names without their folders: a page is passed on, and folders may tell more than they should."""
    return [PurePath(path).name for path in paths]
