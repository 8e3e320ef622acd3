"""The classes that labels are divided into: negative and positive, with neutral, stars, or any names."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sentiscale.config import DEFAULT_SCALE, ClassKind, StarsScale

BINARY = ("negative", "positive")
TERNARY = ("negative", "neutral", "positive")
FIXED_NAMES: dict[ClassKind, tuple[str, ...]] = {"binary": BINARY, "ternary": TERNARY}
"""Names of the classes that do not depend on the data."""
DROP = "drop"
"""Stands for a class in `label_map`: rows with the label are left out. No class may have this name."""
MAX_CLASSES = 100
LISTED_NAMES, LONGEST_NAME = 12, 40
"""Number of classes that a message names, and of characters of a name."""
UNSURE = "unsure"
"""Label of a row for which a model that may abstain is not sure enough; no class may have this name."""


@dataclass(frozen=True)
class Classes:
    """Classes in the order of their codes: a row of class `names[code]` has the label `code`."""

    names: tuple[str, ...] = BINARY
    kind: ClassKind = "binary"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> int:
        """Logits of a row: one per class, or for two classes a single one, whose sigmoid is P(names[1])."""
        return 1 if len(self) == 2 else len(self)

    @property
    def stars(self) -> tuple[float, ...] | None:
        """Number of stars of each class; None if the classes are not stars."""
        return tuple(map(float, self.names)) if self.kind == "stars" else None

    @property
    def sides(self) -> tuple[int, ...] | None:
        """-1 for each negative class, 1 for each positive one, 0 for those between; None for other labels.

        From 1 to 5 stars, only 3 is between. On other scales, the lower 40 % are negative and the upper 40 %
        positive.
        """
        if self.kind == "stars":
            low, high = float(self.names[0]), float(self.names[-1])
            margin = 0.0 if (low, high) == DEFAULT_SCALE else 0.1
            shares = [(float(name) - low) / (high - low) - 0.5 for name in self.names]
            return tuple((share >= margin) - (share <= -margin) if share else 0 for share in shares)
        return {"binary": (-1, 1), "ternary": (-1, 0, 1), "labels": None}[self.kind]


NEGATIVE_POSITIVE = Classes()


def star_names(scale: StarsScale) -> tuple[str, ...]:
    """Return a name for each whole number of stars from the lowest to the highest."""
    return tuple(map(str, range(math.ceil(scale[0]), math.floor(scale[1]) + 1)))


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError unless these can be the names of classes: 2 to 100 different printable words."""
    if not 2 <= len(names) <= MAX_CLASSES:
        raise ValueError(f"there are {len(names)} classes; from 2 to {MAX_CLASSES} are allowed")
    if len(set(names)) < len(names):
        raise ValueError("each class may occur only once")
    for name in names:
        good = 1 <= len(name) <= 100 and name == name.strip() and name.isprintable()
        if not good or name.lower() in (UNSURE, DROP):
            raise ValueError(
                f"{name[:100]!r} cannot name a class; a name has 1 to 100 printable characters, no space "
                f"around them, and is not '{UNSURE}' or '{DROP}'"
            )


def listed(names: Iterable[str]) -> str:
    """Return the first names of classes for a message, quoted and bounded in length."""
    quotes = [f"'{name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + '…'}'" for name in names]
    rest = len(quotes) - LISTED_NAMES
    return ", ".join(quotes[:LISTED_NAMES]) + f" and {rest} more" * (rest > 0)
