"""What to type when the labels of an input have no clear meaning: the end of messages.

A command in a message is right when it is typed, if the condition before it holds. Where only the user can
know a class or a scale, the command has `CLASS`, or `LOW` and `HIGH`, which are refused when they are typed.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

from sentiscale.config import DEFAULT_SCALE, ClassKind, StarsScale
from sentiscale.text.classes import TERNARY
from sentiscale.text.labels import MISSING, NUMBER_PAIRS, OTHER_WORDS, as_number, label_token, number_readings

RARE = 0.02
"""Share of the labelled rows up to which a number next to two classes is probably an error in the data."""
SHOWN = 8
"""Number of values that a message shows."""
LONGEST_SHOWN = 40
"""Number of characters of a value that a message shows."""
STARS = {1.0, 2.0, 3.0, 4.0, 5.0}
NO_RATING = {0.0, -1.0}
"""Numbers next to stars that often stand for a missing rating."""
CHOICES: dict[ClassKind, str] = {
    "binary": "negative, positive or drop",
    "ternary": "negative, neutral, positive or drop",
    "stars": "a whole number of stars or drop",
    "labels": "the name of a class or drop",
}
"""What `CLASS` may be."""


def short(value: str) -> str:
    """Return the start of a value, in which characters that cannot be printed are replaced by U+FFFD."""
    start = value if len(value) <= LONGEST_SHOWN else value[: LONGEST_SHOWN - 1] + "…"
    return "".join(character if character.isprintable() else "\ufffd" for character in start)


def order(value: str) -> tuple[bool, float, str]:
    """Return the key that sorts numbers by size, then words."""
    number = as_number(value)
    return number is None, number or 0.0, value


def shown(counts: Counter[str]) -> str:
    """Return the most frequent values with their rows, ordered by value."""
    counts = Counter({value: rows for value, rows in counts.items() if label_token(value) not in MISSING})
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    frequent.sort(key=lambda item: order(item[0]))
    listed = ", ".join(f"'{short(value)}' ({rows:,} row{'s' * (rows != 1)})" for value, rows in frequent)
    rest = len(counts) - len(frequent)
    return f"{listed} and {rest:,} other values" if rest else listed


def most_frequent(counts: Counter[str]) -> list[str]:
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return [value for value in ordered if value != OTHER_WORDS][:SHOWN]


def map_flag(classes: Mapping[str, str | None], kind: ClassKind = "binary") -> str:
    """Return `--label-map` with these classes, and CLASS for None."""
    named = (f"{short(value)}={classes[value] or 'CLASS'}" for value in sorted(classes, key=order))
    flag = shlex.quote(",".join(named))
    note = "" if all(classes.values()) else f", where CLASS is {CHOICES[kind]}"
    return f"--label-map {flag}{note}"


def number_remedy(files: Mapping[str, Counter[str]], words: Mapping[str, str], column: str) -> str:
    """Return why the numbers of a column of labels have no clear meaning, and what to type.

    Args:
        files: rows by label in each file.
        words: the words among the labels, with their classes.
        column: name of the column.
    """
    tokens = sum(files.values(), Counter[str]())
    values = {token: number for token in tokens if (number := as_number(token)) is not None}
    numbers = sorted(values, key=lambda token: values[token])
    readings = number_readings(numbers)
    own = {file: [token for token in numbers if token in counts] for file, counts in files.items()}
    if not readings and _differ(own.values()) and any(map(_is_coding, own.values())):
        found = {file: ", ".join(tokens) for file, tokens in own.items() if tokens}
        return (
            f"; the numbers differ between files ({_by_file(found)}). Write the same labels in all files "
            "first, such as negative and positive; if each number means the same in all files: "
            f"{map_flag({**dict.fromkeys(numbers), **words})}"
        )
    if words:
        classes = readings[0] if _is_coding(numbers) else dict.fromkeys(numbers)
        return f": numbers and words. Say what each means: {map_flag({**classes, **words})}"
    if readings:
        return (
            f": without another label, it is unclear which class '{numbers[0]}' means. "
            "Say it: --label-map 1=positive or --label-map 1=negative"
        )
    return f", which {_problem(numbers)}. {_other_numbers(tokens, numbers, values, column)}"


def ternary_remedy(numbers: Iterable[str], words: Mapping[str, str], column: str) -> str:
    """Return why these numbers have no clear meaning as labels of three classes, and what to type."""
    ordered = sorted(numbers, key=order)
    if words:
        return f": numbers and words. Say what each means: {_unknown_map(ordered, words)}"
    if len(ordered) < 3:
        return (
            f", which {'are two values' if len(ordered) == 2 else 'is one value'}; three classes are needed. "
            "For negative and positive: --classes binary"
        )
    values = [as_number(number) or 0.0 for number in ordered]
    if values[0] >= 1 and values[-1] <= 5 and len(ordered) > 3:
        return f", which are {len(ordered)} values. If they are stars: --stars-column {shlex.quote(column)}"
    if len(ordered) == 3 and values[1] - values[0] == values[2] - values[1]:
        flag = map_flag(dict(zip(ordered, TERNARY, strict=True)), "ternary")
        return f", whose order is not known: the lowest may also be neutral. If higher is better: {flag}"
    return f", whose meaning is not known. Say what each means: {_unknown_map(ordered, {})}"


def _unknown_map(numbers: Iterable[str], words: Mapping[str, str]) -> str:
    return map_flag({**dict.fromkeys(numbers), **words}, "ternary")


def _differ(values: Iterable[object]) -> bool:
    return len({str(value) for value in values if value}) > 1


def _is_coding(numbers: list[str]) -> bool:
    return len(numbers) == 2 and len(number_readings(numbers)) == 1


def _by_file(found: Mapping[str, str]) -> str:
    listed = "; ".join(f"{file}: {values}" for file, values in list(found.items())[:SHOWN])
    return listed + "; …" * (len(found) > SHOWN)


def _problem(numbers: list[str]) -> str:
    if {"0", "1", "2"} <= set(numbers) or {"-1", "0", "1"} <= set(numbers):
        kind = "three classes" if len(numbers) == 3 else f"{len(numbers)} values"
        return f"are {kind}; two are needed"
    if len(numbers) < 3:
        return "are not 0/1, 1/2, -1/1 or 0/4"
    return f"are {len(numbers)} values; two are needed, such as 0/1, 1/2, -1/1 or 0/4"


def _other_numbers(tokens: Counter[str], numbers: list[str], values: Mapping[str, float], column: str) -> str:
    """Return the remedy for numbers that are no labels: stars, a number to leave out, or a map."""
    ordered = [values[token] for token in numbers]
    low, high = ordered[0], ordered[-1]
    option = f"--stars-column {shlex.quote(column)} "
    if low >= 1 and high <= 5 and (high > 3 or len(numbers) > 3):
        return f"If they are stars: {option.strip()}"
    if set(ordered) >= STARS or len(numbers) > SHOWN:
        rows = Counter({values[token]: tokens[token] for token in numbers})
        return rating_remedy(rows, DEFAULT_SCALE, option)
    for pair in (set(reading) for reading in NUMBER_PAIRS if set(reading) < set(numbers)):
        extra = [token for token in numbers if token not in pair]
        if sum(tokens[token] for token in extra) <= RARE * tokens.total():
            return f"To leave out the rows with {', '.join(extra)}: {map_flag(dict.fromkeys(extra, 'drop'))}"
    steps = {round(after - before, 9) for before, after in pairwise(ordered)}
    if len(steps) > 1 or max(steps, default=0) > 2:
        return f"Say what each means: {map_flag(dict.fromkeys(numbers))}"
    half = len(numbers) // 2
    classes: dict[str, str | None] = dict.fromkeys(numbers[:half], "negative")
    classes |= dict.fromkeys(numbers[half : len(numbers) - half], "drop")
    classes |= dict.fromkeys(numbers[len(numbers) - half :], "positive")
    return f"If higher is better: {map_flag(classes)}"


def rating_remedy(rows: Counter[float], scale: StarsScale, option: str = "") -> str:
    """Return what to type for ratings of which some are outside of the scale.

    Args:
        rows: number of rows by rating.
        scale: lowest and highest rating that was expected.
        option: another flag that is needed, followed by a space.
    """
    ordered = sorted(rows)
    low, high = ordered[0], ordered[-1]
    outside = [rating for rating in ordered if not scale[0] <= rating <= scale[1]]
    rare = sum(rows[rating] for rating in outside) <= RARE * rows.total()
    remedies = []
    if rare or set(outside) <= NO_RATING:
        names = [f"{rating:g}" for rating in outside]
        flag = map_flag(dict.fromkeys(names, "drop"))
        remedies.append(f"To leave out the rows with {', '.join(names)}: {option}{flag}")
    whole = all(rating.is_integer() for rating in ordered) and len(ordered) == high - low + 1
    if whole and (low in (0, 1) or low == -high):
        span = f"{low:g} and {high:g}: {option}--stars-scale {low:g}-{high:g}"
        remedies.append(f"If the lowest and highest possible rating are {span}")
    if not rare or len(outside) > 1:
        remedies.reverse()
    return ". ".join(remedies) or (
        "If they are ratings, give the lowest and highest possible one: "
        f"{option}--stars-scale LOW-HIGH; otherwise name the column that holds the ratings or labels: "
        "--stars-column or --label-column"
    )


def top_remedy(tops: set[float | None]) -> str:
    """Return what to type for ratings such as 8/10; `tops` has their highest possible ratings."""
    if len(tops) > 1:
        return "Write all ratings with the same highest one first, or name another column: --stars-column"
    return f"Give the lowest possible rating, too: --stars-scale LOW-{tops.pop():g}"


def differing_files(files: Mapping[str, Counter[float]], scale: StarsScale) -> str:
    """Return the ratings of each file if only some files have ratings outside of the scale; empty if not."""
    spans = {file: (min(rows), max(rows)) for file, rows in files.items() if rows}
    if not _differ(f"{scale[0] <= low and high <= scale[1]}" for low, high in spans.values()):
        return ""
    found = {file: f"{low:g} to {high:g}" for file, (low, high) in spans.items()}
    return (
        f"They differ between files ({_by_file(found)}): write all ratings on one scale first, "
        "unless they are already. "
    )


def narrow_problem(files: Mapping[str, Counter[float]], scale: StarsScale) -> str:
    """Return why ratings may be on a smaller scale than that of a model, and what to type; empty if not."""
    for file, rows in files.items():
        low, high = min(rows, default=scale[1]), max(rows, default=scale[1])
        usual = DEFAULT_SCALE[0] <= low and high <= DEFAULT_SCALE[1]
        if usual or high <= sum(scale) / 2:
            same, other = f"{scale[0]:g}-{scale[1]:g}", "1-5" if usual else "LOW-HIGH"
            return (
                f"{file} has ratings from {low:g} to {high:g}; the model's training data had the scale "
                f"{scale[0]:g} to {scale[1]:g}. If it is the same: --stars-scale {same}; otherwise: "
                f"--stars-scale {other}"
            )
    return ""
