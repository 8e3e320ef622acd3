"""A layout is two integers, replicas x stages: the shape of the mesh of ranks. Does not import torch.

`1x1` is serial, `4x1` data-parallel, `1x2` model-parallel, `2x2` hybrid. Ranks are numbered replica by
replica, so the stages of one replica are adjacent and usually run on the same machine.
"""

import re
from dataclasses import dataclass

from sentiscale.errors import UsageError

MOST_STAGES = 2
"""The network is split in two: embedding and head in one stage, the recurrent layer in the other."""


LEAST_ROWS = 32
"""Default minimum of rows per step and replica: matrix products of fewer rows use a core poorly."""


@dataclass(frozen=True)
class Layout:
    """`data` replicas of a model that is split into `model` stages."""

    data: int
    """Number of replicas; each processes its share of the rows of a batch."""
    model: int
    """Number of stages per replica, each on its own rank: 1 or 2."""

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Parse `DATAxMODEL`, for example `4x1`.

        Raises: UsageError for anything else.
        """
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
        if not match:
            raise UsageError(
                f"layout is '{text}'; it takes DATAxMODEL, two whole numbers such as 2x1, or auto."
            )
        layout = cls(int(match[1]), int(match[2]))
        if layout.model > MOST_STAGES:
            raise UsageError(
                f"layout {layout} splits the network into {layout.model} stages; there are {MOST_STAGES}: "
                f"embedding with head, and the recurrent layer. Use --layout {layout.data}x{MOST_STAGES}, "
                f"or {layout.world_size}x1 for the same number of ranks."
            )
        return layout

    @property
    def world_size(self) -> int:
        return self.data * self.model

    def place(self, rank: int) -> tuple[int, int]:
        return divmod(rank, self.model)

    def replicas_of(self, stage: int) -> list[int]:
        """Ranks that hold the same stage; gradients are summed over them."""
        return list(range(stage, self.world_size, self.model))

    def stages_of(self, replica: int) -> list[int]:
        """Ranks of one replica; activations are sent between them."""
        return list(range(replica * self.model, (replica + 1) * self.model))

    def check_cores(self, ranks_here: int, threads: int, cores: int, *, oversubscribe: bool) -> None:
        """Check that this machine has a core for every busy thread.

        Raises: UsageError when it has fewer and `oversubscribe` is False.
        """
        if ranks_here * threads <= cores or oversubscribe:
            return
        if ranks_here <= cores:
            remedy = f"--threads-per-rank {cores // ranks_here}"
        else:
            remedy = f"--layout {cores // self.model}x{self.model}" if cores >= self.model else "--layout 1x1"
        raise UsageError(
            f"layout {self} needs {ranks_here} ranks x {threads} threads, but {cores} cores are visible. "
            f"Use {remedy}, or add --oversubscribe to measure overhead only."
        )

    def __str__(self) -> str:
        return f"{self.data}x{self.model}"


def usual_layout(batch_size: int, cores: int) -> Layout:
    """Default layout: as many replicas as cores and rows per step allow, other cores as their threads.

    Chooses the number of replicas, more than half of that maximum, that leaves the fewest cores idle: with
    128 rows, 6 cores run 3 replicas of 2 threads.
    """
    most = max(1, min(cores, batch_size // LEAST_ROWS))
    best = max(range(most // 2 + 1, most + 1), key=lambda ranks: (cores // ranks * ranks, ranks))
    return Layout(best, 1)
