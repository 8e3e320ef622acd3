"""`prepare --classes`: which classes labels and stars become, and which inputs are refused."""

import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError, UsageError
from sentiscale.text.label_reading import LabelReading, for_model
from tests.data.test_prepare_labels import column, csv, fasttext, meaning, prepared, refused
from tests.text.test_label_reading import typed

KINDS = {
    "ternary": (("negative", "Neutral", "pos"), ("negative", "neutral", "positive")),
    "stars": (("5", "1", "4.0", "2", "3"), ("1", "2", "3", "4", "5")),
    "labels": (("spam", "Ham"), ("Ham", "spam")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [csv, fasttext])
def test_each_row_has_the_position_of_its_class(tmp_path, kind, write):
    values, names = KINDS[kind]
    prefix = "__label__" if write is fasttext else ""
    path = write(tmp_path / f"a.{'txt' if prefix else 'csv'}", column(*(prefix + value for value in values)))
    manifest = prepared(path, tmp_path, classes=kind, min_class_rows=1)
    assert manifest.classes == names
    assert (manifest.class_set.names, manifest.class_set.kind) == (names, kind)
    assert manifest.labels == dict.fromkeys(names, 60 // len(names))
    stored: Counter[int] = Counter()
    for split, counts in manifest.labels_per_split.items():
        labels = np.fromfile(tmp_path / "data" / split / "labels.bin", np.uint8)
        assert np.bincount(labels, minlength=len(names)).tolist() == [counts[name] for name in names]
        stored.update(labels.tolist())
    assert [stored[code] for code in range(len(names))] == list(manifest.labels.values())


@pytest.mark.parametrize("block_mb", [8, 0.0003])
def test_the_label_of_each_text_is_its_own(tmp_path, block_mb):
    """Two files list the classes in different orders, in one partition or in partitions of a few rows."""
    one = csv(tmp_path / "a.csv", column("books", "toys", "music"))
    two = csv(tmp_path / "b.csv", column("music", "Toys", "books", count=66)[60:])
    data = prepare(
        [one, two],
        tmp_path / "data",
        classes="labels",
        keep_text=True,
        block_mb=block_mb,
        min_count=1,
        dedupe=False,
        min_class_rows=1,
    )
    expected = Counter()
    for path in (one, two):
        for line in path.read_text().splitlines()[1:]:
            text, label = line.strip('"').split('","')
            expected[text, label.lower()] += 1
    found: Counter = Counter()
    for split in ("train", "valid", "test"):
        labels = [data.manifest.classes[code] for code in data.split(split).labels]
        texts = pq.read_table(tmp_path / "data" / "text" / split)["text"].to_pylist()
        found.update(zip(texts, labels, strict=True))
    assert data.manifest.classes == ("books", "music", "toys")
    assert data.manifest.partitions["count"] == 1 or block_mb < 1
    assert found == expected


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (("-1", "0", "1"), "ternary", {"-1": "negative", "0": "neutral", "1": "positive"}),
        (("0", "2", "4"), "ternary", {"0": "negative", "2": "neutral", "4": "positive"}),
        (
            ("neg", "mixed", "neu", "Pos"),
            "ternary",
            {"neu": "neutral", "mixed": "neutral", "Pos": "positive"},
        ),
        (("10", "9", "alpha", "Beta"), "labels", {"10": "10", "alpha": "alpha", "Beta": "Beta"}),
        (("1.0", "1", "2"), "labels", {"1.0": "1", "1": "1", "2": "2"}),
    ],
)
def test_meanings_of_values(tmp_path, values, kind, expected):
    manifest = prepared(csv(tmp_path / "a.csv", column(*values)), tmp_path, classes=kind)
    assert expected.items() <= meaning(manifest).items()


def test_numbers_are_ordered_by_size_and_words_by_alphabet(tmp_path):
    path = csv(tmp_path / "a.csv", column("zebra", "10", "9", "Apple", "apple", "mango"))
    assert prepared(path, tmp_path, classes="labels").classes == ("9", "10", "Apple", "mango", "zebra")


