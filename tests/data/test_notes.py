"""conflicts.parquet and oddities.parquet: the right rows, with the file and line each came from."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiscale.data.notes import ODDITY_NAMES, texts_of
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError
from sentiscale.text.formats.base import SNIPPET_BYTES
from tests.data.encoding import cleaned

BLOCKS = pytest.mark.parametrize("block_mb", [0.0002, 0.003, 8])
ODD = {
    "nearly_empty": ["fine", "so so"],
    "bad_encoding": ["the screen of this was caf\u00c3\u00a9 and good", "the bell \x07 of this and that"],
    "other_script": ["это было очень хорошо", "the とても 良いですね とても 良いですね"],
    "markup": ["the screen <br /> was good and bad", "the screen &amp; the battery of it"],
    "unusual_words": [" ".join(f"rare{i}x{j}" for j in range(12)) for i in range(2)],
}
# More words than the 200 usual ones, which the rare ones come behind.
PLAIN = [f"the screen of number {i} is good and the battery was not bad aa{i} bb{i}" for i in range(80)]


def line_of(label, text):
    return f"__label__{label} {text}"


@pytest.fixture
def files(tmp_path):
    """Two inputs and a test set, and where each of their reviews stands: (file, line, label, text, test)."""
    odd = [text for texts in ODD.values() for text in texts]
    first = [line_of(1 + i % 2, text) for i, text in enumerate(PLAIN)]
    first[7:7] = ["no label", line_of(1, "One text, two minds!"), ""]
    first += [line_of(2, text) for text in odd]
    rows = [(2, "A table\nover two\r\nlines"), (1, "one text two minds !"), (2, "ONE TEXT: two minds!")]
    rows += [(1 + i % 2, f"the table of number {i}\nis good and not bad") for i in range(40)]
    rows += [(1, "a table over two lines"), (1, odd[0]), (1, "leaks into the test set")]
    tests = [
        line_of(2, "leaks, into the test set"),
        line_of(1, PLAIN[3]),
        line_of(1, PLAIN[3]),
        line_of(2, "!"),
    ]
    paths = [tmp_path / name for name in ("a.txt", "b.csv", "c.txt")]
    paths[0].write_text("\n".join(first) + "\n", encoding="utf-8")
    table = "label,text\n" + "".join(f'{label},"{text}"\n' for label, text in rows)
    paths[1].write_bytes(table.encode())
    paths[2].write_text("\n".join(tests), encoding="utf-8")
    where, line = [], 2
    for number, text in enumerate(first, 1):
        if text.startswith("__label__"):
            where.append((str(paths[0]), number, int(text[9]), text[11:], False))
    for label, text in rows:
        where.append((str(paths[1]), line, label, text, False))
        line += 1 + text.count("\n")
    where += [(str(paths[2]), number, int(text[9]), text[11:], True) for number, text in enumerate(tests, 1)]
    return paths, where


@pytest.fixture
def noted(files, tmp_path):
    def make(**settings) -> PreparedDataset:
        paths, _ = files
        return prepare(
            paths[:2], tmp_path / "data", test=paths[2], split=(1, 0), min_count=1, force=True, **settings
        )

    return make


def table_of(dataset, name, *columns):
    table = pq.read_table(dataset.path / name)
    return list(zip(*(table[column].to_pylist() for column in columns), strict=True))


@BLOCKS
def test_conflicts_are_told_with_file_line_label_and_split(files, noted, block_mb):
    _, where = files
    texts = cleaned([text.encode() for _, _, _, text, _ in where])
    labels, tested, seen, expected = defaultdict(set), set(), set(), []
    for (_, _, label, _, test), text in zip(where, texts, strict=True):
        labels[text].add(label)
        tested |= {text} if test else set()
    for (file, line, label, _, test), text in zip(where, texts, strict=True):
        split = "test" if test else "dropped" if text in seen | tested else "train"
        seen.add(text)
        if len(labels[text]) == 2:
            expected.append((file, line, "positive" if label == 2 else "negative", split, text))
    assert len({text for *_, text in expected}) == 5
    assert {split for *_, split, _ in expected} == {"test", "dropped", "train"}
    dataset = noted(block_mb=block_mb)
    found = table_of(dataset, "conflicts.parquet", "file", "line", "label", "split", "text")
    assert found == expected
    assert dataset.manifest.conflicts == len(expected)
    assert dataset.manifest.conflicting_texts == 5
    ids = dict(
        zip(
            [row[4] for row in found],
            pq.read_table(dataset.path / "conflicts.parquet")["text_id"].to_pylist(),
            strict=True,
        )
    )
    assert len(set(ids.values())) == 5, "a text has one id"


@BLOCKS
def test_oddities_are_told_with_file_and_line(files, noted, block_mb):
    _, where = files
    kinds = {text: name for name, texts in ODD.items() for text in texts}
    texts = cleaned([text.encode() for _, _, _, text, _ in where])
    expected, seen = [], set()
    for (file, line, _, text, _), clean in zip(where, texts, strict=True):
        if text in kinds and clean not in seen:
            expected.append((file, line, kinds[text], clean))
        seen.add(clean)
    expected += [(where[-1][0], 4, "nearly_empty", "!")]
    dataset = noted(block_mb=block_mb)
    found = table_of(dataset, "oddities.parquet", "file", "line", "oddity", "text")
    assert found == expected
    assert dataset.manifest.oddities == Counter(oddity for _, _, oddity, _ in found)
    assert set(ODDITY_NAMES) == set(ODD)


def test_a_row_that_is_odd_in_two_ways_is_told_twice_and_dropped_ones_not_at_all(tmp_path):
    text = [
        "__label__1 <b>fine</b> caf\u00c3\u00a9",
        "__label__2 good good good",
        "__label__2 Good good good",
    ] * 2
    (tmp_path / "a.txt").write_text("\n".join(text), encoding="utf-8")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "data", split=(1, 0, 0), min_count=1)
    assert table_of(dataset, "oddities.parquet", "line", "oddity") == [(1, "bad_encoding"), (1, "markup")]
    kept = prepare(tmp_path / "a.txt", tmp_path / "kept", split=(1, 0, 0), min_count=1, dedupe=False)
    assert table_of(kept, "oddities.parquet", "line") == [(1,), (1,), (4,), (4,)]


def test_without_notes_the_tables_are_empty(tmp_path):
    (tmp_path / "a.txt").write_text("__label__1 the screen was bad\n__label__2 the screen was good\n")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "data", split=(1, 0, 0), min_count=1)
    for name in ("conflicts.parquet", "oddities.parquet", "rejects.parquet"):
        assert pq.read_table(dataset.path / name).num_rows == 0
    assert (dataset.manifest.conflicts, dataset.manifest.oddities) == (0, {})


@example([[7, 14, 4, 3, 2, 11, 5, 1], [7, 14, 4, 3, 2, 11, 10]])  # 200 bytes, and 201
@given(st.lists(st.lists(st.integers(0, 40), max_size=40), max_size=5))
def test_a_snippet_is_as_many_whole_words_as_fit(rows):
    words = [
        ("é" * 32 if number % 7 == 0 else "word" * (1 + number % 5) + str(number)).encode()
        for number in range(41)
    ]
    ids = np.array([number for row in rows for number in row], np.uint16)
    ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
    starts = ends - np.array([len(row) for row in rows], np.int64)
    offsets = np.cumsum([0, *map(len, words)])
    found = texts_of(ids, starts, ends, np.frombuffer(b"".join(words), np.uint8), offsets).to_pylist()
    for row, text in zip(rows, found, strict=True):
        whole = [b" ".join(words[number] for number in row[:count]) for count in range(len(row) + 1)]
        assert text == max((text for text in whole if len(text) <= SNIPPET_BYTES), key=len)


def test_rows_with_markup_are_counted_in_a_note(tmp_path):
    texts = [
        f"the screen {i} is good<br />and bad" if i % 20 == 0 else f"the screen {i} is good"
        for i in range(200)
    ]
    (tmp_path / "r.txt").write_text("".join(f"__label__{1 + i % 2} {text}\n" for i, text in enumerate(texts)))
    manifest = prepare(tmp_path / "r.txt", tmp_path / "data").manifest
    assert manifest.oddities["markup"] == 10
    assert [note for note in manifest.warnings if "HTML" in note] == [
        "10 rows contain HTML; tags were removed and entities decoded."
    ]
    alpha = prepare(tmp_path / "r.txt", tmp_path / "alpha", clean="alpha").manifest
    assert not any("HTML" in note for note in alpha.warnings)


@pytest.mark.parametrize("min_count", [1, 2])
def test_words_that_are_whole_sentences_are_noticed(tmp_path, min_count):
    rows = [f"__label__{1 + i % 2} thelampcameingoodorder{i}anditworks\n" for i in range(100)]
    (tmp_path / "r.txt").write_text("".join(rows))
    if min_count == 2:
        with pytest.raises(DataError, match="The average word has 34 characters: it seems to be a whole"):
            prepare(tmp_path / "r.txt", tmp_path / "data")
        return
    manifest = prepare(tmp_path / "r.txt", tmp_path / "data", min_count=1).manifest
    assert any("The average word has 34 characters" in note for note in manifest.warnings)
