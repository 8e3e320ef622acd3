"""Labels are read or refused, and what a refusal says is right when it is typed."""

import re
import shlex
from collections import Counter

import pytest
from pydantic import ValidationError

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError
from sentiscale.text.label_reading import LabelReading, label_values, read_labels
from sentiscale.text.labels import MOST_VALUES, LabelCounts, bounded

COMMAND = re.compile(
    r"--(?:label-map|stars-scale|stars-column|label-column) (?:'[^']*'|[^\s,;.]\S*[^\s,;.]|\S)"
)


def counted(text):
    """Rows by value: `0:3 1` is three rows of 0 and 20 of 1."""
    pairs = [value.partition(":") for value in (text.split("|") if "|" in text else text.split())]
    return Counter({value: int(rows or 20) for value, _, rows in pairs})


def classes(*files, column="label", stars=False, known=None, **settings):
    """Class or reason of each value of some files."""
    given = PrepareSettings(**settings)
    parts = {
        f"{place}.csv": LabelCounts(**{"stars" if stars else "labels": counted(file)})
        for place, file in enumerate(files)
    }
    reading = read_labels(parts, given, {stars: column}, known)
    values = label_values(LabelCounts.total(parts.values()), reading, given)
    return {value: entry["class"] or entry["reason"] for value, entry in values.items()}


def refused(*files, **arguments):
    with pytest.raises(DataError) as caught:
        classes(*files, **arguments)
    return str(caught.value)


def typed(message):
    """Settings of each alternative that a message gives."""
    found = []
    for part in re.split(r"\. |; | or (?=--)", message):
        words = [shlex.split(command) for command in COMMAND.findall(part)]
        if words:
            found.append({flag[2:].replace("-", "_"): value for flag, value in words})
    return found


def means(text):
    names = {"-": "negative", "+": "positive", "0": "neutral", "?": "unknown_label"}
    return {value: names[sign] for value, _, sign in (part.rpartition("=") for part in text.split())}


@pytest.mark.parametrize(
    ("values", "alternatives"),
    [
        ("1:99 5:99 0:1", ["1=- 5=+ 0=0"]),
        ("1:150 5:150 8:1 10:1", ["1=- 5=+ 8=0 10=0"]),
        ("1:150 2:150 3 4 5 6:1", ["1=- 2=- 3=0 4=+ 5=+ 6=0", "1=- 2=- 3=- 4=+ 5=+ 6=+"]),
        ("-1 1 2 4 5", ["-1=0 1=- 2=- 4=+ 5=+"]),
        ("0 1 2 3 4", ["0=- 1=- 2=0 3=+ 4=+", "0=0 1=- 2=- 3=0 4=+"]),
        ("0 1 2 3 4 5", ["0=- 1=- 2=- 3=+ 4=+ 5=+", "0=0 1=- 2=- 3=0 4=+ 5=+"]),
        ("1 2 3 4 5 6 7", ["1=- 2=- 3=- 4=0 5=+ 6=+ 7=+"]),
        ("1 2 3 4 5 6", ["1=- 2=- 3=- 4=+ 5=+ 6=+"]),
        ("-1 0 1", ["-1=- 0=0 1=+", "-1=0 0=0 1=?"]),
    ],
)
def test_ratings_outside_of_the_scale(values, alternatives):
    commands = typed(refused(values, stars=True, column="rating"))
    assert len(commands) == len(alternatives)
    for command, expected in zip(commands, alternatives, strict=True):
        if "?" not in expected:  # too few ratings would be left
            assert classes(values, stars=True, column="rating", **command) == means(expected)


