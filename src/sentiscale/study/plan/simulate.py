"""Discrete-event simulation of training steps: computing, waiting and messages in transit.

Every rank has a clock. Computing advances the clock of one rank. A collective begins when its last member
arrives, and sets the clocks of all members to its end. The order of events is the same as in
`training.step.train_steps` and `parallel`. A step ends with an exchange between all ranks, so every step
begins with equal clocks, and all steps are simulated at the same time in arrays (steps, replicas).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sentiscale.study.plan.costs import ParallelSetup, RankWork, TrainingCosts, work_of
from sentiscale.study.plan.network import ClusterSpec, NetworkLink, RankGroup, collective_seconds

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MicroBatch:
    """Seconds per stage for one micro-batch, and bytes sent in each direction."""

    look_up: Times  # outer stage, before the word vectors are sent
    head: Times  # outer stage, from the pooled rows to their gradients
    scatter: Times  # outer stage, summing the gradients of the word vectors
    forward: Times  # inner stage
    backward: Times  # inner stage
    vectors: float  # bytes of the word vectors; their gradients have the same size
    pooled: float = 0.0  # bytes of the pooled rows; their gradients have the same size


class LinkDirection:
    """One direction of a link, which sends messages one after the other."""

    def __init__(self, link: NetworkLink, like: Times) -> None:
        self._link = link
        self._free_at: Times = np.zeros_like(like)

    def send(self, at: Times, size: float) -> Times:
        """Arrival time of a message that is ready at `at`."""
        self._free_at = np.maximum(at, self._free_at) + size / self._link.bandwidth
        return self._free_at + self._link.latency


def run_pipeline(micro: MicroBatch, parts: int, link: NetworkLink) -> tuple[Times, Times]:
    """Times at which the outer and the inner stage have finished all micro-batches of a step."""
    inward, outward = LinkDirection(link, micro.forward), LinkDirection(link, micro.forward)
    outer = parts * micro.look_up
    inner = np.zeros_like(outer)
    vectors = [inward.send(outer, micro.vectors) for _ in range(min(2, parts))]
    vector_gradients: list[Times] = []

    inner = np.maximum(inner, vectors[0]) + micro.forward
    pooled = outward.send(inner, micro.pooled)
    for index in range(parts):
        if index + 1 < parts:  # the inner stage computes one micro-batch ahead
            inner = np.maximum(inner, vectors[index + 1]) + micro.forward
            next_pooled = outward.send(inner, micro.pooled)
        outer = np.maximum(outer, pooled) + micro.head
        gradient = inward.send(outer, micro.pooled)
        if index + 2 < parts:
            vectors.append(inward.send(outer, micro.vectors))
        if index > 0:
            outer = np.maximum(outer, vector_gradients[index - 1]) + micro.scatter
        inner = np.maximum(inner, gradient) + micro.backward
        vector_gradients.append(outward.send(inner, micro.vectors))
        if index + 1 < parts:
            pooled = next_pooled
    return np.maximum(outer, vector_gradients[-1]) + micro.scatter, inner


STEPS = 200
"""Number of simulated steps, whose mean is the prediction."""

REPORT_BYTES = 48
"""Bytes of the six numbers per rank that all ranks exchange before the weights are updated."""


@dataclass(frozen=True)
class StepParts:
    """Parts of a mean step in seconds, which add up to `seconds`."""

    seconds: float
    compute: float  # mean over ranks; with two stages, over the ranks of the inner stage
    waiting: float  # waiting for the slowest rank and for the other stage
    exchange: float  # exchange of gradients and changed rows that does not overlap with computing


def simulate(
    costs: TrainingCosts, setup: ParallelSetup, cluster: ClusterSpec, *, steps: int = STEPS, seed: int = 0
) -> StepParts:
    """Simulate the mean step of a setup on a cluster. The result is deterministic for a seed."""
    work = work_of(costs, setup, min(cluster.ranks_per_host, setup.ranks))
    factors = draw_factors(costs, setup, steps, seed)
    group = RankGroup(setup.replicas, cluster.hosts(setup.ranks))
    if setup.stages == 1:
        return _whole_network(work, group, cluster, factors)
    return _two_stages(work, setup, cluster, factors)


def draw_factors(costs: TrainingCosts, setup: ParallelSetup, steps: int, seed: int) -> Times:
    """Draw the time of each rank's share of each step, relative to the mean (steps, replicas)."""
    generator = np.random.default_rng([seed, setup.replicas])
    common = generator.choice(np.array(costs.step_factors), size=(steps, 1))
    common = common / common.mean()
    if setup.ranks == 1 or costs.spread == 0:
        return np.broadcast_to(common, (steps, setup.replicas)).astype(float)
    sigma = np.sqrt(np.log1p(costs.spread**2))  # a lognormal of mean 1: times cannot be negative
    return np.asarray(common * generator.lognormal(-(sigma**2) / 2, sigma, (steps, setup.replicas)))


