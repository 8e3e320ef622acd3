"""A layout is two integers, replicas times stages: a point on a mesh. Knows nothing of torch.

`1x1` is serial, `4x1` data-parallel, `1x2` model-parallel, `2x2` hybrid. Ranks are numbered replica by
replica, so the stages of one replica are neighbours and end up on the same machine.
"""

import re
from dataclasses import dataclass

from sentiscale.errors import UsageError

MOST_STAGES = 2
"""The network is cut in two: embedding and head on one side, the recurrent layer on the other."""


LEAST_ROWS = 32
"""Rows of a step for each replica, where nobody says how many: products of fewer rows use a core badly."""


@dataclass(frozen=True)
class Layout:
    """`data` replicas of a model that is cut into `model` stages."""

    data: int
    """Replicas, each with its share of a batch's rows."""
    model: int
    """Stages that a replica is cut into, each on a rank of its own: 1 or 2."""

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Read `DATAxMODEL`, for example `4x1`.

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
                f"layout {layout} cuts the network into {layout.model} stages; there are {MOST_STAGES}: "
                f"embedding with head, and the recurrent layer. Use --layout {layout.data}x{MOST_STAGES}, "
                f"or {layout.world_size}x1 for as many ranks."
            )
        return layout

    @property
    def world_size(self) -> int:
        return self.data * self.model

    def place(self, rank: int) -> tuple[int, int]:
        return divmod(rank, self.model)

    def replicas_of(self, stage: int) -> list[int]:
        """Ranks that hold the same stage: gradients are summed over them."""
        return list(range(stage, self.world_size, self.model))

    def stages_of(self, replica: int) -> list[int]:
        """Ranks that make up one replica: activations travel among them."""
        return list(range(replica * self.model, (replica + 1) * self.model))

    def check_cores(self, ranks_here: int, threads: int, cores: int, *, oversubscribe: bool) -> None:
        """Refuse to put more busy threads on this machine than it has cores.

        Raises: UsageError unless `oversubscribe` says that this is meant.
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
    """As many replicas as cores and rows of a step allow, the other cores as their threads.

    Between half and all of that number, the one that leaves the fewest cores idle: 6 cores are 3 replicas of
    2 threads.
    """
    most = max(1, min(cores, batch_size // LEAST_ROWS))
    best = max(range(most // 2 + 1, most + 1), key=lambda ranks: (cores // ranks * ranks, ranks))
    return Layout(best, 1)
