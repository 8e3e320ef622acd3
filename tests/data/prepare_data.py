"""Small reviews for tests of preparation."""

import random

WORDS = ["the", "a", "it", "was", "not", "very", "good", "bad", "screen", "battery", "died", "works", "!"]


def reviews(count, seed=0, *, extra=""):
    """fastText lines; a twentieth of them repeats an earlier one in other capitals."""
    rng = random.Random(seed)
    lines: list[str] = []
    for number in range(count):
        if number % 20 == 19:
            lines.append(lines[number // 2].upper().replace("__LABEL__", "__label__"))
        else:
            text = " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))
            lines.append(f"__label__{rng.choice((1, 2))} {text} {number}{extra}")
    return lines
