"""The page about prepared data: self-contained, safe with hostile reviews, right in its numbers."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiscale.errors import DataError, OutputExistsError, UsageError
from sentiscale.report.charts import class_styles
from sentiscale.report.eda import eda, gather
from sentiscale.report.page import _part
from sentiscale.text.classes import Classes
from tests.report.eda_data import write_dataset

HOSTILE = "<script>alert(1)</script><img/src=https://example.org/x.png/onerror=alert(2)>\"'&amp;{{7*7}}"
VOID = {"meta", "br", "path", "img", "link"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID or self._open[-1] == tag:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


def rows(count: int, extra: str = "") -> list[tuple[int, str]]:
    """Reviews with two telling words of their class, nine others and what else they should hold."""
    telling = ("awful broken", "great lovely")
    others = [" ".join(f"w{i * j % 150}" for j in range(9)) for i in range(count)]
    return [(i % 2, f"{telling[i % 2]} thing {others[i]} {extra}".strip()) for i in range(count)]


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def hostile(tmp_path):
    """A dataset that has everything, with markup and code wherever a string can come from outside."""
    data = write_dataset(
        tmp_path / "da<b>ta",
        {"train": rows(400, HOSTILE), "test": rows(40)},
        rejected={"total": 5, "by_reason": {"no_label": 4, "neutral": 1}},
        duplicates=7,
        leaks=3,
        conflicts=2,
        conflicting_texts=1,
        oddities={"markup": 2, "<i>": 1},
        warnings=[f"Look {HOSTILE}"],
        cut=9,
        tokens_cut=100,
        distinct_words=999,
        max_tokens=13,
        phases={"encode": 1.0, HOSTILE: 0.5},
        partitions={"count": 3, "rows_max_over_mean": 1.25, "bytes_max_over_mean": 1.5},
        inputs=[f"/data/{HOSTILE}.csv"],
        test_inputs=["/data/test.csv"],
        settings={"stars_column": HOSTILE},
        versions={HOSTILE: "1"},
    )
    place = {"file": ["a/b.csv"] * 4, "line": [1, 2, 3, 4], "text": [HOSTILE, "other", HOSTILE, None]}
    parquet(data.path / "rejects.parquet", **place, reason=["no_label"] * 3 + ["neutral"])
    parquet(data.path / "oddities.parquet", **place, oddity=["markup", "markup", "<i>", "<i>"])
    labels = ["negative", "positive", "positive", "negative"]
    parquet(data.path / "conflicts.parquet", **place, label=labels, split=["train"] * 4, text_id=[5, 6, 5, 7])
    return data


@pytest.fixture
def page(hostile, tmp_path):
    eda(hostile, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_nothing_a_review_holds_becomes_markup_or_code(page):
    parsed = Page(page)
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert parsed.text.count("<script>alert(1)</script>") >= 5, "shown as the text it is"
    assert "49" not in re.findall(r"\{\{.*?\}\}|\b49\b", parsed.text), "not read as a template"


def test_page_refers_to_nothing_outside_itself(page):
    parsed = Page(page)
    targets = [
        v
        for n in ("src", "href", "action", "data", "poster", "srcset", "xlink:href")
        for v in parsed.values(n)
    ]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(parsed.tags)
    assert re.findall(r"url\(|@import|https?:", "".join([_part("page.css"), _part("page.js")])) == []
    assert {target[1:] for target in targets} <= set(parsed.values("id"))


def test_browser_is_told_to_run_our_script_only_and_load_nothing(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [value for value in Page(page).values("content") if "default-src" in value]
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


def test_page_is_sound_and_can_be_heard(page):
    parsed = Page(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    assert parsed.tags.count("h1") == 1
    levels = [int(tag[1]) for tag in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    images = page.count('role="img"')
    assert images == len(parsed.values("aria-labelledby")) + len(
        [1 for tag, name, _ in parsed.attributes if (tag, name) == ("div", "aria-label")]
    )
    for ids_named in parsed.values("aria-labelledby"):
        assert set(ids_named.split()) <= set(ids)
    assert parsed.tags.count("svg") == 5
    assert len(page) < 1_500_000


def test_same_data_give_the_same_bytes(hostile, page, tmp_path):
    eda(hostile.path, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_numbers_and_findings_of_the_manifest_are_on_the_page(page):
    text = re.sub(r"\s+", " ", Page(page).text)
    for told in (
        "440",
        "400 train, 40 test",
        "7 rows repeated a text",
        "3 of the duplicates are also in the test set",
        "2 rows (1 texts) carry a text that occurs with both labels",
        "b.csv:1",
        "test.csv",
        "Note. Look",
        "4 no label, 1 three stars, neither class",
        "2 HTML tags or entities, 1 <i>",
        "9 reviews (2.0 %) were longer",
        "3; the largest has 1.25 times the mean rows",
    ):
        assert told in text


def test_only_texts_with_both_labels_are_shown_as_contradictions(hostile):
    (rows_of_text,) = gather(hostile).findings.conflicts
    assert [(row.label, row.where) for row in rows_of_text] == [
        ("negative", "b.csv:1"),
        ("positive", "b.csv:3"),
    ]


def test_samples_are_short_typical_and_long_of_each_class_with_telling_words_marked(hostile):
    reviews = gather(hostile).samples.reviews
    assert [(r.label, r.kind) for r in reviews] == [
        (label, kind)
        for label in ("negative", "positive")
        for kind in ("short", "short", "typical", "typical", "long")
    ]
    for review in reviews:
        marked = {piece.text for piece in review.pieces if piece.style == review.label}
        assert marked & {"awful", "broken", "great", "lovely"}
        assert sum(1 for p in review.pieces if p.text.strip()) == review.tokens


def test_raw_text_is_shown_where_it_was_kept(tmp_path):
    data = write_dataset(tmp_path / "data", {"train": [(i % 2, f"word number n{i}") for i in range(30)]})
    folder = data.path / "text" / "train"
    folder.mkdir(parents=True)
    for first in range(0, 30, 2):  # every negative review is the first one of a part
        texts = [f"Word, NUMBER n{i}!" for i in (first, first + 1)]
        parquet(folder / f"{first:06d}.parquet", text=texts)
    samples = gather(data).samples
    assert samples.as_written
    texts = ["".join(piece.text for piece in review.pieces) for review in samples.reviews]
    assert all(re.fullmatch(r"Word, NUMBER n\d+!", text) for text in texts)
    for review, text in zip(samples.reviews, texts, strict=True):
        assert int(text[14:-1]) % 2 == (review.label == "positive"), "the text of that very row"


def test_endings_and_marks_join_the_word_before_and_unknown_words_are_signed(tmp_path):
    rows_ = [(i % 2, "it did n't work ! ! i 'm x") for i in range(20)]
    data = write_dataset(tmp_path / "data", {"train": rows_, "test": rows_}, vocab_size=9)
    text = "".join(piece.text for piece in gather(data).samples.reviews[0].pieces)
    assert text == "it didn't work!! i'm ▢"


@pytest.mark.parametrize(
    "train",
    [
        [(0, "a"), (1, "b")],
        [(i % 2, f"unique{i}") for i in range(20)],
        [(1, "only one class here")] * 3,
        [(0, "词 " * 500), (1, "ممتاز " * 3)],
        [(0, "same same"), (1, "same")] * 500,
    ],
    ids=["two-rows", "twenty", "one-class", "not-latin", "one-word"],
)
def test_unusual_data_make_a_page_too(tmp_path, train):
    data = write_dataset(tmp_path / "data", {"train": train}, mb_per_s=0)
    written = eda(data, tmp_path / "page.html")
    Page((tmp_path / "page.html").read_text())
    assert written.facts.lengths.rows == len(train)


def test_colours_can_be_told_from_their_background():
    """Contrast of at least 4.5 (WCAG 2, level AA) for every colour that text is written in."""
    for block in re.findall(r"\{[^{}]*--page:[^{}]*\}", _part("page.css")):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name in ("ink", "muted", "negative", "positive"):
            for ground in ("page", "card"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground, block)
        assert contrast(colours["ink"], colours["note"]) >= 4.5


DICHROMATIC = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
"""Linear RGB as seen without one kind of cone (Machado, Oliveira and Fernandes, 2009)."""
ORDERED = ("negative", "negative-half", "quiet", "positive-half", "positive")
NOMINAL = ("negative", "positive", "nominal-2", "nominal-3", "nominal-4", "nominal-5", "ink")


@pytest.mark.parametrize("names", [ORDERED, NOMINAL], ids=["stars", "nominal"])
def test_colours_of_classes_can_be_told_apart_by_the_colour_blind(names):
    """Distance in Oklab of at least 0.07; the palette of Okabe and Ito has 0.076."""
    for block in re.findall(r"\{[^{}]*--page:[^{}]*\}", _part("page.css")):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for sight, matrix in DICHROMATIC.items():
            seen = {name: oklab(np.array(matrix) @ linear(colours[name])) for name in names}
            for one, other in combinations(names, 2):
                assert np.linalg.norm(seen[one] - seen[other]) >= 0.07, (sight, one, other, block)


def test_classes_have_colours_of_their_kind():
    ternary = Classes(("negative", "neutral", "positive"), "ternary")
    stars = Classes(tuple(map(str, range(1, 6))), "stars")
    many = [Classes(tuple(f"c{code}" for code in range(number)), "labels") for number in (2, 7, 8, 100)]
    assert class_styles(Classes()) == class_styles(many[0]) == ["negative", "positive"]
    assert class_styles(ternary) == ["level-0", "level-5", "level-10"]
    assert class_styles(stars) == ["level-0", "level-2", "level-5", "level-8", "level-10"]
    assert len(set(class_styles(many[1]))) == 7
    assert set(class_styles(many[2]) + class_styles(many[3])) == {"accent"}
    for style in {*class_styles(stars), *class_styles(many[1])}:
        assert re.search(rf"\.{style}\b[^{{]*\{{ --tone", _part("page.css"))


@pytest.mark.parametrize("number", [3, 7, 24, 100])
def test_pages_of_many_classes_name_each_and_escape_its_name(tmp_path, number):
    names = (HOSTILE, "line", *(f"c{code}" for code in range(2, number)))
    train = [(i % number, f"own{i % number} word number n{i % 90}") for i in range(900)]
    data = write_dataset(tmp_path / "data", {"train": train}, classes=names, settings={"classes": "labels"})
    written = eda(data, tmp_path / "page.html")
    parsed = Page((tmp_path / "page.html").read_text())
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert all(name in parsed.text for name in names)
    assert f"own{number - 1}" in parsed.text.partition("Which words")[2].partition("Findings")[0]
    assert {sample.label for sample in written.facts.samples.reviews} == set(names)
    assert written.bytes < 400_000
    told = written.facts.summary()["telling"]["words"]
    assert [terms[0]["text"] for terms in told.values()] == [f"own{code}" for code in range(number)]


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Coordinates of linear RGB in a space with even distances (Ottosson, 2020)."""
    to_cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    to_lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))


