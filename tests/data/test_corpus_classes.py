"""Labelled files that are read for a model: labels become positions in the model's classes."""

import numpy as np
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.inputs import Inputs
from sentiscale.errors import DataError, UsageError
from sentiscale.text.label_reading import LabelReading
from tests.data.test_prepare_labels import column, csv, fasttext
from tests.text.test_label_reading import typed

TERNARY = LabelReading(kind="ternary", values={"neg": "negative", "neu": "neutral", "pos": "positive"})
NUMBERS = LabelReading(kind="ternary", values={"0": "negative", "1": "neutral", "2": "positive"})
TERNARY_STARS = LabelReading(kind="ternary", stars_scale=(1, 5))
STARS = LabelReading(kind="stars", stars_scale=(1, 5))
LABELS = LabelReading(kind="labels", values={"news": "News", "sport": "Sport", "football": "Sport"})


def read(known, path, **settings):
    """Labels of the reviews of a file, and reasons of its rejected rows."""
    corpus = Corpus.find([path], PrepareSettings(**settings), known=known).decided()
    assert corpus.classes == known.class_set
    blocks = list(corpus.blocks())
    reasons = [reject.reason for block in blocks for reject in block.rejects]
    return np.concatenate([block.labels for block in blocks]).tolist(), reasons


@pytest.mark.parametrize(
    ("known", "values", "labels"),
    [
        (TERNARY, ("pos", "neg", "neu"), [2, 0, 1]),
        (TERNARY, ("Negative", "positive", "positive"), [0, 2, 2]),
        (NUMBERS, ("2", "0", "1.0"), [2, 0, 1]),
        (NUMBERS, ("2", "0", "2"), [2, 0, 2]),
        (TERNARY_STARS, ("positive", "neutral", "negative"), [2, 1, 0]),
        (STARS, ("5", "1", "3"), [4, 0, 2]),
        (STARS, ("1", "2", "2"), [0, 1, 1]),
        (LABELS, ("SPORT", "news", "football"), [1, 0, 1]),
    ],
)
@pytest.mark.parametrize("write", [csv, fasttext])
def test_labels_are_positions_in_the_classes_of_the_model(tmp_path, known, values, labels, write):
    prefix = "__label__" if write is fasttext else ""
    path = write(tmp_path / f"a{'.txt' if prefix else '.csv'}", column(*(prefix + each for each in values)))
    assert read(known, path) == (labels * 20, [])


@pytest.mark.parametrize(
    ("known", "values", "odd"),
    [(TERNARY, ("pos", "neg"), "great"), (STARS, ("5", "1"), "4.5"), (LABELS, ("news", "sport"), "weather")],
)
def test_labels_that_are_no_class_are_left_out_or_refused(tmp_path, known, values, odd):
    few = column(*values, count=300)
    few[4] = odd
    labels, reasons = read(known, csv(tmp_path / "a.csv", few))
    assert (len(labels), reasons) == (299, ["unknown_label"])
    many = csv(tmp_path / "b.csv", column(*values, odd))
    with pytest.raises(DataError, match=odd) as caught:
        read(known, many)
    (command,) = typed(str(caught.value))
    if "CLASS" in command["label_map"]:
        command = {"label_map": command["label_map"].replace("CLASS", known.class_set.names[0])}
    labels, reasons = read(known, many, **command)
    assert len(labels) + len(reasons) == 60


def test_a_map_names_classes_of_the_model(tmp_path):
    path = csv(tmp_path / "a.csv", column("news", "weather", "soccer"))
    assert read(LABELS, path, label_map="soccer=sport,weather=drop") == ([0, 1] * 20, ["dropped"] * 20)
    with pytest.raises(UsageError, match="allowed are 'News', 'Sport' and drop"):
        read(LABELS, path, label_map="weather=climate")


def test_two_numbers_of_a_model_of_three_may_be_two_classes(tmp_path):
    with pytest.raises(DataError, match="in the model's training data '1' meant neutral"):
        read(NUMBERS, csv(tmp_path / "a.csv", column("0", "1")))


@pytest.mark.parametrize(
    ("known", "lines", "labels"),
    [
        (TERNARY, "__label__pos a\n__label__neu b\n", [2, 1]),
        (TERNARY_STARS, "__label__positive a\n__label__neutral b\n", [2, 1]),
        (STARS, "__label__5 a\n__label__2 b\n", [4, 1]),
        (LABELS, "__label__football a\n__label__News b\n", [1, 0]),
        (None, "__label__2 a\n__label__1 b\n", [1, 0]),
    ],
)
def test_labelled_lines_as_they_arrive(tmp_path, monkeypatch, known, lines, labels):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    inputs = Inputs.find(["-"], labelled=True, known=known)
    (chunk,) = inputs.without_columns().chunks()
    assert chunk.labels.tolist() == labels
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"__label__weather a\n")))
    with pytest.raises(DataError, match="has the label 'weather'; allowed are __label__"):
        list(inputs.without_columns().chunks())


@pytest.mark.parametrize(("values", "other"), [(("good", "bad"), "bad=CLASS"), (("0", "9", "10"), "0=CLASS")])
def test_ratings_that_are_no_stars_of_the_model_are_refused_with_the_map_to_type(tmp_path, values, other):
    with pytest.raises(DataError, match="the model has the stars 1 to 5") as caught:
        read(STARS, csv(tmp_path / "a.csv", column(*values)))
    assert f"--label-map {other}" in str(caught.value).replace("'", "")
