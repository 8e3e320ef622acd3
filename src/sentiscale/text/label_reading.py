"""Decide what the labels of an input mean, from the distinct values of all its rows.

An input is refused if its values do not have exactly one meaning: see `read_labels`.
"""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sentiscale.config import DEFAULT_SCALE, ClassKind, PrepareSettings, StarsScale
from sentiscale.errors import DataError, UsageError
from sentiscale.records import Record
from sentiscale.text.classes import (
    DROP,
    FIXED_NAMES,
    MAX_CLASSES,
    TERNARY,
    Classes,
    check_names,
    listed,
    star_names,
)
from sentiscale.text.label_remedies import (
    SHOWN,
    map_flag,
    most_frequent,
    number_remedy,
    order,
    short,
    shown,
    ternary_remedy,
)
from sentiscale.text.labels import (
    MISSING,
    NEGATIVE_NAME,
    NUMBER_PAIRS,
    UNKNOWN,
    WORD_PAIRS,
    WORDS,
    LabelCounts,
    Reason,
    ValueRules,
    as_number,
    as_stars,
    has_several,
    is_common,
    label_name,
    label_token,
    number_readings,
    stars_token,
    total_of,
)
from sentiscale.text.star_scale import read_scale

LISTED = 100
"""Number of values that a report lists."""
FLAGS = (("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("0", "1"))
USUAL = {(no, "negative") for no, _ in (*FLAGS, *NUMBER_PAIRS)}
USUAL |= {(yes, "positive") for _, yes in (*FLAGS, *NUMBER_PAIRS)} | {("0", "neutral"), ("2", "neutral")}
"""Usual classes of yes, no and numbers, which may be the opposite in such a column."""
MAX_BYTES = 10_000
"""Maximum size of the labels and their classes as JSON, which models store in their small config.toml."""


class LabelReading(Record):
    """What the labels of an input mean; stored with prepared data and models."""

    values: dict[str, str] = Field(default_factory=dict)
    """Class, or "drop", of each value of a label column, in lower case, without quotes and decimal zeros."""
    stars_scale: StarsScale | None = None
    """Lowest and highest number of stars; None if the input has no stars."""
    kind: ClassKind | None = None
    """How the classes were formed; None for negative and positive."""

    @model_validator(mode="after")
    def _check(self) -> "LabelReading":
        low, high = self.stars_scale or DEFAULT_SCALE
        if self.kind == "stars" and high - low > MAX_CLASSES:
            raise ValueError(f"stars from {low:g} to {high:g} are more than {MAX_CLASSES} classes")
        names = self.class_set.names
        if names:  # without any label, labels have no classes
            check_names(names)
        if unknown := set(self.values.values()) - {*names, DROP}:
            raise ValueError(f"the class '{short(min(unknown))}' is unknown")
        return self

    @property
    def class_set(self) -> Classes:
        """The classes in order: those of labels are numbers by size, then words by alphabet."""
        kind = self.kind or "binary"
        if kind == "stars":
            return Classes(star_names(self.stars_scale or DEFAULT_SCALE), kind)
        return Classes(FIXED_NAMES.get(kind) or _ordered(self.values.values()), kind)

    def rules(self, settings: PrepareSettings, *, stars: bool) -> ValueRules:
        """Return the rules for the values of a file, whose meaning is now known."""
        classes = self.class_set
        if not stars:
            return ValueRules(self.values, kind=classes.kind, names=classes.names)
        given = ValueRules.given(settings, stars=True)
        return ValueRules(given.classes, self.stars_scale or DEFAULT_SCALE, classes.kind, classes.names)

    def codes(self, meanings: Sequence[str]) -> NDArray[np.uint8]:
        """Return the class of each label code; `meanings` are those that `label_codes` returned."""
        classes = self.class_set
        places = {name: code for code, name in enumerate(classes.names)}
        if classes.kind == "labels":
            places = {label_token(name): code for name, code in places.items()}
        else:
            places = {**{token: places.get(name, UNKNOWN) for token, name in self.values.items()}, **places}
        table = np.full(256, UNKNOWN, np.uint8)
        table[: len(meanings)] = [places.get(meaning, UNKNOWN) for meaning in meanings]
        return table


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    distinct = set(names) - {DROP}
    return tuple(sorted(distinct, key=lambda name: (*order(name.casefold()), name)))


def read_labels(
    files: Mapping[str, LabelCounts],
    settings: PrepareSettings,
    columns: Mapping[bool, str],
    known: LabelReading | None = None,
) -> LabelReading:
    """Decide what the labels of an input mean.

    Args:
        files: distinct values of all rows of each file.
        settings: `classes` says which classes there are; `label_map` and `stars_scale` take precedence over
            everything else.
        columns: name of the column of labels (False) and of stars (True), for messages.
        known: what the labels of a model's training data meant; `settings.classes` must be its kind. It
            applies if it covers all numbers.

    Raises:
        DataError: the values do not have exactly one meaning; the message names them and the flag to give.
        UsageError: `label_map` names a class that there is not.
    """
    labels = {file: counts.labels for file, counts in files.items() if counts.labels}
    stars = {file: counts.stars for file, counts in files.items() if counts.stars}
    kind, column = settings.classes, columns.get(False, "label")
    of_model = None
    if known is not None:
        of_model = known.stars_scale or (DEFAULT_SCALE if known.kind == "stars" else None)
    values: dict[str, str] = {}
    if labels and kind == "labels":
        values = _read_names(total_of(labels), settings, column, known)
    elif labels:
        values = _read_values(labels, settings, column, known)
    return LabelReading(
        values=values,
        stars_scale=read_scale(stars, settings, columns.get(True, "stars"), of_model) if stars else None,
        kind=None if kind == "binary" else kind,
    )


def for_model(settings: PrepareSettings, known: LabelReading | None) -> PrepareSettings:
    """Return the settings with the kind and the names of a model's classes, if there is a model.

    Raises: UsageError when `label_map` names a class that there is not.
    """
    if known is not None:
        settings = settings.model_copy(update={"classes": known.class_set.kind, "weight_column": None})
    names = known.class_set.names if known is not None else ValueRules.given(settings, stars=False).names
    if not settings.label_map or not names:
        return settings
    spelled = {DROP: DROP, **{label_token(name): name for name in names}}
    for value, name in settings.label_map.items():
        if label_token(name) not in spelled:
            raise UsageError(
                f"prepare.label_map: '{short(value)}' has the class '{short(name)}'; allowed are "
                f"{listed(names)} and drop, such as good={names[-1]},bad={names[0]},3=drop."
            )
    label_map = {value: spelled[label_token(name)] for value, name in settings.label_map.items()}
    return settings.model_copy(update={"label_map": label_map})


def _read_names(
    counts: Counter[str], settings: PrepareSettings, column: str, known: LabelReading | None
) -> dict[str, str]:
    """Return the class of each distinct label: its most frequent spelling, or the class that was given."""
    given = {label_token(value): name for value, name in (settings.label_map or {}).items()}
    holds = f"column '{column}' holds the labels {shown(counts)}"
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for value, rows in counts.items():
        if (token := label_token(value)) not in MISSING and not has_several(value):
            spellings[token][label_name(value)] += rows
    if known is not None:
        values = {**known.values, **given}
        tokens = Counter({token: spelled.total() for token, spelled in spellings.items()})
        _check_unknown(tokens, values, column, holds, "labels")
        return values
    names = {token: most_frequent(spelled)[0] for token, spelled in spellings.items() if token not in given}
    for name in given.values():
        names.setdefault(label_token(name), name)
    classes: Counter[str] = Counter()
    values = {token: DROP for token, name in given.items() if name == DROP}
    for token, spelled in spellings.items():
        if token not in values:
            values[token] = names[label_token(given.get(token, token))]
            classes[values[token]] += spelled.total()
    if classes:
        _check_names(classes, settings, column, holds)
    if (size := len(json.dumps([values, [*classes]]))) > MAX_BYTES:
        raise DataError(
            f"{holds}, which take {size:,} bytes as JSON; at most {MAX_BYTES:,} are allowed. "
            f"Shorten the longest: {map_flag({max(classes, key=len): None}, 'labels')}"
        )
    return values


def _check_names(classes: Counter[str], settings: PrepareSettings, column: str, holds: str) -> None:
    """Refuse labels that are too many, too rare or no names; `classes` has the rows of each class."""
    if len(classes) > MAX_CLASSES:
        numbers = sum(as_number(name) is not None for name in classes)
        spaces = sum(name.count(" ") > 2 for name in classes)
        kind = "numbers" if numbers > len(classes) / 2 else "texts" if spaces > len(classes) / 2 else "values"
        raise DataError(
            f"{holds}; more than {MAX_CLASSES} different {kind} cannot be classes. "
            "Name the column with the labels: --label-column"
        )
    if len(classes) == 1:
        raise DataError(f"{holds}; two classes are needed. Name the column with the labels: --label-column")
    if rare := Counter({name: rows for name, rows in classes.items() if rows < settings.min_class_rows}):
        drop, merge = _mapped(rare, DROP, settings), _mapped(rare, "other", settings)
        merged = rare.total() + classes["other"] >= settings.min_class_rows and len(rare) > 1
        raise DataError(
            f"{holds}; fewer than {settings.min_class_rows} rows have {shown(rare)}. "
            f"To leave them out: {drop}"
            + f". To merge them: {merge}" * merged
            + f". To keep them: --min-class-rows {min(rare.values())}"
        )
    for name in classes:
        try:
            check_names((name, "other" if name != "other" else "another"))
        except ValueError as error:
            raise DataError(f"{holds}; {error}. Rename it: {map_flag({name: None}, 'labels')}") from error


def _mapped(rare: Iterable[str], name: str, settings: PrepareSettings) -> str:
    """Return the flag that maps rare classes to `name`, and others as the settings do."""
    given = {value: name if own in rare else own for value, own in (settings.label_map or {}).items()}
    return map_flag({**given, **dict.fromkeys(rare, name)}, "labels")


def _read_values(
    files: Mapping[str, Counter[str]], settings: PrepareSettings, column: str, known: LabelReading | None
) -> dict[str, str]:
    """Return the class of each label in lower case, without quotes, prefix and decimal zeros."""
    kind = settings.classes
    rules = ValueRules.given(settings, stars=False)
    given = dict(rules.classes)
    if rules.complete:
        return given
    holds = f"column '{column}' holds the labels {shown(total_of(files))}"
    by_file = {file: _by_token(counts, given) for file, counts in files.items()}
    tokens = total_of(by_file)
    numbers = {token for token in tokens if as_number(token) is not None}
    from_model = known.values if known is not None and numbers <= known.values.keys() else {}
    words = _words((token for token in tokens if token not in from_model), kind)
    _check_one_pair(words, holds, kind)
    values = {**words, **from_model, **given}
    pairs = number_readings(numbers)
    more = {token for token in from_model if as_number(token) is not None} > numbers
    if known is not None and more and len(numbers) == 2 and pairs:  # 0/1, for a model of 0/1/2
        _check_agreement(pairs[0], known, holds, kind)
    if not from_model:
        readings = number_readings(numbers, kind)
        if numbers and (words or len(readings) != 1):
            binary = kind == "binary"
            own = number_remedy(by_file, words, column) if binary else ternary_remedy(numbers, words, column)
            raise DataError(f"{holds}{own}")
        values = {**words, **(readings[0] if numbers else {}), **given}
    found = {token: values[token] for token in tokens if token in values}
    _check_name(column, found, holds, kind)
    new = known is None or bool(numbers - known.values.keys())
    if new or kind != "binary":
        _check_unknown(tokens, values, column, holds, kind)
    if new and known is not None:
        _check_agreement(found, known, holds, kind)
    return values


def _by_token(counts: Mapping[str, int], given: Mapping[str, str]) -> Counter[str]:
    """Return the rows of each token, without missing labels and those whose class is given."""
    tokens: Counter[str] = Counter()
    for value, rows in counts.items():
        tokens[label_token(value)] += rows
    return Counter({token: rows for token, rows in tokens.items() if token not in MISSING | given.keys()})


def _words(tokens: Iterable[str], kind: ClassKind) -> dict[str, str]:
    words = {token: WORDS[token] for token in tokens if token in WORDS}
    return {token: DROP if kind == "binary" and name == "neutral" else name for token, name in words.items()}


def _check_one_pair(words: Mapping[str, str], holds: str, kind: ClassKind) -> None:
    """Refuse words of several pairs: next to `neg` and `pos`, `n` may mean neutral."""
    polar = {token for token in words if WORDS[token] != "neutral"}
    if not any(polar <= {*negative, *positive} for negative, positive in WORD_PAIRS):
        clear = {word for pair in WORD_PAIRS[0] for word in pair}
        proposal = {token: None if token in polar - clear else name for token, name in words.items()}
        raise DataError(
            f"{holds}, which are not one pair of words. Say what each means: {map_flag(proposal, kind)}"
        )


def _check_name(column: str, values: Mapping[str, str], holds: str, kind: ClassKind) -> None:
    """Refuse yes that was read as positive, and no as negative, in a column such as `is_negative`."""
    told = NEGATIVE_NAME.findall(column.lower())
    doubtful = {(token, name) for token, name in values.items() if token in {flag for flag, _ in USUAL}}
    if not told or not doubtful or not doubtful <= USUAL:
        return
    flags = next((pair for pair in FLAGS if values.keys() <= {*pair}), None)
    proposal: dict[str, str | None] = dict.fromkeys(values)
    if flags is not None and len(told) == 1 and "pos" not in column.lower():
        proposal = {flags[1]: "negative", flags[0]: "positive"}
    raise DataError(
        f"{holds}; by its name, they may mean the opposite. Say what they mean: {map_flag(proposal, kind)}"
    )


def _check_unknown(
    tokens: Counter[str], values: Mapping[str, str], column: str, holds: str, kind: ClassKind
) -> None:
    """Refuse values that are classes of their own, and columns that hold something else than labels."""
    unknown = Counter({token: rows for token, rows in tokens.items() if token not in values})
    if not is_common(unknown, tokens.total()):
        return
    frequent = most_frequent(unknown)
    named = ", ".join(f"'{short(token)}'" for token in frequent)
    holds = f"{holds}; the meaning of {named} is not known."
    if kind == "labels":
        proposal = map_flag(dict.fromkeys(frequent), kind)
        raise DataError(f"{holds} Say which class of the model each is: {proposal}")
    if all(as_stars(token) is not None for token in frequent):
        raise DataError(f"{holds} If they are stars: --stars-column {shlex.quote(column)}")
    if set(FIXED_NAMES.get(kind, ())) <= set(values.values()):
        raise DataError(f"{holds} To leave out their rows: {map_flag(values, kind)}")
    proposal = map_flag({**dict.fromkeys(frequent), **values}, kind)
    raise DataError(f"{holds} Say what the values mean: {proposal}")


def _check_agreement(values: Mapping[str, str], known: LabelReading, holds: str, kind: ClassKind) -> None:
    differ = [token for token, name in values.items() if known.values.get(token, name) != name]
    if differ:
        proposal: dict[str, str | None] = dict(values)
        if values.keys() <= known.values.keys():  # they may mean the same as in the training data
            proposal |= dict.fromkeys(differ)
        raise DataError(
            f"{holds}, but in the model's training data '{differ[0]}' meant {known.values[differ[0]]}. "
            f"Say what they mean here: {map_flag(proposal, kind)}"
        )


def check_all_classes(values: Mapping[str, Mapping[str, Any]], reading: LabelReading) -> None:
    """Check which classes occur among the values that `label_values` returned.

    Raises: DataError when one of two or three classes is missing, or all stars are equal.
    """
    kind = reading.class_set.kind
    found = {value["class"] for value in values.values()} - {None}
    labels = shown(Counter({value: entry["rows"] for value, entry in values.items()}))
    advice = "Name the right column with --label-column or --stars-column, say what the values mean with"
    if kind == "ternary" and found and (missing := set(TERNARY) - found):
        raise DataError(
            f"no label is {' or '.join(sorted(missing))}; all three classes are needed. The labels are "
            f"{labels}. {advice} --label-map, or leave neutral out: --classes binary"
        )
    if len(found) == 1:
        (only,) = found
        raise DataError(
            f"all labels are {only}; {'both' if kind == 'binary' else 'other'} classes are needed. "
            f"The labels are {labels}. {advice} --label-map, or add reviews of the other class."
        )


def label_values(
    counts: LabelCounts, reading: LabelReading, settings: PrepareSettings, most: int | None = LISTED
) -> dict[str, dict[str, Any]]:
    """Return what became of each distinct value, the most frequent first, at most `most`.

    Returns: for each value, its `rows`, its `class`, and the `reason` for which its rows are left out if the
        class is None.
    """
    rules = {
        "": reading.rules(settings, stars=False).label_meaning,
        " stars": reading.rules(settings, stars=True).stars_meaning,
    }
    both = bool(counts.labels and counts.stars)
    rows = [(value, count, "") for value, count in counts.labels.items()]
    rows += [(value, count, " stars") for value, count in counts.stars.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    return {
        value + kind * both: _label_value(count, rules[kind](value)) for value, count, kind in rows[:most]
    }


def _label_value(rows: int, meaning: str | Reason) -> dict[str, Any]:
    if isinstance(meaning, Reason):
        return {"rows": rows, "class": None, "reason": meaning.name.lower()}
    return {"rows": rows, "class": meaning, "reason": None}


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


def unused_labels(values: Mapping[str, Any], label_map: Mapping[str, str]) -> list[str]:
    """Return the values of a label map that are none of those `label_values` returned, if it has them all."""
    if len(values) == LISTED:
        return []
    found = {token(value.removesuffix(" stars")) for value in values for token in (label_token, stars_token)}
    return [value for value in label_map if not {label_token(value), stars_token(value)} & found]


def stars_note(values: Mapping[str, Mapping[str, Any]], reading: LabelReading) -> str | None:
    """Return a note if the stars may be of a shorter scale than 1-5; None if not."""
    ratings = [found[0] for value in values if (found := as_stars(value)) is not None]
    if reading.values or reading.stars_scale != DEFAULT_SCALE or max(ratings, default=5) not in (3, 4):
        return None
    end = max(ratings)
    return f"No rating is above {end:g}. If the scale ends there, add --stars-scale 1-{end:g}."


def merged_spellings(values: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the spellings of each label that `label_values` returned in several ones."""
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for value, entry in values.items():
        if entry["class"] is not None:
            spellings[label_token(value)].append(value)
    return [alike for alike in spellings.values() if len(alike) > 1]
