"""Decide what the labels of an input mean, from the distinct values of all its rows.

An input is refused if its values do not have exactly one meaning: see `read_labels`.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sentiscale.config import DEFAULT_SCALE, LabelClass, PrepareSettings, StarsScale
from sentiscale.errors import DataError
from sentiscale.records import Record
from sentiscale.text.label_remedies import (
    SHOWN,
    differing_files,
    map_flag,
    most_frequent,
    narrow_problem,
    number_remedy,
    rating_remedy,
    short,
    shown,
    top_remedy,
)
from sentiscale.text.labels import (
    CLASS_CODES,
    MIDDLE,
    MISSING,
    NEGATIVE,
    NUMBER_PAIRS,
    NUMBERS,
    OTHER_WORDS,
    POSITIVE,
    UNKNOWN,
    WORD_PAIRS,
    WORDS,
    LabelCounts,
    Reason,
    ValueRules,
    as_number,
    as_stars,
    label_token,
    number_readings,
    stars_token,
)

COMMON = 0.01
"""Share of the labelled rows from which an unknown value is a class of its own, not an error in the data."""
MOST_UNKNOWN = 0.1
"""Share of the labelled rows up to which unknown values of any kind are left out."""
LISTED = 100
"""Number of values that a report lists."""
NEGATIVE_NAME = re.compile(
    r"neg|bad|complain|spam|hate|toxic|abus|dislike|unhappy|(?:dis|un)satisf|refund|(?<![a-z])not?(?![a-z])"
)
"""Names of columns in which yes may mean negative."""
FLAGS = (("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("0", "1"))
USUAL = {(no, "negative") for no, _ in (*FLAGS, *NUMBER_PAIRS)}
USUAL |= {(yes, "positive") for _, yes in (*FLAGS, *NUMBER_PAIRS)}
"""Usual classes of yes, no and numbers, which may be the opposite in such a column."""


class LabelReading(Record):
    """What the labels of an input mean; stored with prepared data and models."""

    values: dict[str, LabelClass] = Field(default_factory=dict)
    """Class of each value of a label column, in lower case and without quotes, prefix and decimal zeros."""
    stars_scale: StarsScale | None = None
    """Lowest and highest number of stars; None if the input has no stars."""

    def rules(self, settings: PrepareSettings, *, stars: bool) -> ValueRules:
        """Return the rules for the values of a file, whose meaning is now known."""
        if not stars:
            return ValueRules(self.values)
        return replace(ValueRules.given(settings, stars=True), scale=self.stars_scale or DEFAULT_SCALE)

    def classes(self) -> NDArray[np.uint8]:
        """Return the class of each label code."""
        table = np.arange(256, dtype=np.uint8)
        for token, code in NUMBERS.items():
            table[code] = CLASS_CODES[self.values[token]] if token in self.values else UNKNOWN
        return table


def read_labels(
    files: Mapping[str, LabelCounts],
    settings: PrepareSettings,
    columns: Mapping[bool, str],
    known: LabelReading | None = None,
) -> LabelReading:
    """Decide what the labels of an input mean.

    Args:
        files: distinct values of all rows of each file.
        settings: `label_map` and `stars_scale` take precedence over everything else.
        columns: name of the column of labels (False) and of stars (True), for messages.
        known: what the labels of a model's training data meant. It applies if it covers all numbers.

    Raises: DataError when the values do not have exactly one meaning; it names them and the flag to give.
    """
    labels = {file: counts.labels for file, counts in files.items() if counts.labels}
    stars = {file: counts.stars for file, counts in files.items() if counts.stars}
    return LabelReading(
        values=_read_values(labels, settings, columns.get(False, "label"), known) if labels else {},
        stars_scale=_read_scale(stars, settings, columns.get(True, "stars"), known) if stars else None,
    )


def _read_values(
    files: Mapping[str, Counter[str]], settings: PrepareSettings, column: str, known: LabelReading | None
) -> dict[str, LabelClass]:
    """Return the class of each label in lower case, without quotes, prefix and decimal zeros."""
    rules = ValueRules.given(settings, stars=False)
    given = dict(rules.classes)
    if rules.complete:
        return given
    holds = f"column '{column}' holds the labels {shown(_total(files))}"
    by_file = {file: _by_token(counts, given) for file, counts in files.items()}
    tokens = _total(by_file)
    numbers = {token for token in tokens if as_number(token) is not None}
    from_model = known.values if known is not None and numbers <= known.values.keys() else {}
    words = _words(token for token in tokens if token not in from_model)
    _check_one_pair(words, holds)
    values = {**words, **from_model, **given}
    readings = number_readings(numbers)
    more = {token for token in from_model if as_number(token) is not None} > numbers
    if known is not None and more and len(numbers) == 2 and readings:  # 0/1, for a model of 0/1/2
        _check_agreement(readings[0], known, holds)
    if not from_model:
        if numbers and (words or len(readings) != 1):
            raise DataError(f"{holds}{number_remedy(by_file, words, column)}")
        values = {**words, **(readings[0] if numbers else {}), **given}
    found = {token: values[token] for token in tokens if token in values}
    _check_name(column, found, holds)
    if known is None or numbers - known.values.keys():
        _check_unknown(tokens, values, column, holds)
        if known is not None:
            _check_agreement(found, known, holds)
    return values


def _total(files: Mapping[str, Counter[Any]]) -> Counter[Any]:
    return sum(files.values(), Counter())


def _by_token(counts: Mapping[str, int], given: Mapping[str, LabelClass]) -> Counter[str]:
    """Return the rows of each token, without missing labels and those whose class is given."""
    tokens: Counter[str] = Counter()
    for value, rows in counts.items():
        tokens[label_token(value)] += rows
    return Counter({token: rows for token, rows in tokens.items() if token not in MISSING | given.keys()})


def _words(tokens: Iterable[str]) -> dict[str, LabelClass]:
    names: dict[int, LabelClass] = {code: name for name, code in CLASS_CODES.items()}
    return {token: names[WORDS[token]] for token in tokens if token in WORDS}


def _check_one_pair(words: Mapping[str, LabelClass], holds: str) -> None:
    """Refuse words of several pairs: next to `neg` and `pos`, `n` may mean neutral."""
    polar = {token for token, name in words.items() if name != "drop"}
    if not any(polar <= {*negative, *positive} for negative, positive in WORD_PAIRS):
        clear = {word for pair in WORD_PAIRS[0] for word in pair}
        proposal = {token: None if token in polar - clear else name for token, name in words.items()}
        raise DataError(
            f"{holds}, which are not one pair of words. Say what each means: {map_flag(proposal)}"
        )


def _check_name(column: str, values: Mapping[str, LabelClass], holds: str) -> None:
    """Refuse yes that was read as positive, and no as negative, in a column such as `is_negative`."""
    told = NEGATIVE_NAME.findall(column.lower())
    doubtful = {(token, name) for token, name in values.items() if token in {flag for flag, _ in USUAL}}
    if not told or not doubtful or not doubtful <= USUAL:
        return
    flags = next((pair for pair in FLAGS if values.keys() <= {*pair}), None)
    proposal: dict[str, LabelClass | None] = dict.fromkeys(values)
    if flags is not None and len(told) == 1 and "pos" not in column.lower():
        proposal = {flags[1]: "negative", flags[0]: "positive"}
    raise DataError(
        f"{holds}; by its name, they may mean the opposite. Say what they mean: {map_flag(proposal)}"
    )


def _check_unknown(tokens: Counter[str], values: Mapping[str, LabelClass], column: str, holds: str) -> None:
    """Refuse values that are classes of their own, and columns that hold something else than labels."""
    unknown = Counter({token: rows for token, rows in tokens.items() if token not in values})
    total = tokens.total()
    single = max((rows for token, rows in unknown.items() if token != OTHER_WORDS), default=0)
    if single <= max(1, COMMON * total) and unknown.total() <= max(1, MOST_UNKNOWN * total):
        return
    frequent = most_frequent(unknown)
    named = ", ".join(f"'{short(token)}'" for token in frequent)
    holds = f"{holds}; the meaning of {named} is not known."
    if all(as_stars(token) is not None for token in frequent):
        raise DataError(f"{holds} If they are stars: --stars-column {shlex.quote(column)}")
    if {"negative", "positive"} <= set(values.values()):
        raise DataError(f"{holds} To leave out their rows: {map_flag(values)}")
    raise DataError(f"{holds} Say what the values mean: {map_flag({**dict.fromkeys(frequent), **values})}")


def _check_agreement(values: Mapping[str, LabelClass], known: LabelReading, holds: str) -> None:
    differ = [token for token, name in values.items() if known.values.get(token, name) != name]
    if differ:
        proposal: dict[str, LabelClass | None] = dict(values)
        if values.keys() <= known.values.keys():  # they may mean the same as in the training data
            proposal |= dict.fromkeys(differ)
        raise DataError(
            f"{holds}, but in the model's training data '{differ[0]}' meant {known.values[differ[0]]}. "
            f"Say what they mean here: {map_flag(proposal)}"
        )


def _read_scale(
    files: Mapping[str, Counter[str]], settings: PrepareSettings, column: str, known: LabelReading | None
) -> StarsScale:
    """Return the scale of ratings; refuse ratings outside of it, and columns of something else."""
    scale = settings.stars_scale or (known and known.stars_scale) or DEFAULT_SCALE
    rules = ValueRules.given(settings, stars=True)
    if settings.stars_scale is not None or rules.complete:
        return scale
    ignored = MISSING | rules.classes.keys()
    files = {
        file: Counter({value: rows for value, rows in counts.items() if stars_token(value) not in ignored})
        for file, counts in files.items()
    }
    counts = _total(files)
    holds = f"column '{column}' holds the ratings {shown(counts)}"
    if NEGATIVE_NAME.search(column.lower()):
        proposal = map_flag(dict.fromkeys(map(stars_token, most_frequent(counts))))
        raise DataError(f"{holds}; by its name, more may be worse. Say what they mean: {proposal}")
    ratings = [found for value in counts if (found := as_stars(value)) is not None]
    if {top for _, top in ratings} - {None, scale[1]}:
        _refuse(holds, scale, top_remedy({top for _, top in ratings}))
    numbers = {file: _numbers(counts) for file, counts in files.items()}
    if any(not scale[0] <= rating <= scale[1] for rating, _ in ratings):
        labels = {rating for rating, _ in ratings} in ({0.0, 1.0}, {-1.0, 1.0})
        remedy = f"If they are labels: --label-column {shlex.quote(column)}" if labels else ""
        remedy = remedy or differing_files(numbers, scale) + rating_remedy(_total(numbers), scale)
        _refuse(holds, scale, remedy)
    if scale != DEFAULT_SCALE and (problem := narrow_problem(numbers, scale)):
        raise DataError(f"{holds}. {problem}")
    words = Counter({value: rows for value, rows in counts.items() if as_stars(value) is None})
    if words.total() > counts.total() / 2:
        remedy = f"If they are labels: --label-column {shlex.quote(column)}"
        if not any(label_token(word) in WORDS for word in words):
            remedy = f"Say what they mean: {map_flag(dict.fromkeys(most_frequent(words)))}"
        raise DataError(f"{holds}, not numbers of stars. {remedy}")
    return scale


def _refuse(holds: str, scale: StarsScale, remedy: str) -> NoReturn:
    raise DataError(f"{holds}; stars from {scale[0]:g} to {scale[1]:g} were expected. {remedy}")


def _numbers(counts: Mapping[str, int]) -> Counter[float]:
    """Return the rows by rating, without values that are no ratings."""
    numbers: Counter[float] = Counter()
    for value, rows in counts.items():
        if (found := as_stars(value)) is not None:
            numbers[found[0]] += rows
    return numbers


def check_both_classes(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that both classes occur among the values that `label_values` returned.

    Raises: DataError when all usable labels are of one class.
    """
    found = {value["class"] for value in values.values()} - {None}
    if len(found) == 1:
        (only,) = found
        labels = shown(Counter({value: entry["rows"] for value, entry in values.items()}))
        raise DataError(
            f"all labels are {only}; both classes are needed. The labels are {labels}. Name the right "
            "column with --label-column or --stars-column, say what the values mean with --label-map, or add "
            "reviews of the other class."
        )