@pytest.mark.parametrize(
    ("values", "kind", "told", "command"),
    [
        ("0 1 2", "ternary", "the lowest may also be neutral", "0=negative,1=neutral,2=positive"),
        ("1 2 3", "ternary", "the lowest may also be neutral", "1=negative,2=neutral,3=positive"),
        ("negative positive", "ternary", "no label is neutral", None),
        ("0 1", "ternary", "two values; three classes are needed", None),
        ("1 2 3 4 5", "ternary", "If they are stars: --stars-column label", None),
        ("neg 0 pos", "ternary", "numbers and words", "0=CLASS,neg=negative,pos=positive"),
        ("n pos neutral", "ternary", "not one pair", "n=CLASS,neutral=neutral,pos=positive"),
        ("1 2 3 4 5 4.5", "stars", "each class is a whole number of stars, 1-5", "4.5=CLASS"),
        ("1 2 3 4 5 great", "stars", "each class is a whole number of stars, 1-5", "great=CLASS"),
        ("1 2", "stars", "if they mean negative and positive: --classes binary", None),
        ("0 1", "stars", "If they are labels: --classes binary", None),
        ("1 2 3 4 5 6 7 8", "stars", "--stars-scale 1-8", None),
        ("only", "labels", "two classes are needed", None),
        ("a b drop", "labels", "cannot name a class", "drop=CLASS"),
    ],
)
def test_labels_that_may_be_misread_are_refused(tmp_path, values, kind, told, command):
    message = refused(csv(tmp_path / "a.csv", column(*values.split())), tmp_path, classes=kind)
    assert told in message
    if command:
        assert {"label_map": command} in typed(message)


def test_a_scale_that_is_given_is_believed(tmp_path):
    path = csv(tmp_path / "a.csv", column("1", "2"))
    assert prepared(path, tmp_path, classes="stars", stars_scale="1-5").labels["5"] == 0
    ten = csv(tmp_path / "b.csv", column(*map(str, range(1, 11))), "rating")
    names = prepare(ten, tmp_path / "ten", classes="stars", stars_scale="1-10", min_count=1).manifest.classes
    assert names == tuple(map(str, range(1, 11)))
    with pytest.raises(UsageError, match="101 whole numbers"):
        prepare(ten, tmp_path / "no", classes="stars", stars_scale="0-100")


def test_a_few_odd_values_are_left_out_with_their_reason(tmp_path):
    values = column("1", "2", "3", "4", "5", count=300)
    values[7], values[8] = "4.5", "several"
    manifest = prepared(csv(tmp_path / "a.csv", values, "stars"), tmp_path, classes="stars")
    assert manifest.rejected["by_reason"] == {"unknown_label": 2}
    lines = [f"__label__{value}" for value in column("a", "b", count=300)]
    lines[5] = "__label__a __label__b"
    manifest = prepare(
        fasttext(tmp_path / "b.txt", lines), tmp_path / "two", classes="labels", min_count=1
    ).manifest
    assert manifest.rejected["by_reason"] == {"unknown_label": 1}
    assert manifest.classes == ("a", "b")


def test_rare_labels_are_refused_merged_or_left_out(tmp_path):
    values = column("a", "b", count=80) + ["c"] * 6 + ["d"] * 5
    path = csv(tmp_path / "a.csv", values)
    message = refused(path, tmp_path, classes="labels")
    assert "fewer than 10 rows have 'c' (6 rows), 'd' (5 rows)" in message
    dropped, merged = typed(message)[:2]
    assert dropped == {"label_map": "c=drop,d=drop"}
    manifest = prepared(path, tmp_path, classes="labels", **dropped)
    assert manifest.labels == {"a": 40, "b": 40}
    assert manifest.rejected["by_reason"] == {"dropped": 11}
    assert manifest.label_values["c"] == {"rows": 6, "class": None, "reason": "dropped"}
    assert merged == {"label_map": "c=other,d=other"}
    manifest = prepare(path, tmp_path / "merged", classes="labels", dedupe=False, **merged).manifest
    assert manifest.labels == {"a": 40, "b": 40, "other": 11}
    kept = prepare(path, tmp_path / "kept", classes="labels", dedupe=False, min_class_rows=5).manifest
    assert list(kept.labels.values()) == [40, 40, 6, 5]


