"""Finding equal texts: against a plain dictionary, whatever goes to disk and in whatever order it comes."""

from collections import defaultdict
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.duplicates import DuplicateFinder, first_of_each
from sentiscale.data.placement import DROPPED, TEST, Placement, _splits
from sentiscale.data.prepare import prepare

# Texts whose hashes lie in the same file and in different ones, and differ in high or low bits only.
HASHES = [0, 1, 2, 2**32, 2**55, 2**56, 2**63, 2**64 - 1, 2**64 - 2, 0x0123456789ABCDEF]
CLASSES = 3
NUMBERS = count()


@st.composite
def corpora(draw):
    """Partitions as (is_test, rows of (hash, code)), and the class of each code in each partition."""
    rows = st.lists(st.tuples(st.sampled_from(HASHES), st.integers(0, 4)), max_size=8)
    partitions = draw(st.lists(st.tuples(st.booleans(), rows), min_size=1, max_size=6))
    tables = st.lists(st.integers(0, CLASSES - 1), min_size=5, max_size=5)
    classes = np.full((len(partitions), 256), 254, np.uint8)
    classes[:, :5] = [draw(tables) for _ in partitions]
    return partitions, classes


def records_of(is_test, rows):
    hashes, codes = (
        np.array([row[0] for row in rows], np.uint64),
        np.array([row[1] for row in rows], np.uint8),
    )
    return first_of_each(hashes, codes, is_test)


def found_by(folder, limit, partitions, labels, order=None):
    folder.mkdir()
    finder = DuplicateFinder(folder, limit)
    for number in order if order is not None else range(len(partitions)):
        finder.add(number, records_of(*partitions[number]))
    return finder.find(labels), finder


def dropped_by(repeats, partitions, *, dedupe=True):
    """The rows of each partition that are in no split, as `prepare` decides it."""
    dropped = []
    for number, (is_test, rows) in enumerate(partitions):
        placement = Placement(
            shard="",
            is_test=is_test,
            shares=(0.5, 0.5),
            dedupe=dedupe,
            labels=np.zeros(256, np.uint8),
            classes=CLASSES,
            duplicates=repeats.rows[repeats.partitions == number],
            max_tokens=1,
            rare=(np.empty(0, np.uint64), np.empty(0, np.uint8)),
        )
        splits = _splits({"hashes": np.array([row[0] for row in rows], np.uint64)}, placement)
        assert np.all(splits[...] == TEST) or not is_test
        dropped += [(number, row) for row in np.flatnonzero(splits == DROPPED).tolist()]
    return dropped