def _whole_network(work: RankWork, group: RankGroup, cluster: ClusterSpec, factors: Times) -> StepParts:
    forward, backward = work.forward * factors, work.backward * factors
    computed = forward + backward
    begin = computed.max(axis=1)
    if _in_memory(group, cluster):
        exchanged = begin + _memory_seconds(work, cluster)
    else:
        exchanged = _send_rows(work, group, cluster, forward.max(axis=1), begin)
        exchanged = exchanged + collective_seconds("all_reduce", work.whole_gradients, group, cluster)
        exchanged = exchanged + collective_seconds("all_gather", REPORT_BYTES, group, cluster)
    end = exchanged + work.update_whole + work.update_rows + _share_seconds(work, group, cluster)
    return _step_parts(end, computed, begin, work.update_whole + work.update_rows)


def _two_stages(work: RankWork, setup: ParallelSetup, cluster: ClusterSpec, factors: Times) -> StepParts:
    third = work.micro_outer / 3 * factors
    micro = MicroBatch(
        third, third, third, work.micro_forward * factors, work.micro_backward * factors, work.micro_bytes
    )
    hosts = cluster.hosts(setup.ranks)
    if cluster.ranks_per_host >= setup.stages:  # the stages of a replica are on the same host
        link = cluster.between(setup.ranks, 1)
    else:
        link = cluster.between(setup.ranks, 2, min(setup.replicas, cluster.ranks_per_host))
    outer, inner = run_pipeline(micro, setup.parts, link)
    group = RankGroup(setup.replicas, min(setup.replicas, hosts))  # replicas of the same stage
    outer_begin, inner_begin = outer.max(axis=1), inner.max(axis=1)
    if group.count == 1:
        outer_end, inner_end = outer_begin, inner_begin
    elif _in_memory(group, cluster):
        outer_end = outer_begin + _memory_seconds(replace(work, whole_gradients=0.0), cluster)
        inner_end = inner_begin + _memory_seconds(replace(work, row_numbers=0.0, row_gradients=0.0), cluster)
    else:
        outer_end = _send_rows(work, group, cluster, outer_begin, outer_begin)
        inner_end = inner_begin + collective_seconds("all_reduce", work.whole_gradients, group, cluster)
    reports = collective_seconds("all_gather", REPORT_BYTES, RankGroup(setup.ranks, hosts), cluster)
    agreed = np.maximum(outer_end, inner_end) + reports
    end = np.maximum(
        agreed + work.update_whole, agreed + work.update_rows + _share_seconds(work, group, cluster)
    )
    computed = setup.parts * (micro.forward + micro.backward)
    update = max(work.update_whole, work.update_rows)
    return _step_parts(end, computed, np.maximum(outer_begin, inner_begin), update)


def _in_memory(group: RankGroup, cluster: ClusterSpec) -> bool:
    return group.count > 1 and group.hosts == 1 and cluster.shares_memory


def _memory_seconds(work: RankWork, cluster: ClusterSpec) -> float:
    """Time of the exchange before the update through shared memory: rows, sums of buckets, and reports."""
    barriers = 2 + 2 * work.buckets * (work.whole_gradients > 0)
    return cluster.memory.seconds(work.row_numbers + work.row_gradients + work.whole_gradients, barriers)


def _send_rows(
    work: RankWork, group: RankGroup, cluster: ClusterSpec, forward_end: Times, backward_end: Times
) -> Times:
    """Time at which the owners of rows have received the gradients.

    The count of rows for each owner is sent during the forward pass. The row numbers are sent during the
    backward pass, from `forward_end` on. The gradients are sent when all ranks have them, at `backward_end`.
    """
    if work.row_gradients == 0:
        return backward_end
    counted = np.maximum(forward_end, collective_seconds("all_to_all", 8 * group.count, group, cluster))
    numbered = counted + collective_seconds("all_to_all", work.row_numbers, group, cluster)
    return np.maximum(backward_end, numbered) + collective_seconds(
        "all_to_all", work.row_gradients, group, cluster
    )


def _share_seconds(work: RankWork, group: RankGroup, cluster: ClusterSpec) -> float:
    """Time to send changed rows to the other hosts.

    Each ring has one replica per host, and there are as many rings as replicas per host.
    """
    if group.count == 1 or work.changed_rows == 0:
        return 0.0
    on_host = group.on_host if cluster.shares_memory else 1.0
    waiting = cluster.memory.latency if on_host > 1 else 0.0
    ring = RankGroup(round(group.count / on_host), group.hosts)
    if ring.count == 1:
        return waiting
    sizes = collective_seconds("all_gather", 8, ring, cluster, on_host)
    # Row numbers and rows are sent in two collectives, so the latency of the messages counts twice.
    return waiting + 2 * sizes + collective_seconds("all_gather", work.changed_rows, ring, cluster, on_host)


def _step_parts(end: Times, computed: Times, begin: Times, update: float) -> StepParts:
    seconds = float(end.mean())
    compute = float(computed.mean()) + update
    waiting = float((begin - computed.mean(axis=1)).mean())
    return StepParts(seconds, compute, waiting, max(0.0, seconds - compute - waiting))
