"""A training's steps, event by event: who computes, who waits for whom, what is on the wire meanwhile.

Every rank has a clock. Computing moves one rank's clock; a collective begins when the last member has come
to it and moves the clocks of all members to its end. That is all: the rest is the order of events, which
follows `training.learner.train_steps` and `parallel`. Steps end with an exchange that all take part in, so
each begins with equal clocks, and all steps are computed at once: arrays are (steps, replicas).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sentiscale.study.plan.costs import Costs, Setting, Work, work_of
from sentiscale.study.plan.exchange import (
    Cluster,
    Link,
    Members,
    all_gather_seconds,
    all_reduce_seconds,
    all_to_all_seconds,
)

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Micro:
    """Seconds that one micro-batch takes each stage, and bytes that travel one way for it."""

    look_up: Times
    """Outer: before the vectors are sent."""
    head: Times
    """Outer: from the pooled rows to their gradient."""
    scatter: Times
    """Outer: the gradients of the vectors are added up."""
    forward: Times
    """Inner."""
    backward: Times
    """Inner."""
    vectors: float
    """Bytes of word vectors, and of their gradients."""
    pooled: float = 0.0
    """Bytes of pooled rows, and of their gradients."""


class Way:
    """One direction of a link: messages leave one after the other."""

    def __init__(self, link: Link, like: Times) -> None:
        self._link = link
        self._free: Times = np.zeros_like(like)

    def send(self, at: Times, size: float) -> Times:
        """When a message that is ready at `at` arrives."""
        self._free = np.maximum(at, self._free) + size / self._link.bandwidth
        return self._free + self._link.latency


def run_pipeline(micro: Micro, parts: int, link: Link) -> tuple[Times, Times]:
    """Times at which the outer and the inner stage have done all micro-batches of a step."""
    inward, outward = Way(link, micro.forward), Way(link, micro.forward)
    outer = parts * micro.look_up
    inner = np.zeros_like(outer)
    vectors = [inward.send(outer, micro.vectors) for _ in range(min(2, parts))]
    vector_gradients: list[Times] = []

    inner = np.maximum(inner, vectors[0]) + micro.forward
    pooled = outward.send(inner, micro.pooled)
    for index in range(parts):
        if index + 1 < parts:  # the inner stage computes one ahead
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
"""Steps that are simulated; their mean is the prediction."""

REPORT_BYTES = 48
"""Six numbers a rank that all must agree on before the weights change."""


@dataclass(frozen=True)
class StepParts:
    """A mean step in seconds; the parts add up to `seconds`."""

    seconds: float
    compute: float
    """Of a mean rank; with stages, of the busier one."""
    waiting: float
    """For the slowest rank, and for the other stage."""
    exchange: float
    """Of gradients and changed rows, as far as nothing was computed meanwhile."""


def simulate(
    costs: Costs, setting: Setting, cluster: Cluster, *, steps: int = STEPS, seed: int = 0
) -> StepParts:
    """Mean step of a layout on a cluster. The same seed gives the same numbers."""
    busy = min(cluster.ranks_per_host, setting.ranks)
    work = work_of(costs, setting, busy)
    factors = drawn(costs, setting.replicas, steps, seed, alone=setting.ranks == 1)
    if setting.stages == 1:
        return _whole(work, setting, cluster, factors)
    return _staged(work, setting, cluster, factors)


def drawn(costs: Costs, replicas: int, steps: int, seed: int, *, alone: bool) -> Times:
    """By how much each rank's share of each step takes longer than the mean one (steps, replicas)."""
    generator = np.random.default_rng([seed, replicas])
    common = generator.choice(np.array(costs.step_factors), size=(steps, 1))
    common = common / common.mean()
    if alone or costs.spread == 0:
        return np.broadcast_to(common, (steps, replicas)).astype(float)
    sigma = np.sqrt(np.log1p(costs.spread**2))  # a lognormal of mean 1: times cannot be negative
    return np.asarray(common * generator.lognormal(-(sigma**2) / 2, sigma, (steps, replicas)))


def _whole(work: Work, setting: Setting, cluster: Cluster, factors: Times) -> StepParts:
    forward, backward = work.forward * factors, work.backward * factors
    group = Members(setting.replicas, cluster.hosts(setting.ranks))
    computed = forward + backward
    begun = computed.max(axis=1)
    if _in_memory(group, cluster):
        exchanged = begun + _memory_seconds(work, cluster)
    else:
        exchanged = _rows_on_their_way(work, group, cluster, forward.max(axis=1), begun)
        exchanged = exchanged + all_reduce_seconds(work.whole_gradients, group, cluster)
        exchanged = exchanged + all_gather_seconds(REPORT_BYTES, group, cluster)
    updated = exchanged + work.update_whole + work.update_rows
    ended = updated + _share_seconds(work, group, cluster)
    return _parts(ended, computed, begun, work.update_whole + work.update_rows)