@pytest.mark.parametrize(
    ("values", "command"),
    [
        ("2 4 6 8 10", "--stars-scale LOW-HIGH"),
        ("0.5 1 4.5", "--stars-scale LOW-HIGH"),
        ("1 5 99", "--stars-scale LOW-HIGH"),
        ("2/10 8/10", "--stars-scale LOW-10"),
        ("one-star five-stars", "--label-map five-stars=CLASS,one-star=CLASS"),
    ],
)
def test_a_scale_that_only_the_user_knows_is_refused_as_proposed(values, command):
    message = refused(values, stars=True, column="rating")
    assert command in message
    with pytest.raises(ValidationError, match="it takes"):
        PrepareSettings(**typed(command)[0])


def test_different_highest_ratings_have_no_command():
    message = refused("3/4 4/5", stars=True, column="rating")
    assert "Write all ratings with the same highest one first" in message
    assert "--stars-scale" not in message


@pytest.mark.parametrize("known", [(1, 10), (0, 10), (1, 7), (0, 5)])
def test_stars_from_1_to_5_need_a_flag_if_the_model_has_another_scale(known):
    model = LabelReading(stars_scale=known)
    message = refused("1 2 3 4 5", stars=True, column="rating", known=model)
    same, other = typed(message)
    assert same == {"stars_scale": f"{known[0]}-{known[1]}"}
    assert classes("1 2 3 4 5", stars=True, known=model, **other) == means("1=- 2=- 3=0 4=+ 5=+")
    assert classes("1 4", stars=True, known=model, **same)["1"] == "negative"


def test_other_ratings_are_read_on_the_scale_of_the_model():
    model = LabelReading(stars_scale=(1, 10))
    assert classes("1 4 6 10", stars=True, known=model) == means("1=- 4=- 6=0 10=+")
    assert "1.csv has ratings from 2 to 5" in refused("1 10", "2 5", stars=True, known=model)
    assert classes("0 5", stars=True, known=LabelReading(stars_scale=(0, 5))) == means("0=- 5=+")
    assert classes("1 5", stars=True, known=LabelReading(stars_scale=(1, 5))) == means("1=- 5=+")
    assert "otherwise: --stars-scale LOW-HIGH" in refused(
        "1 7 10", stars=True, known=LabelReading(stars_scale=(1, 100))
    )


@pytest.mark.parametrize(
    "column", ["is_negative", "negative", "complaint", "IsBad", "spam", "not_recommended"]
)
@pytest.mark.parametrize("pair", ["no yes", "false true", "0 1", "n y", "f t", "False True"])
def test_yes_in_a_column_of_complaints_is_negative(column, pair):
    (command,) = typed(refused(pair, column=column))
    no, yes = pair.split()
    assert classes(pair, column=column, **command) == {no: "positive", yes: "negative"}


def test_other_labels_in_such_a_column():
    assert classes("negative positive", column="negative") == means("negative=- positive=+")
    for values, column in (
        ("1 2", "complaint"),
        ("-1 1", "negativity"),
        ("no yes", "not_bad"),
        ("0 1", "negpos"),
    ):
        assert "CLASS" in refused(values, column=column)
    assert "more may be worse" in refused("1 2 4 5", column="dissatisfaction", stars=True)
    assert classes("no yes", column="connected") == means("no=- yes=+")


def test_a_model_knows_what_yes_means_in_such_a_column():
    opposite = LabelReading(values={"yes": "negative", "no": "positive"})
    assert classes("no yes", column="is_negative", known=opposite) == means("no=+ yes=-")
    usual = LabelReading(values={"yes": "positive", "no": "negative"})
    assert "--label-map no=positive,yes=negative" in refused("no yes", column="is_negative", known=usual)


def test_two_of_the_three_numbers_of_a_model():
    three = LabelReading(values={"0": "negative", "1": "drop", "2": "positive"})
    message = refused("0 1", known=three)
    assert "in the model's training data '1' meant drop" in message
    assert "--label-map 0=negative,1=CLASS, where" in message
    assert classes("0 1", known=three, label_map="0=negative,1=drop") == means("0=- 1=0")
    exact = refused("1 2", known=LabelReading(values={"0": "negative", "1": "positive"}))
    assert "--label-map 1=negative,2=positive" in exact
    assert classes("0 1 2", known=three) == means("0=- 1=0 2=+")
    assert classes("0 2", known=three) == means("0=- 2=+")


