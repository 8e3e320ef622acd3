"""A layout is two integers, replicas times stages; knows nothing of torch."""

import re
from dataclasses import dataclass

from sentiscale.errors import UsageError


@dataclass(frozen=True)
class Layout:
    """`data` replicas of a model that is cut into `model` stages."""

    data: int
    model: int

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Read `DATAxMODEL`, for example `1x1`.

        Raises: UsageError for anything else, and for layouts that cannot run.
        """
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
        if not match:
            raise UsageError(f"layout is '{text}'; it takes DATAxMODEL, two whole numbers such as 1x1.")
        layout = cls(int(match[1]), int(match[2]))
        if layout.world_size != 1:
            raise UsageError(
                f"layout {layout} needs {layout.world_size} ranks; this version trains on one. "
                "Use --layout 1x1: it uses every core through threads."
            )
        return layout

    @property
    def world_size(self) -> int:
        """Ranks, that is processes, in all."""
        return self.data * self.model

    def __str__(self) -> str:
        return f"{self.data}x{self.model}"