def _staged(work: Work, setting: Setting, cluster: Cluster, factors: Times) -> StepParts:
    parts = min(setting.micro_batches, max(1, int(setting.rows)))
    third = work.micro_outer / 3 * factors
    micro = Micro(
        third, third, third, work.micro_forward * factors, work.micro_backward * factors, work.micro_bytes
    )
    together = cluster.ranks_per_host >= setting.stages  # stages of a replica are neighbours
    crossing = min(setting.replicas, cluster.ranks_per_host)
    link = cluster.between(setting.ranks, 1 if together else 2, 1 if together else crossing)
    outer, inner = run_pipeline(micro, parts, link)
    inner_work = parts * (micro.forward + micro.backward)
    group = Members(setting.replicas, _hosts_of_stage(setting, cluster))
    outer_begun, inner_begun = outer.max(axis=1), inner.max(axis=1)
    if group.count == 1:
        outer_done, inner_done = outer_begun, inner_begun
    elif _in_memory(group, cluster):
        outer_done = outer_begun + _memory_seconds(replace(work, whole_gradients=0.0), cluster)
        inner_done = inner_begun + _memory_seconds(replace(work, row_numbers=0.0, row_gradients=0.0), cluster)
    else:
        outer_done = _rows_on_their_way(work, group, cluster, outer_begun, outer_begun)
        inner_done = inner_begun + all_reduce_seconds(work.whole_gradients, group, cluster)
    everyone = Members(setting.ranks, cluster.hosts(setting.ranks))
    agreed = np.maximum(outer_done, inner_done) + all_gather_seconds(REPORT_BYTES, everyone, cluster)
    ended = np.maximum(
        agreed + work.update_whole, agreed + work.update_rows + _share_seconds(work, group, cluster)
    )
    update = max(work.update_whole, work.update_rows)
    return _parts(ended, inner_work, np.maximum(outer_begun, inner_begun), update)


def _hosts_of_stage(setting: Setting, cluster: Cluster) -> int:
    """Hosts that the replicas of one stage are on."""
    return min(setting.replicas, cluster.hosts(setting.ranks))


def _in_memory(group: Members, cluster: Cluster) -> bool:
    return group.count > 1 and group.hosts == 1 and cluster.shares_memory


def _memory_seconds(work: Work, cluster: Cluster) -> float:
    """Everything before the update through shared memory: rows handed out, buckets added up, reports."""
    barriers = 2 + 2 * work.buckets * (work.whole_gradients > 0)
    return cluster.memory.seconds(work.row_numbers + work.row_gradients + work.whole_gradients, barriers)


def _rows_on_their_way(work: Work, group: Members, cluster: Cluster, known: Times, begun: Times) -> Times:
    """When the rows' gradients are with their owners.

    How many rows each owner gets is told during the forward pass, their numbers during the backward pass
    (from `known` on); their gradients leave when all ranks have them (`begun`).
    """
    if work.row_gradients == 0:
        return begun
    counted = np.maximum(known, all_to_all_seconds(8 * group.count, group, cluster))
    numbered = counted + all_to_all_seconds(work.row_numbers, group, cluster)
    return np.maximum(begun, numbered) + all_to_all_seconds(work.row_gradients, group, cluster)


def _share_seconds(work: Work, group: Members, cluster: Cluster) -> float:
    """Changed rows to the other hosts: one replica of each host makes a ring, as many rings as replicas."""
    if group.count == 1 or work.changed_rows == 0:
        return 0.0
    on_host = group.on_host if cluster.shares_memory else 1.0
    waiting = cluster.memory.latency if on_host > 1 else 0.0
    counterparts = Members(round(group.count / on_host), group.hosts)
    if counterparts.count == 1:
        return waiting
    sizes = all_gather_seconds(8, counterparts, cluster, on_host)
    # Row numbers and rows are two collectives: the second pays its messages again.
    rows = all_gather_seconds(work.changed_rows, counterparts, cluster, on_host)
    return waiting + 2 * sizes + rows


def _parts(ended: Times, computed: Times, begun: Times, update: float) -> StepParts:
    seconds = float(ended.mean())
    compute = float(computed.mean()) + update
    waiting = float((begun - computed.mean(axis=1)).mean())
    return StepParts(seconds, compute, waiting, max(0.0, seconds - compute - waiting))
