"""Generated reviews: the same bytes everywhere, like real ones in shape, and order decides."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.datasets.grammar import (
    RARE_WORDS,
    compile_grammar,
    inflect,
    misspellings,
    parse,
    split_entries,
)
from sentiscale.datasets.output import FORMATS, Renderer, blocks, find_format, synth
from sentiscale.datasets.reviews import LABEL_NOISE, below, derive, happens, plan_rows, seed_key
from sentiscale.errors import UsageError

ROWS = 20_000
WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")


def text_of(rows: int, seed: int = 0, form: str = "fasttext", start: int = 0) -> str:
    return b"".join(blocks(rows, seed, format=form, start=start)).decode("ascii")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return text_of(ROWS).splitlines()


# ---- the same everywhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "digest"),
    [
        ("fasttext", "017564886d82b3e40c9652a0d416c22a01a849657a284de7fe35100321101ded"),
        ("csv", "3d5dffc1d1eaa62e28eb7df55d80fe2cabf43cfea5f009d86653770031f83ecb"),
        ("jsonl", "a60205839d60f9d96be115d4db5fc837fc88f52a529c74b6fd23acfdcc9699ed"),
    ],
    ids=["fasttext", "csv", "jsonl"],
)
def test_the_bytes_of_a_seed_never_change(form, digest):
    """A change of grammar or arithmetic changes every figure: do it knowingly, with a new digest."""
    assert hashlib.sha256(text_of(1000, seed=7, form=form).encode()).hexdigest() == digest


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(-(2**70), 2**70), cuts=st.lists(st.integers(0, 60), max_size=3))
def test_rows_do_not_depend_on_the_rows_made_with_them(seed, cuts):
    edges = [0, *sorted(cuts), 60]
    parts = [text_of(end - start, seed, start=start) for start, end in pairwise(edges)]
    assert "".join(parts) == text_of(60, seed)


def test_rows_do_not_depend_on_the_block_they_fall_into(monkeypatch):
    whole = text_of(300)
    monkeypatch.setattr("sentiscale.datasets.output.BLOCK_ROWS", 7)
    assert text_of(300) == whole


def test_seeds_share_next_to_no_rows():
    """Short reviews coincide now and then, as real ones do."""
    rows = [set(text_of(2000, seed).splitlines()) for seed in (0, 1, -1)]
    assert max(len(rows[0] & rows[1]), len(rows[0] & rows[2]), len(rows[1] & rows[2])) < 20


# ---- like real reviews -----------------------------------------------------------------------------------


def test_lines_are_fasttext_with_a_title(lines):
    assert len(lines) == ROWS
    assert all(re.match(r"__label__[12] \S.*?: \S", line) for line in lines)
    assert not any("{" in line or "  " in line or " ." in line for line in lines), "the grammar leaks"


def test_classes_are_balanced(lines):
    positive = sum(line.startswith("__label__2") for line in lines)
    assert abs(positive / ROWS - 0.5) < 0.005  # the noise alone moves it by 0.001


def test_lengths_are_those_of_real_reviews(lines):
    words = [len(line.split()) - 1 for line in lines]
    median, nine_of_ten, longest = np.percentile(words, [50, 90, 99])
    assert median == pytest.approx(55, rel=0.05)
    assert nine_of_ten == pytest.approx(200, rel=0.07)
    assert longest == pytest.approx(560, rel=0.10)


def test_rare_words_go_on_and_on(lines):
    """20,000 rows have a third of the words that a million must have; most words are hardly ever used."""
    counts = Counter(word for line in lines for word in WORD.findall(line[11:].lower()))
    assert len(counts) > 17_000
    assert sum(count == 1 for count in counts.values()) > len(counts) / 2
    frequencies = sorted(counts.values(), reverse=True)
    assert sum(frequencies[:100]) > 0.4 * sum(frequencies)


@pytest.mark.slow
def test_a_million_rows_have_more_than_fifty_thousand_words():
    renderer = Renderer(find_format("fasttext", "-"))
    for start in range(0, 1_000_000, 10_000):
        renderer.rows(0, start, 10_000)
    assert renderer.types() > 50_000


def test_counted_types_are_those_a_reader_would_count():
    renderer = Renderer(find_format("fasttext", "-"))
    text = bytes(renderer.rows(3, 0, 2000)).decode()
    read = {word for line in text.splitlines() for word in WORD.findall(line[11:].lower())}
    assert renderer.types() == len(read)


def test_two_labels_in_a_hundred_are_wrong():
    rows = plan_rows(0, 0, 200_000)
    wrong = np.mean(rows.labels.astype(bool) != rows.positive)
    assert wrong == pytest.approx(LABEL_NOISE, abs=0.002)
    assert LABEL_NOISE == 0.02


def test_every_family_of_sentences_occurs(lines):
    text = "\n".join(lines[:5000])
    for phrase in (
        " not ",
        "isn't",
        ", but ",
        "Although ",
        "even if",
        " than my old one",
        "My old one",
        "I expected",
        "The reviews said",
        "and they were wrong",
        "extremely ",
        " is on the left side",
    ):
        assert phrase in text, phrase


def test_one_word_in_two_hundred_is_mistyped(lines):
    tables = compile_grammar()
    first_variant = tables.misspelt[tables.misspelt >= 0].min()
    intended = {word for text in tables.fragments[:first_variant] for word in WORD.findall(text.lower())}
    words = [word for line in lines[:5000] for word in WORD.findall(line[11:].lower())]
    assert np.mean([word not in intended for word in words]) == pytest.approx(0.006, abs=0.003)


# ---- formats ---------------------------------------------------------------------------------------------


def test_formats_carry_the_same_reviews():
    lines = text_of(500).splitlines()
    table = list(csv.reader(io.StringIO(text_of(500, form="csv"), newline="")))
    documents = [json.loads(line) for line in text_of(500, form="jsonl").splitlines()]
    assert any('"' in text for _, _, text, _ in table), "quotes inside quotes are worth having"
    for line, (stars, title, text, category), document in zip(lines, table, documents, strict=True):
        assert line == f"__label__{1 if int(stars) < 3 else 2} {title}: {text}"
        assert document == {"stars": int(stars), "title": title, "text": text, "category": category}


def test_stars_are_those_that_carry_a_label():
    stars = Counter(line[0] for line in text_of(5000, form="csv").splitlines())
    assert set(stars) == set("1245")


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_format_follows_the_suffix_unless_it_is_named(known):
    assert find_format(None, f"some/reviews{known.suffix}") is known
    assert find_format(known.name, "some/reviews.txt") is known


def test_unknown_formats_say_what_there_is():
    with pytest.raises(UsageError, match=r"\.txt \(fasttext\), \.csv"):
        find_format(None, "reviews.parquet")
    with pytest.raises(UsageError, match="Did you mean 'jsonl'"):
        find_format("json", "-")


@pytest.mark.parametrize(
    ("rows", "out", "form", "said"),
    [
        (0, "a.txt", None, "--rows is 0; it must be at least 1"),
        (5, "a.txt", "fastext", "Did you mean 'fasttext'?"),
        (5, "folder", "csv", "is a directory"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, rows, out, form, said):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=re.escape(said)):
        synth(rows, out=tmp_path / out, format=form)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# ---- parts -----------------------------------------------------------------------------------------------


def test_grammar_refuses_what_it_does_not_understand():
    with pytest.raises(ValueError, match="not a slot"):
        parse("The {aspect is {adj=}.")


def test_slots_inflect_their_entries():
    _, slot = parse("It is {^a adj+}")
    assert [inflect(entry, slot) for entry in ("awful", "useless", "bad")] == [
        "An awful",
        "A useless",
        "A bad",
    ]


def test_underscore_is_the_empty_entry():
    assert split_entries("_, very,\n  so") == ["", "very", "so"]


def test_polar_lists_come_in_pairs_of_like_size():
    """Otherwise the number of different words would tell the classes apart."""
    tables = compile_grammar()
    for name, group in tables.groups.items():
        if name.endswith("+"):
            assert tables.group_size[group] == tables.group_size[tables.groups[name[:-1] + "-"]]


@pytest.mark.parametrize("words", RARE_WORDS.values(), ids=RARE_WORDS.keys())
def test_rare_words_are_words_and_hardly_ever_the_same(words):
    found = words()
    assert len(set(found)) > 0.999 * len(found)
    assert all(WORD.fullmatch(word.lower()) for word in found[:2000])
    assert len(found) & (len(found) - 1) == 0, "rare words are drawn by halves"


def test_misspellings_change_one_spot_of_a_word():
    variants = misspellings("a terrible thing", 8)
    assert len(variants) == 8
    assert "a terrible thing" not in variants
    assert all(abs(len(variant) - len("a terrible thing")) <= 1 for variant in variants)
    assert misspellings("so it is", 8) == []


def test_draws_are_even():
    keys = derive(seed_key(0), np.arange(60_000))
    counts = np.bincount(below(keys, 6).astype(np.int64))
    assert counts == pytest.approx(np.full(6, 10_000), rel=0.05)  # 4.5 standard deviations
    assert happens(keys, 0.25).mean() == pytest.approx(0.25, abs=0.01)
