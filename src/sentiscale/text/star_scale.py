"""Decide which scale the ratings of an input have, and refuse columns of something else."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from sentiscale.config import DEFAULT_SCALE, ClassKind, PrepareSettings, StarsScale
from sentiscale.errors import DataError
from sentiscale.text.label_remedies import (
    differing_files,
    map_flag,
    most_frequent,
    narrow_problem,
    rating_remedy,
    shown,
    top_remedy,
)
from sentiscale.text.labels import (
    MISSING,
    NEGATIVE_NAME,
    WORDS,
    Reason,
    ValueRules,
    as_stars,
    is_common,
    label_token,
    stars_token,
    total_of,
)


def read_scale(
    files: Mapping[str, Counter[str]], settings: PrepareSettings, column: str, of_model: StarsScale | None
) -> StarsScale:
    """Return the scale of ratings.

    Args:
        files: rows by value of a column of stars, for each file.
        settings: `stars_scale` and `label_map` take precedence.
        column: name of the column, for messages.
        of_model: scale of the stars of a model's training data; None without a model or stars.

    Raises: DataError when ratings are outside of the scale, or the column holds something else.
    """
    scale = settings.stars_scale or of_model or DEFAULT_SCALE
    rules = ValueRules.given(settings, stars=True)
    ignored = MISSING | rules.classes.keys()
    files = {
        file: Counter({value: rows for value, rows in counts.items() if stars_token(value) not in ignored})
        for file, counts in files.items()
    }
    counts = total_of(files)
    holds = f"column '{column}' holds the ratings {shown(counts)}"
    if of_model is not None and settings.classes == "stars":
        _check_known_stars(counts, scale, holds)
    elif settings.stars_scale is None and not rules.complete:
        _check_scale(files, counts, scale, settings.classes, column, holds)
    if settings.classes == "stars":
        _check_whole(counts, replace(rules, scale=scale), holds)
        tokens = {*map(stars_token, counts)}
        if of_model is None and settings.stars_scale is None and tokens and tokens <= {"1", "2"}:
            raise DataError(
                f"{holds}, too few to tell that they are stars. If they are: --stars-scale 1-5; if they mean "
                "negative and positive: --classes binary"
            )
    return scale


def _check_scale(
    files: Mapping[str, Counter[str]],
    counts: Counter[str],
    scale: StarsScale,
    kind: ClassKind,
    column: str,
    holds: str,
) -> None:
    """Refuse ratings outside of the scale, and columns of something else; `counts` has those of all files."""
    if kind != "stars" and NEGATIVE_NAME.search(column.lower()):
        proposal = map_flag(dict.fromkeys(map(stars_token, most_frequent(counts))), kind)
        raise DataError(f"{holds}; by its name, more may be worse. Say what they mean: {proposal}")
    flag = "--classes binary" if kind == "stars" else f"--label-column {shlex.quote(column)}"
    as_labels = f"If they are labels: {flag}"
    ratings = [found for value in counts if (found := as_stars(value)) is not None]
    if {top for _, top in ratings} - {None, scale[1]}:
        _refuse(holds, scale, top_remedy({top for _, top in ratings}))
    numbers = {file: _numbers(counts) for file, counts in files.items()}
    if any(not scale[0] <= rating <= scale[1] for rating, _ in ratings):
        labels = {rating for rating, _ in ratings} in ({0.0, 1.0}, {-1.0, 1.0})
        remedy = as_labels if labels else ""
        remedy = remedy or differing_files(numbers, scale) + rating_remedy(total_of(numbers), scale)
        _refuse(holds, scale, remedy)
    if scale != DEFAULT_SCALE and (problem := narrow_problem(numbers, scale)):
        raise DataError(f"{holds}. {problem}")
    words = Counter({value: rows for value, rows in counts.items() if as_stars(value) is None})
    if words.total() > counts.total() / 2:
        remedy = as_labels
        if not any(label_token(word) in WORDS for word in words):
            remedy = f"Say what they mean: {map_flag(dict.fromkeys(most_frequent(words)), kind)}"
        raise DataError(f"{holds}, not numbers of stars. {remedy}")


def _check_known_stars(counts: Counter[str], scale: StarsScale, holds: str) -> None:
    """Refuse ratings of which many are not on the scale of the model's stars."""
    outside = Counter(
        {
            stars_token(value): rows
            for value, rows in counts.items()
            if not scale[0] <= (as_stars(value) or (scale[0] - 1, None))[0] <= scale[1]
        }
    )
    if is_common(outside, counts.total()):
        flag = map_flag(dict.fromkeys(most_frequent(outside)), "stars")
        raise DataError(
            f"{holds}; the model has the stars {scale[0]:g} to {scale[1]:g}. Say which each other is: {flag}"
        )


def _check_whole(counts: Counter[str], rules: ValueRules, holds: str) -> None:
    """Refuse ratings that are often no whole number of stars; `_check_scale` does those outside of it."""
    unknown: Counter[str] = Counter()
    for value, rows in counts.items():
        stars, top = as_stars(value) or (rules.scale[0], None)
        inside = rules.scale[0] <= stars <= rules.scale[1] and top in (None, rules.scale[1])
        if inside and rules.stars_meaning(value) is Reason.UNKNOWN_LABEL:
            unknown[stars_token(value)] += rows
    if is_common(unknown, counts.total()):
        flag = map_flag(dict.fromkeys(most_frequent(unknown)), "stars")
        raise DataError(
            f"{holds}; each class is a whole number of stars, {rules.scale[0]:g}-{rules.scale[1]:g}. "
            f"Say which class the others have: {flag}"
        )


def _refuse(holds: str, scale: StarsScale, remedy: str) -> NoReturn:
    raise DataError(f"{holds}; stars from {scale[0]:g} to {scale[1]:g} were expected. {remedy}")


def _numbers(counts: Mapping[str, int]) -> Counter[float]:
    """Return the rows by rating, without values that are no ratings."""
    numbers: Counter[float] = Counter()
    for value, rows in counts.items():
        if (found := as_stars(value)) is not None:
            numbers[found[0]] += rows
    return numbers
