"""Decide what the labels of an input mean, from the distinct values of all its rows.

An input is refused if its values do not have exactly one meaning: see `read_labels`.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sentiscale.config import DEFAULT_SCALE, LabelClass, PrepareSettings, StarsScale
from sentiscale.errors import DataError
from sentiscale.records import Record
from sentiscale.text.labels import (
    CLASS_CODES,
    MIDDLE,
    MISSING,
    NEGATIVE,
    NUMBERS,
    POSITIVE,
    UNKNOWN,
    WORDS,
    LabelCounts,
    Reason,
    ValueRules,
    as_number,
    as_stars,
    label_token,
    stars_token,
)

CODINGS: tuple[tuple[str, str], ...] = (("0", "1"), ("1", "2"), ("-1", "1"), ("0", "4"))
"""Numbers that mean negative and positive."""
COMMON = 0.01
"""Share of the labelled rows from which an unknown value is a class of its own, not an error in the data."""
RARE = 0.02
"""Share of the labelled rows up to which a number next to two classes is probably an error in the data."""
SHOWN = 8
"""Number of values that a message shows."""
LONGEST_SHOWN = 40
"""Number of characters of a value that a message shows."""
LISTED = 100
"""Number of values that a report lists."""
SCALE_ENDS = (1, 5, 10, 20, 100)


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
    counts: LabelCounts,
    settings: PrepareSettings,
    columns: Mapping[bool, str],
    known: LabelReading | None = None,
) -> LabelReading:
    """Decide what the labels of an input mean.

    Args:
        counts: distinct values of all rows.
        settings: `label_map` and `stars_scale` take precedence over everything else.
        columns: name of the column of labels (False) and of stars (True), for messages.
        known: what the labels of a model's training data meant. It applies if it covers all numbers.

    Raises: DataError when the values do not have exactly one meaning; it names them and the flag to give.
    """
    values: dict[str, LabelClass] = {}
    if counts.labels:
        values = _read_values(counts.labels, settings, columns.get(False, "label"), known)
    scale = None
    if counts.stars:
        scale = settings.stars_scale or (known and known.stars_scale) or DEFAULT_SCALE
        rules = ValueRules.given(settings, stars=True)
        if settings.stars_scale is None and not rules.complete:
            ignored = MISSING | rules.classes.keys()
            ratings = Counter({v: rows for v, rows in counts.stars.items() if stars_token(v) not in ignored})
            _check_stars(ratings, columns.get(True, "stars"), scale)
    return LabelReading(values=values, stars_scale=scale)


def _read_values(
    counts: Counter[str], settings: PrepareSettings, column: str, known: LabelReading | None
) -> dict[str, LabelClass]:
    rules = ValueRules.given(settings, stars=False)
    given = dict(rules.classes)
    if rules.complete:
        return given
    tokens = _by_token(counts, label_token)
    ignored = MISSING | given.keys()
    tokens = Counter({token: rows for token, rows in tokens.items() if token not in ignored})
    numbers = {token for token in tokens if as_number(token) is not None}
    if known is not None and numbers <= known.values.keys():
        return {**_words(tokens), **known.values, **given}
    values = {**_words(tokens), **_read_numbers(counts, numbers, tokens, column), **given}
    _check_unknown(counts, tokens, values, column)
    if known is not None:
        _check_agreement(counts, values, known, column)
    return values


def _by_token(counts: Mapping[str, int], token_of: Any) -> Counter[str]:
    tokens: Counter[str] = Counter()
    for value, rows in counts.items():
        tokens[token_of(value)] += rows
    return tokens


def _words(tokens: Iterable[str]) -> dict[str, LabelClass]:
    names: dict[int, LabelClass] = {code: name for name, code in CLASS_CODES.items()}
    return {token: names[WORDS[token]] for token in tokens if token in WORDS}


def _read_numbers(
    counts: Counter[str], numbers: set[str], tokens: Counter[str], column: str
) -> dict[str, LabelClass]:
    """Return the classes of the numbers that occur."""
    if not numbers:
        return {}
    holds = f"column '{column}' holds the labels {_shown(counts)}"
    if any(token in WORDS for token in tokens):
        raise DataError(f"{holds}: numbers and words. {_say_all(numbers | _words(tokens).keys())}")
    codings = [coding for coding in CODINGS if numbers <= set(coding)]
    if not codings:
        remedy = _leave_out(numbers, tokens) or _remedy(numbers, column)
        raise DataError(f"{holds}, which {_problem(numbers)}. {remedy}")
    meanings: set[tuple[tuple[str, LabelClass], ...]] = {
        tuple((token, "negative" if token == coding[0] else "positive") for token in sorted(numbers))
        for coding in codings
    }
    if len(meanings) > 1:  # only "1"
        raise DataError(
            f"{holds}: without another label, it is unclear which class '1' means. "
            "Say it: --label-map 1=positive or --label-map 1=negative"
        )
    return dict(meanings.pop())


def _problem(numbers: set[str]) -> str:
    if {"0", "1", "2"} <= numbers or {"-1", "0", "1"} <= numbers:
        kind = "three classes" if len(numbers) == 3 else f"{len(numbers)} values"
        return f"are {kind}; two are needed"
    if len(numbers) < 3:
        return "are not 0/1, 1/2, -1/1 or 0/4"
    return f"are {len(numbers)} values; two are needed, such as 0/1, 1/2, -1/1 or 0/4"


def _leave_out(numbers: set[str], tokens: Counter[str]) -> str:
    """Return the flag that leaves out rare numbers next to two classes; empty if they are not rare."""
    coding = next((coding for coding in CODINGS if numbers > set(coding)), None)
    extra = sorted(numbers - set(coding or numbers))
    if not extra or sum(tokens[token] for token in extra) > RARE * tokens.total():
        return ""
    flag = ",".join(f"{token}=drop" for token in extra)
    return f"To leave out the rows with {', '.join(extra)}: --label-map {flag}"


def _remedy(numbers: set[str], column: str) -> str:
    """Return the flag to give for numbers that are no labels: stars, a scale, or a map."""
    found = sorted((as_number(number) or 0.0, number) for number in numbers)
    low, high = found[0][0], found[-1][0]
    if low >= 1 and high <= 5 and (high > 3 or len(found) > 3):
        return f"If they are stars: --stars-column {shlex.quote(column)}"
    if len(found) <= SHOWN:
        return _say_all(numbers)
    if scale := _scale_flag(low, high):
        return f"If they are ratings: --stars-column {shlex.quote(column)}{scale}"
    return "Name the column that holds the labels or stars: --label-column or --stars-column"


def _say_all(tokens: Iterable[str]) -> str:
    """Return a `--label-map` that names every token as a proposal; the numbers between two are dropped."""
    words = _words(tokens)
    numbers = sorted(
        (token for token in tokens if token not in words), key=lambda token: as_number(token) or 0
    )
    middle: dict[str, LabelClass] = dict.fromkeys(numbers[1:-1], "drop")
    proposal: dict[str, LabelClass] = {numbers[0]: "negative", **middle, numbers[-1]: "positive", **words}
    return f"Say what each means (negative, positive or drop), such as: --label-map {_as_map(proposal)}"


def _check_unknown(
    counts: Counter[str], tokens: Counter[str], values: Mapping[str, LabelClass], column: str
) -> None:
    """Refuse values that are classes of their own, and columns that hold something else than labels."""
    unknown = Counter({token: rows for token, rows in tokens.items() if token not in values})
    total = tokens.total()
    if max(unknown.values(), default=0) <= max(1, COMMON * total) and unknown.total() <= total / 2:
        return
    frequent = sorted(unknown, key=lambda token: (-unknown[token], token))[:SHOWN]
    named = ", ".join(f"'{_short(token)}'" for token in frequent)
    holds = f"column '{column}' holds the labels {_shown(counts)}; the meaning of {named} is not known."
    if all(as_stars(token) is not None for token in frequent):
        raise DataError(f"{holds} If they are stars: --stars-column {shlex.quote(column)}")
    if {"negative", "positive"} <= set(values.values()):
        raise DataError(f"{holds} To leave out their rows: --label-map {_as_map(values)}")
    raise DataError(f"{holds} {_ask_classes([*values, *frequent])}")


def _ask_classes(tokens: Iterable[str]) -> str:
    flag = shlex.quote(",".join(f"{_short(token)}=CLASS" for token in tokens))
    return f"Say what the values mean: --label-map {flag}, where CLASS is negative, positive or drop"


def _as_map(values: Mapping[str, LabelClass]) -> str:
    return shlex.quote(",".join(f"{token}={values[token]}" for token in sorted(values, key=_order)))


def _order(value: str) -> tuple[bool, float, str]:
    """Return the key that sorts numbers by size, then words."""
    number = as_number(value)
    return number is None, number or 0.0, value


def _check_agreement(
    counts: Counter[str], values: Mapping[str, LabelClass], known: LabelReading, column: str
) -> None:
    differ = [token for token, name in values.items() if known.values.get(token, name) != name]
    if differ:
        raise DataError(
            f"column '{column}' holds the labels {_shown(counts)}, but in the model's training data "
            f"'{differ[0]}' meant {known.values[differ[0]]}. Say what they mean here: "
            f"--label-map {_as_map(values)}"
        )


def _check_stars(counts: Counter[str], column: str, scale: StarsScale) -> None:
    """Refuse ratings outside of the scale, and columns that hold something else than ratings."""
    ratings = [found for value in counts if (found := as_stars(value)) is not None]
    tops = [top for _, top in ratings if top is not None and top != scale[1]]
    outside = [stars for stars, _ in ratings if not scale[0] <= stars <= scale[1]]
    holds = f"column '{column}' holds the ratings {_shown(counts)}"
    quoted = shlex.quote(column)
    if outside or tops:
        numbers = [stars for stars, _ in ratings]
        low, high = min(numbers), max([*numbers, *tops])
        if set(numbers) <= {-1.0, 0.0, 1.0} and not tops:
            remedy = f"If they are labels: --label-column {quoted}"
        elif flag := _scale_flag(low, high):
            remedy = f"If they are ratings, name their lowest and highest value:{flag}"
        else:
            remedy = "Name the column that holds the ratings or labels: --stars-column or --label-column"
        raise DataError(f"{holds}; stars from {scale[0]:g} to {scale[1]:g} were expected. {remedy}")
    unknown = Counter({value: rows for value, rows in counts.items() if as_stars(value) is None})
    if unknown.total() > counts.total() / 2:
        frequent = sorted(unknown, key=lambda value: (-unknown[value], value))[:SHOWN]
        raise DataError(
            f"{holds}, not numbers of stars. If they are labels: --label-column {quoted}. "
            f"{_ask_classes(frequent)}"
        )


def _scale_flag(low: float, high: float) -> str:
    """Return the `--stars-scale` that contains the numbers; empty if they are no ratings."""
    top = next((end for end in SCALE_ENDS if high <= end and -low <= end), None)
    if top is None:
        return ""
    bottom = -top if low < 0 else 0 if low < 1 else 1
    return f" --stars-scale {bottom}-{top}"


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_SHOWN else value[: LONGEST_SHOWN - 1] + "…"


def _shown(counts: Counter[str]) -> str:
    """Return the most frequent values with their rows, ordered by value."""
    counts = Counter({value: rows for value, rows in counts.items() if label_token(value) not in MISSING})
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    frequent.sort(key=lambda item: _order(item[0]))
    listed = ", ".join(f"'{_short(value)}' ({rows:,} row{'s' * (rows != 1)})" for value, rows in frequent)
    rest = len(counts) - len(frequent)
    return f"{listed} and {rest:,} other values" if rest else listed


def check_both_classes(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that both classes occur among the values that `label_values` returned.

    Raises: DataError when all usable labels are of one class.
    """
    found = {value["class"] for value in values.values()} - {None}
    if len(found) == 1:
        (only,) = found
        shown = _shown(Counter({value: entry["rows"] for value, entry in values.items()}))
        raise DataError(
            f"all labels are {only}; both classes are needed. The labels are {shown}. Name the right "
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
        f"'{_short(value)}' = {entry['class'] or 'left out'} ({entry['rows']:,}{_because(entry)})"
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