@pytest.mark.parametrize("damage", ["not-parquet", "other-columns", "other-types"])
def test_damaged_findings_are_named(hostile, tmp_path, damage):
    path = hostile.path / "conflicts.parquet"
    if damage == "not-parquet":
        path.write_bytes(b"PAR1 and then nothing")
    elif damage == "other-types":
        parquet(path, file=["a"], line=[1], label=["negative"], text=[["a", "list"]])
    else:
        parquet(path, other=[1])
    with pytest.raises(DataError, match=r"conflicts\.parquet is damaged"):
        eda(hostile, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_without_the_tables_of_findings_the_page_still_has_their_counts(hostile, tmp_path):
    for name in ("rejects", "oddities", "conflicts"):
        (hostile.path / f"{name}.parquet").unlink()
    eda(hostile, tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text()).text
    assert "4 no label" in text
    assert "for example" not in text


def test_an_existing_page_is_replaced_by_force_only_and_other_files_never(hostile, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        eda(hostile, out)
    assert out.read_text() == "mine"
    eda(hostile, out, force=True)
    assert out.read_text().startswith("<!DOCTYPE html>")
    for wrong in (hostile.path / "vocab.txt", hostile.path):
        with pytest.raises(UsageError, match=r"Try: --out eda\.html"):
            eda(hostile, wrong, force=True)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        eda(hostile, tmp_path / "folder.html", force=True)
