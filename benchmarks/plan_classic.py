"""Does `plan` put the classic recipe's turning point where its authors saw it?

Run:      python benchmarks/plan_classic.py
Fixed:    the classic recipe: 130,000 words x 400 floats and two layers of 512 units, all sent and updated,
          32 rows of 200 tokens a rank, 3 epochs of 320,000 rows, all ranks on one node
Varies:   what ranks of the node share, which was never published: nothing; memory of 60 GB/s and sockets of
          10 GB/s in all; the same with 24 cores, so that 28 ranks take turns on some
Timed:    nothing; published seconds are of one run each; repeats in their logs differ by 10-16 %
Expect:   a second
Not for:  conclusions about that node: three of its numbers are assumed here
"""

from dataclasses import replace

from sentiscale.study.plan.costs import Curve, TrainingCosts
from sentiscale.study.plan.network import ClusterSpec, parse_network
from sentiscale.study.plan.prediction import CapacityRequest, PerformanceModel, predict
from sentiscale.study.plan.sizes import CLASSIC, costs_of_sizes, with_memory_limit

EPOCHS = 3
PUBLISHED = {8: 15796, 12: 11626, 16: 9372, 20: 8575, 24: 8108, 28: 10683}
SOCKETS, MEMORY = 10e9, 60e9


def main() -> None:
    costs = costs_of_sizes(CLASSIC)
    shared = with_memory_limit(costs, MEMORY)
    crowded = replace(shared, slowdown=Curve((1.0, 24.0, 24.001, 48.0), (1.0, 1.0, 2.0, 2.0)))
    columns = {
        "nothing shared": predicted(costs, None),
        "memory and sockets shared": predicted(shared, SOCKETS),
        "the same, 24 cores": predicted(crowded, SOCKETS),
    }
    print(f"| ranks | published s | {' | '.join(columns)} |")
    print("|" + "---|" * (2 + len(columns)))
    for place, (ranks, seconds) in enumerate(PUBLISHED.items()):
        guesses = " | ".join(
            f"{each[place]:,.0f} ({each[place] / seconds - 1:+.0%})" for each in columns.values()
        )
        print(f"| {ranks} | {seconds:,} | {guesses} |")
    for name, each in {"published": list(PUBLISHED.values()), **columns}.items():
        best = list(PUBLISHED)[each.index(min(each))]
        eight, twenty_four = each[0], each[list(PUBLISHED).index(24)]
        print(f"{name}: fastest at {best} ranks; 24 are {eight / twenty_four:.2f} times as fast as 8")


def predicted(costs: TrainingCosts, sockets: float | None) -> list[float]:
    """Seconds of all epochs by published number of ranks."""
    cluster = ClusterSpec(28, parse_network("10gbit"), total_bandwidth=sockets, shares_memory=False)
    question = CapacityRequest(
        tuple(PUBLISHED), batch_size=CLASSIC.batch_size, rows=CLASSIC.rows, scaling="weak"
    )
    return [EPOCHS * row.seconds_per_epoch for row in predict(PerformanceModel(costs, cluster), question)]


if __name__ == "__main__":
    main()