@pytest.mark.parametrize(
    "values", ["n pos neg", "n p neg", "no negative yes", "f negative positive", "n pos", "bad positive"]
)
def test_words_of_several_pairs_are_refused(values):
    message = refused(values)
    assert "not one pair of words" in message
    assert f"{values.split()[0]}=CLASS" in message
    assert "neg=CLASS" not in message
    assert "not one pair" in refused(values, known=LabelReading(values={"0": "negative"}))


def test_words_of_one_pair_are_read():
    assert classes("n p neutral") == means("n=- p=+ neutral=0")
    assert classes("pos negative neg positive") == means("pos=+ negative=- neg=- positive=+")


@pytest.mark.parametrize("second", ["1 2", "-1 1", "0 4", "0 2", "1 2 3 4 5", "1:1 2:1"])
def test_files_with_different_numbers(second):
    message = refused("0:500 1:500", second)
    assert "0.csv: 0, 1; 1.csv: " in message
    assert "=drop" not in message
    assert "=negative" not in message


def test_files_that_fit_together():
    assert classes("0", "1", "0 1") == means("0=- 1=+")
    (command,) = typed(refused("0 1", "negative positive"))
    assert classes("0 1", "negative positive", **command) == means("0=- 1=+ negative=- positive=+")
    assert "They differ between files (0.csv: 1 to 5; 1.csv: 1 to 10)" in refused(
        "1 2 5", "1 2 3 4 5 6 7 8 9 10", stars=True
    )


def test_many_different_unknown_words_are_counted():
    counts = LabelCounts(bounded(Counter({"0": 7_500, "1": 7_500, **{f"w{i}": 1 for i in range(14_000)}})))
    counts.add(LabelCounts(Counter({f"v{i}": 1 for i in range(5_000)})))
    assert counts.labels.total() == 34_000
    assert len(counts.labels) <= MOST_VALUES + 1
    with pytest.raises(DataError, match=r"'\(other words\)' \(18,003 rows\)") as caught:
        read_labels({"a.csv": counts}, PrepareSettings(), {})
    assert "words)=" not in str(caught.value)
    few = LabelCounts(bounded(Counter({"0": 75_000, "1": 75_000, **{f"w{i}": 1 for i in range(14_000)}})))
    assert read_labels({"a.csv": few}, PrepareSettings(), {}).values == {"0": "negative", "1": "positive"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("1:200 2:200 3:1 4:1 5:1", {"stars_column": "label"}),
        ("0:99 1:99 2:1", {"label_map": "2=drop"}),
        ("0:1 -1:99 1:99", {"label_map": "0=drop"}),
        ("0 1 2", {"label_map": "0=negative,1=drop,2=positive"}),
        ("0 1 2 3 4", {"label_map": "0=negative,1=negative,2=drop,3=positive,4=positive"}),
        ("0 1 2 3", {"label_map": "0=negative,1=negative,2=positive,3=positive"}),
        ("0 1 99", {"label_map": "0=CLASS,1=CLASS,99=CLASS"}),
        ("1 2 3 4 5 6 7", {"stars_column": "label", "stars_scale": "1-7"}),
        ("not-positive positive", {"label_map": "not-positive=CLASS,positive=positive"}),
        ("fresh rotten", {"label_map": "fresh=CLASS,rotten=CLASS"}),
        ("2 positive negative", {"label_map": "2=CLASS,negative=negative,positive=positive"}),
    ],
)
def test_the_command_for_other_labels(values, expected):
    (command,) = typed(refused(values))
    assert command == expected
    if "CLASS" in str(command):
        return
    stars = "stars_column" in command
    assert {"negative", "positive"} <= set(classes(values, stars=stars, **command).values())