def test_a_map_merges_into_a_class_of_any_spelling(tmp_path):
    path = csv(tmp_path / "a.csv", column("Sports", "football", "News"))
    manifest = prepared(path, tmp_path, classes="labels", label_map="FOOTBALL=sports,x=drop")
    assert manifest.labels == {"News": 20, "Sports": 40}


def test_too_many_values_are_no_classes(tmp_path):
    words = csv(tmp_path / "a.csv", [f"w{number}" for number in range(120)])
    assert "more than 100 different values cannot be classes" in refused(words, tmp_path, classes="labels")
    numbers = csv(tmp_path / "b.csv", [f"{number}.5" for number in range(1200)])
    message = refused(numbers, tmp_path, classes="labels", block_mb=0.002)
    assert "column 'label'" in message
    assert "different numbers cannot be classes" in message
    texts = csv(tmp_path / "c.csv", [f"this is number {number}" for number in range(120)])
    assert "different texts cannot be classes" in refused(texts, tmp_path, classes="labels")


@pytest.mark.parametrize(
    ("kind", "label_map"), [("binary", "a=neutral"), ("ternary", "a=good"), ("stars", "a=6")]
)
def test_a_map_to_a_class_that_there_is_not_is_refused(tmp_path, kind, label_map):
    path = csv(tmp_path / "a.csv", column("a", "b"))
    with pytest.raises(UsageError, match="allowed are"):
        prepared(path, tmp_path, classes=kind, label_map=label_map)
    with pytest.raises(UsageError, match="x=CLASS"):
        prepared(path, tmp_path, classes=kind, label_map="x=CLASS")


def test_conflicts_and_duplicates_of_several_classes(tmp_path):
    lines = [f"{label},some words and number {number}" for number, label in enumerate("abcabcabcabc" * 5)]
    lines += ["c,some words and number 0", "b,some words and number 1", "b,some words and number 3"]
    (tmp_path / "a.csv").write_text("\n".join(["label,text", *lines]) + "\n")
    manifest = prepare(tmp_path / "a.csv", tmp_path / "data", classes="labels", block_mb=0.0005).manifest
    assert (manifest.duplicates, manifest.conflicting_texts, manifest.conflicts) == (3, 2, 4)
    rows = pq.read_table(tmp_path / "data" / "conflicts.parquet").to_pylist()
    assert [(row["line"], row["label"]) for row in rows] == [(2, "a"), (5, "a"), (62, "c"), (64, "b")]
    assert manifest.labels == {"a": 20, "b": 20, "c": 20}


def test_the_digest_depends_on_the_names_of_classes(tmp_path):
    digests = {}
    for names in ("ab", "ac"):
        path = csv(tmp_path / f"{names}.csv", column(*names))
        digests[names] = prepare(path, tmp_path / names, classes="labels", min_count=1).manifest.digest
    assert digests["ab"] != digests["ac"]
    manifest = json.loads((tmp_path / "ab" / "manifest.json").read_text())
    manifest["classes"] = ["a", "c"]
    for counts in (manifest["labels"], *manifest["labels_per_split"].values()):
        counts["c"] = counts.pop("b")
    (tmp_path / "ab" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="changed by hand"):
        PreparedDataset.open(tmp_path / "ab")


def test_readings_bound_what_a_model_stores(tmp_path):
    long = csv(tmp_path / "a.csv", column(*(f"{number} {'x' * 90}" for number in range(60))))
    message = refused(long, tmp_path, classes="labels", min_class_rows=1)
    assert "at most 10,000 are allowed" in message
    with pytest.raises(ValueError, match="more than 100 classes"):
        LabelReading(kind="stars", stars_scale=(1, 1e9))
    with pytest.raises(ValueError, match="is unknown"):
        LabelReading(values={"x": "great"})


