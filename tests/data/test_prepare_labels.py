"""What `prepare` understands of labels: each input has one meaning, or is refused with the flag to give."""

import json
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.prepare import prepare
from sentiscale.data.shards import finished_summary
from sentiscale.errors import DataError, UsageError
from tests.data.encoding import encode

ROWS = 60


def texts(count=ROWS):
    """Different reviews that share their words."""
    words = ["a", "bad", "good", "lamp", "works", "at", "home", "every", "day", "and", "night"]
    return [" ".join([*words[i % 7 : i % 7 + 4], f"number{i // 4}", words[i % 10]]) for i in range(count)]


def column(*values, count=ROWS):
    """`count` values that repeat those given."""
    return [values[i % len(values)] for i in range(count)]


def csv(path, values, name="label"):
    lines = [
        f'"{text}","{str(value).replace(chr(34), chr(34) * 2)}"'
        for text, value in zip(texts(len(values)), values, strict=True)
    ]
    path.write_text("\n".join([f"text,{name}", *lines]) + "\n", encoding="utf-8")
    return path


def fasttext(path, values):
    lines = [f"{value} {text}" for text, value in zip(texts(len(values)), values, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def parquet(path, values, name="label"):
    array = values if isinstance(values, pa.Array) else pa.array(values)
    pq.write_table(pa.table({name: array, "text": texts(len(values))}), path)
    return path


def jsonl(path, values, name="label"):
    rows = [{"text": text, name: value} for text, value in zip(texts(len(values)), values, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def meaning(manifest):
    """Class of each value; the reason for values that are left out."""
    return {value: entry["class"] or entry["reason"] for value, entry in manifest.label_values.items()}


def prepared(path, tmp_path, **settings):
    settings = {"dedupe": False, "min_count": 1, **settings}
    return prepare(path, tmp_path / "data", **settings).manifest


def refused(path, tmp_path, **settings):
    """The message of a refused input."""
    with pytest.raises(DataError) as caught:
        prepared(path, tmp_path, **settings)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "data").exists()
    return str(caught.value)


# one meaning


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("negative", "positive"),
        ("NEGATIVE", "Positive"),
        (" neg ", " pos"),
        ("'bad'", "'good'"),
        ("No", "Yes"),
        ("n", "y"),
        ("f", "t"),
        ("FALSE", "TRUE"),
        ("LABEL_0", "LABEL_1"),
        ("label_1", "label_2"),
        ("Not Recommended", "Recommended"),
        ("0", "1"),
        ("0.0", "1.0"),
        ("-0", "+1"),
        ("1", "2"),
        ("1,0", "2,0"),
        ("-1", "1"),
        ("-1.0", "1.00"),
        ("0", "4"),
        ("__label__1", "__label__2"),
        ("__label__0", "__label__1"),
        ("\u200b1", "\ufeff2"),
    ],
)
def test_usual_labels_are_taken(tmp_path, negative, positive):
    manifest = prepared(csv(tmp_path / "a.csv", column(negative, positive)), tmp_path)
    assert manifest.labels == {"negative": ROWS // 2, "positive": ROWS // 2}
    assert meaning(manifest) == {negative.strip(): "negative", positive.strip(): "positive"}
    assert manifest.columns == {"text": "text", "title": None, "label": "label", "stars": None}
    assert manifest.label_from == "usual name"


@pytest.mark.parametrize(
    "values",
    [
        pa.array(column(False, True)),
        pa.array(column(0, 4), pa.int8()),
        pa.array(column(0.0, 1.0), pa.float32()),
        pa.array(column(-1, 1), pa.int64()),
        pa.array(column("bad", "good")).dictionary_encode(),
        pa.array(column(b"no", b"yes")),
        pa.array(column(Decimal("0.00"), Decimal("1.00"))),
    ],
    ids=lambda values: str(values.type),
)
def test_parquet_columns_of_any_type(tmp_path, values):
    manifest = prepared(parquet(tmp_path / "a.parquet", values), tmp_path)
    assert manifest.labels == {"negative": ROWS // 2, "positive": ROWS // 2}
    assert manifest.label_reading.values


def test_nulls_are_left_out_and_counted(tmp_path):
    manifest = prepared(parquet(tmp_path / "a.parquet", column(0.0, 1.0, None)), tmp_path)
    assert manifest.rejected["by_reason"] == {"no_label": 20}
    assert manifest.labels == {"negative": 20, "positive": 20}
    manifest = prepare(
        csv(tmp_path / "a.csv", column("0", "1", "NaN")), tmp_path / "two", min_count=1
    ).manifest
    assert manifest.rejected["by_reason"] == {"no_label": 20}


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (-1, 1), (0, 4), (False, True), ("no", "yes"), (1.0, 2.0)])
def test_json_values_of_any_type(tmp_path, pair):
    manifest = prepared(jsonl(tmp_path / "a.jsonl", column(*pair)), tmp_path)
    assert manifest.labels == {"negative": ROWS // 2, "positive": ROWS // 2}


def test_json_values_that_change_their_type(tmp_path):
    manifest = prepared(jsonl(tmp_path / "a.jsonl", column(0, 1, "0", "1", 1.0, 0.0)), tmp_path)
    assert manifest.labels == {"negative": ROWS // 2, "positive": ROWS // 2}


def test_the_word_neutral_is_dropped_and_said(tmp_path):
    manifest = prepared(csv(tmp_path / "a.csv", column("negative", "Neutral", "positive")), tmp_path)
    assert manifest.labels == {"negative": 20, "positive": 20}
    assert meaning(manifest) == {"negative": "negative", "Neutral": "neutral", "positive": "positive"}
    assert manifest.reject_examples["neutral"].label == "Neutral"


def test_one_odd_word_is_left_out_with_its_place(tmp_path):
    values = column("bad", "good")
    values[7] = "goood"
    manifest = prepared(csv(tmp_path / "a.csv", values), tmp_path)
    assert meaning(manifest)["goood"] == "unknown_label"
    example = manifest.reject_examples["unknown_label"]
    assert (example.line, example.label) == (9, "goood")
    assert example.shown().startswith(f"{tmp_path / 'a.csv'}:9: label 'goood': ")
    assert "--label-map 'goood=CLASS" in example.remedy()


def test_files_of_different_kinds_are_read_together(tmp_path):
    csv(tmp_path / "a.csv", column("1"))
    fasttext(tmp_path / "b.txt", column("__label__0", "__label__1"))
    jsonl(tmp_path / "c.jsonl", column(0))
    manifest = prepared([tmp_path / "a.csv", tmp_path / "b.txt", tmp_path / "c.jsonl"], tmp_path)
    assert manifest.labels == {"negative": ROWS + ROWS // 2, "positive": ROWS + ROWS // 2}


def test_labels_and_stars_keep_their_own_meaning(tmp_path):
    csv(tmp_path / "a.csv", column("1", "2"))
    csv(tmp_path / "b.csv", column("1", "2", "3", "4", "5"), "rating")
    manifest = prepared([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path)
    assert manifest.labels == {"negative": 30 + 24, "positive": 30 + 24}
    assert meaning(manifest)["2"] == "positive"
    assert meaning(manifest)["2 stars"] == "negative"
    warning = f"'label' in {tmp_path / 'a.csv'}, 'rating' in {tmp_path / 'b.csv'}"
    assert any(warning in each for each in manifest.warnings)


# refused


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            "0 1 2",
            "three classes; two are needed. If higher is better: --label-map 0=negative,1=drop,2=positive",
        ),
        (
            "-1 0 1",
            "three classes; two are needed. If higher is better: --label-map -1=negative,0=drop,1=positive",
        ),
        ("LABEL_0 LABEL_1 LABEL_2", "--label-map 0=negative,1=drop,2=positive"),
        ("0 2 4", "--label-map 0=negative,2=drop,4=positive"),
        ("0 1 2 3 4", "--label-map 0=negative,1=negative,2=drop,3=positive,4=positive"),
        ("1 2 3", "--label-map 1=negative,2=drop,3=positive"),
        ("1 2 3 4 5", "If they are stars: --stars-column label"),
        ("1.0 2.0 3.0 4.0 5.0", "If they are stars: --stars-column label"),
        ("4 5", "If they are stars: --stars-column label"),
        ("0 2", "are not 0/1, 1/2, -1/1 or 0/4"),
        ("0 1 2 3 4 5 6 7 8 9 10", "--stars-column label --stars-scale 0-10"),
        ("-0.73 -0.2 0.0 0.11 0.25 0.3 0.4 0.5 0.8 1.0", "--stars-column label --stars-scale LOW-HIGH"),
        ("3 17 250 9 11 1045 8 12 0 99", "name the column that holds the ratings or labels"),
        ("1", "it is unclear which class '1' means"),
        ("2", "all labels are positive"),
        ("0", "all labels are negative; both classes are needed"),
        ("positive", "all labels are positive; both classes are needed"),
        ("yes", "all labels are positive"),
        ("0 1 positive", "numbers and words"),
        ("0 1 neutral", "numbers and words"),
        ("joy anger sadness", "the meaning of 'anger', 'joy', 'sadness' is not known"),
        ("positive negative irrelevant", "the meaning of 'irrelevant' is not known"),
        (
            "positif negatif",
            "--label-map negatif=CLASS,positif=CLASS, where CLASS is negative, positive or drop",
        ),
        ("good bad nsfw", "To leave out their rows: --label-map bad=negative,good=positive"),
        ("★ ★★★★★", "If they are stars: --stars-column label"),
        ("x" * 500 + " y", "'" + "x" * 39 + "…'"),
        ("negative somewhat-negative positive", "'somewhat-negative'"),
        ("neutral", "no usable row is left"),
    ],
)
def test_labels_without_one_meaning_are_refused(tmp_path, values, told):
    message = refused(csv(tmp_path / "a.csv", column(*values.split())), tmp_path)
    assert told in message
    assert f"'{values.split()[1 if ' ' in values else 0]}'" in message, "the values are shown"


@pytest.mark.parametrize("write", [fasttext, jsonl, parquet])
@pytest.mark.parametrize("values", [(0, 1, 2), (-1, 0, 1), (1,), (1, 2, 3, 4, 5), ("positive", 0)])
def test_every_format_is_checked(tmp_path, write, values):
    values = [f"__label__{value}" if write is fasttext else value for value in values]
    if write is parquet and isinstance(values[0], str):
        values = [str(value) for value in values]
    assert "--label-map" in (
        told := refused(write(tmp_path / write.__name__, column(*values)), tmp_path)
    ) or ("--stars-column label" in told)


def test_mixed_codings_over_files_are_refused(tmp_path):
    csv(tmp_path / "a.csv", column("0", "1"))
    csv(tmp_path / "b.csv", column("1", "2"))
    message = refused([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path)
    assert "'0' (30 rows), '1' (60 rows), '2' (30 rows)" in message
    assert f"{tmp_path / 'a.csv'}: 0, 1; {tmp_path / 'b.csv'}: 1, 2" in message
    assert "drop" not in message.split("--label-map ")[1].split(", where")[0]


@pytest.mark.parametrize("write", [csv, jsonl, parquet])
def test_a_second_column_that_contradicts_the_labels_is_refused(tmp_path, write):
    path = two_columns(tmp_path, write, (1, 0), ("negative", "positive"))
    told = refused(path, tmp_path)
    assert "'label' and 'sentiment', which contradict each other in 60 of 60 rows" in told
    assert told.endswith("--label-column label or --label-column sentiment")
    named = prepare(path, tmp_path / "two", label_column="sentiment", dedupe=False).manifest
    assert meaning(named) == {"negative": "negative", "positive": "positive"}
    assert prepare(
        path, tmp_path / "three", label_column="label", dedupe=False
    ).manifest.label_reading.values == {"0": "negative", "1": "positive"}


def test_a_second_column_that_agrees_is_a_note(tmp_path):
    manifest = prepared(two_columns(tmp_path, csv, (0, 1), (1, 5), "rating"), tmp_path)
    assert manifest.labels == {"negative": 30, "positive": 30}
    assert any(
        "also has the column 'rating'; the labels are those of 'label'" in w for w in manifest.warnings
    )
    told = "--label-column label or --stars-column rating"
    with pytest.raises(DataError, match=told):
        prepare(two_columns(tmp_path, csv, (1, 0), (1, 5), "rating"), tmp_path / "two")


@pytest.mark.parametrize("second", [("red", "blue"), (17, 3), ({"a": 1}, {"a": 2})])
def test_a_second_column_of_something_else_is_not_compared(tmp_path, second):
    manifest = prepared(two_columns(tmp_path, jsonl, (0, 1), second), tmp_path)
    assert manifest.labels == {"negative": 30, "positive": 30}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pos", "neg"], {"pos": "positive", "neg": "negative"}),
        (["neg", "neutral", "pos"], {"neg": "negative", "neutral": "neutral", "pos": "positive"}),
    ],
)
def test_names_of_hugging_face_labels_are_read(tmp_path, names, expected):
    numbers = column(*range(len(names)), -1)
    table = pa.table({"label": numbers, "text": texts()})
    features = {"label": {"names": names, "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    manifest = prepared(tmp_path / "a.parquet", tmp_path)
    assert meaning(manifest) == expected
    assert manifest.rejected["by_reason"]["no_label"] == numbers.count(-1)


def two_columns(tmp_path, write, first, second, name="sentiment"):
    """A file whose rows have the labels `first` in turn, and `second` in another column."""
    rows = [{"text": text, "label": first[i % 2], name: second[i % 2]} for i, text in enumerate(texts())]
    path = tmp_path / f"two.{write.__name__}"
    if write is parquet:
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif write is jsonl:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(
            f"label,{name},text\n" + "".join(f"{r['label']},{r[name]},{r['text']}\n" for r in rows)
        )
    return path


@pytest.mark.parametrize("block_mb", [8, 0.0005])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_third_class_in_the_last_block_is_seen(tmp_path, block_mb, workers):
    values = column("0", "1", count=600)
    values[-2:] = ["2", "2"]
    path = csv(tmp_path / "a.csv", values)
    with pytest.raises(DataError, match=r"'2' \(2 rows\).*three classes.*--label-map 2=drop"):
        prepare(path, tmp_path / "data", block_mb=block_mb, workers=workers)


def test_a_scale_that_ends_in_the_last_block_is_seen(tmp_path):
    values = column(*range(1, 10), count=600)
    values[-1] = "10"
    path = csv(tmp_path / "a.csv", values, "rating")
    assert "--stars-scale 1-10" in refused(path, tmp_path, block_mb=0.0005)


def test_a_class_only_in_the_test_set_is_seen(tmp_path):
    csv(tmp_path / "a.csv", column("0", "1"))
    csv(tmp_path / "t.csv", column("0", "2"))
    with pytest.raises(DataError, match=r"differ between files \(.*a.csv: 0, 1; .*t.csv: 0, 2\)"):
        prepare(tmp_path / "a.csv", tmp_path / "data", test=tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("2 4 6 8 10", "--stars-scale LOW-HIGH"),
        ("0 1 2 3 4 5", "--stars-scale 0-5"),
        ("0.5 1 3 5", "--stars-scale LOW-HIGH"),
        ("10 50 100", "--stars-scale LOW-HIGH"),
        ("8/10 2/10 5/10", "--stars-scale LOW-10"),
        ("-1.0 0.25 1.0", "--stars-scale LOW-HIGH"),
        ("0 1", "--label-column rating"),
        ("3 12 250 7 1045", "name the column that holds the ratings"),
        ("1 2", "all labels are negative"),
        ("4 5", "all labels are positive"),
        ("Excellent Poor Fair", "not numbers of stars"),
        ("3", "no usable row is left"),
    ],
)
def test_ratings_on_another_scale_are_refused(tmp_path, values, told):
    message = refused(csv(tmp_path / "a.csv", column(*values.split()), "rating"), tmp_path)
    assert told in message
    assert values.split()[0] in message


def test_a_scale_that_may_be_shorter_is_said(tmp_path):
    manifest = prepared(csv(tmp_path / "a.csv", column("1", "2", "3", "4"), "rating"), tmp_path)
    assert "No rating is above 4. If the scale ends there, add --stars-scale 1-4." in manifest.warnings
    shorter = prepare(tmp_path / "a.csv", tmp_path / "two", stars_scale="1-4", dedupe=False).manifest
    assert shorter.labels == {"negative": 30, "positive": 30}
    assert not any("--stars-scale" in warning for warning in shorter.warnings)


def test_words_between_ratings_are_left_out_and_said(tmp_path):
    manifest = prepared(csv(tmp_path / "a.csv", column("1", "5", "unknown"), "rating"), tmp_path)
    assert manifest.labels == {"negative": 20, "positive": 20}
    assert meaning(manifest)["unknown"] == "unknown_label"
    assert manifest.reject_examples["unknown_label"].label == "unknown"


def test_two_columns_with_one_name_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,text,label\n" + "1,good lamp,0\n0,bad lamp,1\n" * 20)
    assert "2 columns named 'label'" in refused(path, tmp_path)


# said by the user


def test_a_map_names_the_classes(tmp_path):
    path = csv(tmp_path / "a.csv", column("Super", "schlecht", "geht so", "3"))
    manifest = prepared(path, tmp_path, label_map="super=positive,Schlecht=negative,3=drop")
    assert manifest.labels == {"negative": 15, "positive": 15}
    assert meaning(manifest) == {
        "Super": "positive",
        "schlecht": "negative",
        "3": "neutral",
        "geht so": "unknown_label",
    }
    assert manifest.label_reading.values == {"super": "positive", "schlecht": "negative", "3": "drop"}
    assert manifest.rejected["by_reason"] == {"neutral": 15, "unknown_label": 15}


@pytest.mark.parametrize(
    ("values", "label_map", "labels"),
    [
        ("0 1 2", "0=negative,1=drop,2=positive", (20, 20)),
        ("-1 0 1", "0=drop", (20, 20)),
        ("0 1 2", "0=negative,1=negative,2=positive", (40, 20)),
        ("1 0", "1=negative,0=positive", (30, 30)),
        ("yes no", "yes=negative,no=positive", (30, 30)),
        ("1.0 2.0 9.0", "9=drop", (20, 20)),
    ],
)
def test_a_map_overrides_what_numbers_and_words_usually_mean(tmp_path, values, label_map, labels):
    manifest = prepared(csv(tmp_path / "a.csv", column(*values.split())), tmp_path, label_map=label_map)
    assert manifest.labels == dict(zip(("negative", "positive"), labels, strict=True))


def test_a_map_of_stars(tmp_path):
    path = csv(tmp_path / "a.csv", column("0", "1", "4 stars", "5"), "stars")
    assert prepared(path, tmp_path, label_map="0=drop").labels == {"negative": 15, "positive": 30}
    manifest = prepare(path, tmp_path / "two", label_map="0=negative,4=positive", dedupe=False).manifest
    assert manifest.labels == {"negative": 15, "positive": 15}
    assert manifest.rejected["by_reason"] == {"unknown_label": 30}


@pytest.mark.parametrize(
    ("scale", "values", "classes"),
    [
        ("0-10", "0 4 5 6 10", ["negative", "negative", "neutral", "positive", "positive"]),
        ("1-10", "1 4 5 7 10", ["negative", "negative", "neutral", "positive", "positive"]),
        ("0-5", "0 2 2.5 3 5", ["negative", "negative", "neutral", "positive", "positive"]),
        ("-1-1", "-1 -0.2 0 0.2 1", ["negative", "negative", "neutral", "positive", "positive"]),
        ("1-5", "1 2.5 3 3.5 7", ["negative", "negative", "neutral", "positive", "unknown_label"]),
    ],
)
def test_a_scale_is_cut_at_40_and_60_per_cent(tmp_path, scale, values, classes):
    path = csv(tmp_path / "a.csv", column(*values.split()), "score")
    manifest = prepared(path, tmp_path, stars_scale=scale)
    assert meaning(manifest) == dict(zip(values.split(), classes, strict=True))
    low, high = manifest.label_reading.stars_scale
    assert PrepareSettings(stars_scale=f"{low:g}-{high:g}").stars_scale == (low, high)


@pytest.mark.parametrize(
    "settings",
    [
        {"stars_scale": "5-1"},
        {"stars_scale": "five"},
        {"stars_scale": "3-3"},
        {"stars_scale": (1, float("inf"))},
        {"label_map": ""},
        {"label_map": "good"},
        {"label_map": "good=great"},
        {"label_map": {f"value {i}": "drop" for i in range(1000)}},
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        prepared(csv(tmp_path / "a.csv", column("1", "5"), "stars"), tmp_path, **settings)


def test_a_scale_without_stars_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--stars-scale is for columns of stars"):
        prepared(csv(tmp_path / "a.csv", column("0", "1")), tmp_path, stars_scale="0-10")


@pytest.mark.parametrize("write", [csv, jsonl, parquet, fasttext])
def test_a_column_named_label_can_hold_stars(tmp_path, write):
    values = [f"__label__{i}" if write is fasttext else i for i in range(1, 6)]
    path = write(tmp_path / "a.data", column(*values))
    kind = {csv: "csv", fasttext: "fasttext", jsonl: "jsonl", parquet: "parquet"}[write]
    manifest = prepared(path, tmp_path, format=kind, stars_column="label")
    assert manifest.labels == {"negative": 24, "positive": 24}
    assert manifest.rejected["by_reason"] == {"neutral": 12}
    assert manifest.columns["stars"] == "label"


@pytest.mark.parametrize(
    "one_and_five",
    [
        ("1,0", "5,0"),
        ("1/5", "5/5"),
        ("1.0 out of 5 stars", "5.0 out of 5 stars"),
        ("1 star", "5 stars"),
        ("★☆☆☆☆", "★★★★★"),
        ("⭐", "⭐⭐⭐⭐⭐"),
        ("*", "*****"),
        ("1.00", "5.00"),
        (" 1", "5 "),
    ],
)
def test_stars_as_people_write_them(tmp_path, one_and_five):
    path = csv(tmp_path / "a.csv", column(*one_and_five), "rating")
    assert prepared(path, tmp_path).labels == {"negative": 30, "positive": 30}


# fastText lines


def test_the_known_one_of_several_labels_is_taken(tmp_path):
    values = column("__label__en __label__1", "__label__2 __label__fr")
    values[0] = "__label__1 __label__2"
    manifest = prepared(fasttext(tmp_path / "a.txt", values), tmp_path)
    assert manifest.labels == {"negative": 29, "positive": 30}
    assert manifest.rejected["by_reason"] == {"unknown_label": 1}
    assert manifest.reject_examples["unknown_label"].label == "1 __label__2"


def test_labels_after_the_text_are_read(tmp_path):
    labels = column("__label__1", "__label__2")
    lines = [f"{text} {label}" for text, label in zip(texts(), labels, strict=True)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    after = prepared(tmp_path / "a.txt", tmp_path)
    before = prepare(
        fasttext(tmp_path / "b.txt", labels), tmp_path / "two", dedupe=False, min_count=1
    ).manifest
    assert after.digest == before.digest


def test_another_prefix_is_shown_with_the_command(tmp_path):
    path = fasttext(tmp_path / "a.txt", column("__class__1", "__class__2"))
    message = refused(path, tmp_path)
    assert f"{path}:1: __class__1 {texts()[0]}" in message
    assert f"sed 's/__class__/__label__/g' {path}" in message


# what else is said


@pytest.mark.parametrize("dedupe", [True, False])
def test_one_text_with_both_labels_is_refused(tmp_path, dedupe):
    path = tmp_path / "a.csv"
    path.write_text("label,text\n" + "1,one text\n0,one text\n" * 20)
    with pytest.raises(DataError, match="all 40 reviews have one text, with both labels"):
        prepare(path, tmp_path / "data", dedupe=dedupe)


def test_an_empty_split_is_said(tmp_path):
    path = csv(tmp_path / "a.csv", column("0", "1", count=12))
    dataset = prepare(path, tmp_path / "data", split=(0.999, 0.001, 0), min_count=1)
    assert dataset.manifest.rows["test"] == 0
    assert any("test split is empty" in warning for warning in dataset.manifest.warnings)
    with pytest.raises(DataError, match=r"split 'test' of .* is empty\. Splits with rows: train") as caught:
        dataset.split("test")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(DataError, match="Did you mean 'test'"):
        dataset.split("tset")


def test_many_distinct_labels_take_little_memory_and_are_refused(tmp_path):
    values = [f"{i / 7919 - 0.5:.6f}" for i in range(5000)]
    message = refused(csv(tmp_path / "a.csv", values), tmp_path)
    assert "--stars-column label --stars-scale LOW-HIGH" in message
    assert "other values" in message


def test_resuming_keeps_the_values_of_finished_blocks(tmp_path):
    """The counts are stored with each block."""
    found = encode(csv(tmp_path / "a.csv", column("0", "1", "x")), tmp_path / "work", 500)
    assert len(found.partitions) > 1
    parts = [part.labels for partition in found.partitions for part in partition.summary.values]
    counts = sum(parts, Counter())
    assert counts == {"0": 20, "1": 20, "x": 20}
    for partition in found.partitions:
        stored = finished_summary(found.work.shard(partition.number), partition.slices)
        assert stored.values == partition.summary.values