def by_dictionary(partitions, labels):
    """Rows to drop, those among them that repeat the named test set, and texts with different labels."""
    tests = {text for is_test, rows in partitions if is_test for text, _ in rows}
    seen, dropped, leaks, classes = set(), [], 0, defaultdict(set)
    for number, (is_test, rows) in enumerate(partitions):
        for row, (text, code) in enumerate(rows):
            classes[text].add(int(labels[number, code]))
            if is_test:
                continue
            leaks += text in tests
            if text in tests or text in seen:
                dropped.append((number, row))
            seen.add(text)
    return dropped, leaks, sorted(text for text, own in classes.items() if len(own) > 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("repeats")


@given(corpora(), st.sampled_from([0, 1, 200, 10**9]), st.randoms())
def test_equals_a_dictionary(root, corpus, limit, random):
    partitions, labels = corpus
    order = list(range(len(partitions)))
    random.shuffle(order)
    repeats, finder = found_by(root / str(next(NUMBERS)), limit, partitions, labels, order)
    dropped, leaks, conflicting = by_dictionary(partitions, labels)
    assert dropped_by(repeats, partitions) == dropped
    assert (repeats.count, repeats.leaks) == (len(dropped), leaks)
    assert repeats.conflicting.tolist() == conflicting
    assert (finder.spilled_bytes > 0) == any(rows for _, rows in partitions) or limit > 1
    assert not list(finder.folder.iterdir()), "what was spilled stays on the disk"


@given(corpora())
def test_nothing_is_dropped_without_dedupe_but_all_is_counted(root, corpus):
    partitions, labels = corpus
    repeats, _ = found_by(root / str(next(NUMBERS)), 10**9, partitions, labels)
    assert dropped_by(repeats, partitions, dedupe=False) == []
    assert repeats.count == len(by_dictionary(partitions, labels)[0])


def test_records_tell_of_every_text_and_code_its_first_row_and_copies():
    rows = [(7, 4), (5, 200), (7, 200), (7, 4), (9, 1)]
    records = records_of(True, rows)
    found = records[["hash", "code", "row", "copies"]].tolist()
    assert found == [(7, 4, 0, 2), (5, 200, 1, 1), (7, 200, 2, 1), (9, 1, 4, 1)]
    assert records["is_test"].all()


def test_more_than_all_files_hold_together(root):
    """Many texts, nearly every one in two partitions of three, by way of the disk and without it."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64 - 1, 20_000, dtype=np.uint64)
    parts = [np.concatenate([hashes[i * 4000 : i * 4000 + 8000], hashes[:50]]) for i in range(4)]
    labels = np.zeros((len(parts), 256), np.uint8)
    results = []
    for limit in (0, 10_000, 10**9):
        finder = DuplicateFinder(root, limit)
        for number, part in enumerate(parts):
            finder.add(number, first_of_each(part, np.zeros(len(part), np.uint8), False))
        repeats = finder.find(labels)
        results.append((repeats.count, sorted(zip(repeats.partitions, repeats.rows, strict=True))))
    assert results[0] == results[1] == results[2]
    assert results[0][0] == sum(map(len, parts)) - len(np.unique(np.concatenate(parts)))


def test_no_row_at_all(root):
    repeats = DuplicateFinder(root, 0).find(np.zeros((0, 256), np.uint8))
    assert (len(repeats.rows), repeats.count, repeats.leaks, len(repeats.conflicting)) == (0, 0, 0, 0)


@pytest.mark.parametrize("dedupe", [True, False])
def test_a_manifest_accounts_for_all_rows(tmp_path, dedupe):
    """Of 60 rows 20 repeat others, 5 of them the test set's; that has a repeated row of its own."""
    texts = [f"text number {i} is here" for i in range(40)] + [f"Text number {i} is HERE!" for i in range(15)]
    rows = [f"__label__{1 + i % 2} {text.rstrip('!')}" for i, text in enumerate(texts)]
    tests = [f"__label__1 text test {i}" for i in range(5)]
    (tmp_path / "a.txt").write_text("\n".join([*rows, *tests]))
    (tmp_path / "b.txt").write_text("\n".join([*tests, tests[0]]))
    made = prepare(
        tmp_path / "a.txt", tmp_path / "data", test=tmp_path / "b.txt", dedupe=dedupe, block_mb=0.0003
    )
    manifest = made.manifest
    assert manifest.rows["test"] == 6
    assert (manifest.duplicates, manifest.leaks) == ((20, 5) if dedupe else (0, 0))
    assert manifest.rows["train"] + manifest.rows["valid"] + manifest.duplicates == 60
    told = " ".join(manifest.warnings)
    assert "20 rows repeat the text of another row and " + ("were dropped" if dedupe else "stay in") in told
    assert (
        "5 rows have the text of a test review and " + ("were removed" if dedupe else "are still in") in told
    )


def test_a_full_disk_is_named_when_texts_go_to_it(small_disk):
    finder = DuplicateFinder(small_disk, 0)
    hashes = np.random.default_rng(0).integers(0, 2**64 - 1, 30_000, dtype=np.uint64)
    with pytest.raises(OSError, match="No space left on device"):
        finder.add(0, first_of_each(hashes, np.zeros(len(hashes), np.uint8), False))