def test_the_map_of_a_model_names_its_classes():
    known = LabelReading(kind="labels", values={"sports": "Sports", "news": "News"})
    settings = for_model(PrepareSettings(label_map="x=SPORTS,y=drop"), known)
    assert (settings.classes, settings.label_map) == ("labels", {"x": "Sports", "y": "drop"})
    with pytest.raises(UsageError, match="allowed are 'News', 'Sports' and drop"):
        for_model(PrepareSettings(label_map="x=weather"), known)


def test_a_class_without_training_rows_is_refused(tmp_path):
    train = csv(tmp_path / "a.csv", column("a", "b"))
    test = csv(tmp_path / "b.csv", column("a", "c", count=90)[60:])
    with pytest.raises(DataError, match="no training row is of the class 'c'"):
        prepare(train, tmp_path / "data", test=test, classes="labels", min_count=1)


def test_folders_are_labels(tmp_path):
    for name in ("books", "toys", "music"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(12):
            (tmp_path / "in" / name / f"{number}.txt").write_text(f"a review of {name} number {number}")
    manifest = prepared(tmp_path / "in", tmp_path, format="files", classes="labels")
    assert manifest.labels == {"books": 12, "music": 12, "toys": 12}
    given = "books=negative,toys=positive"
    manifest = prepare(
        tmp_path / "in", tmp_path / "two", format="files", label_map=given, min_count=1
    ).manifest
    assert manifest.labels == {"negative": 12, "positive": 12}


def test_names_of_the_flags_and_keys(tmp_path, cli):
    path = csv(tmp_path / "a.csv", column("1", "2", "3", "4", "5"), "rating")
    done = cli("prepare", path, "--out", tmp_path / "data", "--classes", "stars", "--json")
    document = json.loads(done.stdout)
    assert document["classes"] == ["1", "2", "3", "4", "5"]
    assert document["labels"] == dict.fromkeys(document["classes"], 12)
    assert document["label_values"]["3"] == {"rows": 12, "class": "3", "reason": None}
    done = cli("prepare", path, "--out", tmp_path / "two", "--classes", "ternary")
    assert "% negative, 20.0 % neutral, " in done.stdout
    assert cli("prepare", path, "--out", tmp_path / "no", "--classes", "four").returncode == 2
    few = cli(
        "prepare",
        path,
        "--out",
        tmp_path / "no",
        "--classes",
        "labels",
        "--stars-column",
        "rating",
        "--min-class-rows",
        "13",
    )
    assert few.returncode == 3
    assert "--min-class-rows 12" in few.stderr


def test_words_become_stars_where_the_map_names_all_of_them(tmp_path):
    path = csv(tmp_path / "a.csv", column("good", "okay", "bad"))
    manifest = prepared(path, tmp_path, classes="stars", label_map={"good": "5", "okay": "3", "bad": "1"})
    assert manifest.labels == {"1": 20, "2": 0, "3": 20, "4": 0, "5": 20}


def test_a_third_word_is_not_proposed_to_be_left_out_of_three_classes(tmp_path):
    message = refused(csv(tmp_path / "a.csv", column("good", "mid", "bad")), tmp_path, classes="ternary")
    assert "--label-map bad=negative,good=positive,mid=CLASS" in message


def test_spellings_of_one_class_and_unused_values_of_the_map_are_noted(tmp_path):
    path = csv(tmp_path / "a.csv", column("Good", "good", "bad"))
    manifest = prepared(path, tmp_path, classes="labels", label_map={"goood": "good"})
    assert manifest.classes == ("bad", "Good")
    notes = " ".join(manifest.warnings)
    assert "'Good', 'good' are one class." in notes
    assert "No row has the value 'goood' of --label-map." in notes


def test_a_label_that_cannot_be_printed_is_shown_without_control_characters(tmp_path):
    values = [f"a\tb{number}" for number in range(101)]
    path = csv(tmp_path / "a.csv", column(*values, count=202))
    message = refused(path, tmp_path, classes="labels")
    assert message.isprintable()
