"""One of two ranks that train the cell of the worked example, in float64: `cell_rank.py RANK FOLDER`.

Rank 0 also does the same steps alone, and tells how far the two results are apart. Two plain processes that
start at once: cheaper for one test than a world of `tests.worlds`, whose server is made for many.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from sentiscale.parallel.layout import Layout
from sentiscale.parallel.world import join, single_rank
from tests.parallel.learning import Case, difference, learn

CASES = {
    "plain": Case(cell="mingru"),
    "ragged, clipped, dropout": Case(cell="mingru", rows=13, steps=4, max_norm=0.05, dropout=0.3),
}
SECONDS = 40


def main(rank: int, folder: Path) -> None:
    """Learn every case with the other rank; on rank 0 also alone."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    layout, cpu = Layout(2, 1), torch.device("cpu")
    with join(layout, rank, cpu, dist.FileStore(str(folder / "meeting"), 2), SECONDS) as world:
        found = {name: learn(world, case) for name, case in CASES.items()}
    if rank == 0:
        serial = {name: learn(single_rank(cpu), case) for name, case in CASES.items()}
        told = {
            "differences": [difference(found[name], serial[name]) for name in CASES],
            "losses": serial["plain"]["losses"],
        }
        sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