def label_values(
    counts: LabelCounts, reading: LabelReading, settings: PrepareSettings
) -> dict[str, dict[str, Any]]:
    """Return what became of each distinct value, the most frequent first, at most LISTED.

    Returns: for each value, its `rows`, its `class`, and the `reason` for which its rows are left out if the
        class is None.
    """
    rules = {
        "": reading.rules(settings, stars=False).label_code,
        " stars": reading.rules(settings, stars=True).stars_code,
    }
    both = bool(counts.labels and counts.stars)
    rows = [(value, count, "") for value, count in counts.labels.items()]
    rows += [(value, count, " stars") for value, count in counts.stars.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    return {
        value + kind * both: _label_value(count, rules[kind](value)) for value, count, kind in rows[:LISTED]
    }


def _label_value(rows: int, code: int) -> dict[str, Any]:
    if code in (NEGATIVE, POSITIVE):
        return {"rows": rows, "class": "positive" if code == POSITIVE else "negative", "reason": None}
    reason = {MIDDLE: Reason.NEUTRAL, UNKNOWN: Reason.UNKNOWN_LABEL}.get(code, Reason.NO_LABEL)
    return {"rows": rows, "class": None, "reason": reason.name.lower()}


def values_line(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what became of the most frequent values that `label_values` returned, for a report."""
    parts = [
        f"'{short(value)}' = {entry['class'] or 'left out'} ({entry['rows']:,}{_because(entry)})"
        for value, entry in list(values.items())[:SHOWN]
    ]
    rest = len(values) - SHOWN
    return ", ".join(parts) + f" and {rest} other values" * (rest > 0)


def _because(entry: Mapping[str, Any]) -> str:
    return f", {entry['reason'].replace('_', ' ')}" if entry["reason"] else ""


def stars_note(values: Mapping[str, Mapping[str, Any]], reading: LabelReading) -> str | None:
    """Return a note if the stars may be of a shorter scale than 1-5; None if not."""
    ratings = [found[0] for value in values if (found := as_stars(value)) is not None]
    if reading.values or reading.stars_scale != DEFAULT_SCALE or max(ratings, default=5) not in (3, 4):
        return None
    end = max(ratings)
    return f"No rating is above {end:g}. If the scale ends there, add --stars-scale 1-{end:g}."
