"""Two stages that pass micro-batches, as `parallel.staged` does it (1F1B): when each of them is done.

The stage with embedding and head is called outer, the one with the recurrent layer inner. Times are arrays:
each replica, and each step, has its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentiscale.planning.networks import Link

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
