"""What a model card says in sentences: what the model cannot do, and what was not looked at."""

from sentiscale.card.facts import Card, Slice

RARE_ROWS = 30
"""Slices with fewer rows say too little to be named."""
UNEVEN = 0.02
"""A slice so much less accurate than all rows is worth a sentence."""


def limits_of(card: Card) -> list[str]:
    """One sentence each; facts of this model where they are known."""
    return [
        "It knows two classes, negative and positive. Mixed and neutral reviews get one of them; "
        "three-star reviews were left out of training where there were stars.",
        _language(card),
        _words(card),
        _length(card),
        "It was tested on reviews of the same kind as it was trained on. Other sources, products or years "
        "were not tried; expect less there, and test on your own labelled reviews: "
        "`sentiscale evaluate MODEL FILE`.",
        "Who wrote the reviews is not known, so nothing can be said about groups of people. "
        "It repeats what its training reviews hold, prejudice included.",
        _probabilities(card),
        *_weak_slices(card),
    ]


def _language(card: Card) -> str:
    if card.language:
        return (
            f"It was made for reviews in '{card.language}', its maker says; other languages were not tried."
        )
    return (
        "The language of the training reviews was not stated; in any other language its answers mean nothing."
    )


def _words(card: Card) -> str:
    return (
        f"It knows the {card.model['vocab_size'] - 2:,} words that were frequent enough in training. "
        "Other words, new names and spelling mistakes are all the same unknown word to the network."
    )


def _length(card: Card) -> str:
    read, stored = card.model["max_tokens"], card.model["stored_tokens"]
    wide = f" The n-gram part reads the first {stored}." if card.model["wide"] else ""
    return (
        f"The network reads {read} words of a review: of longer ones the first {read // 2} and the last "
        f"{read // 2} among the first {stored}.{wide} What comes after is not looked at."
    )


def _probabilities(card: Card) -> str:
    ece = card.evaluations[0].ece if card.evaluations else None
    if ece is None:
        return "How far its probabilities can be believed was not measured."
    where = card.evaluations[0].split
    return (
        f"On the {where} split its probabilities were off by {100 * ece:.1f} percentage points on average "
        "(expected calibration error); on other reviews they may be off by more."
    )


def _weak_slices(card: Card) -> list[str]:
    told = []
    for division in card.slices:
        rows = sum(part.rows for part in division.slices)
        overall = sum(part.accuracy * part.rows for part in division.slices) / max(rows, 1)
        weak = [part for part in division.slices if part.rows >= RARE_ROWS and _is_weak(part, overall)]
        if weak:
            named = "; ".join(f"{part.name}: {part.accuracy:.3f} of {part.rows:,} rows" for part in weak)
            told.append(f"Less accurate than the {overall:.3f} of all rows, by {division.by}: {named}.")
    return told


def _is_weak(part: Slice, overall: float) -> bool:
    """Whether it is clearly worse: by some distance, and with its whole interval."""
    return part.accuracy < overall - UNEVEN and part.high < overall
