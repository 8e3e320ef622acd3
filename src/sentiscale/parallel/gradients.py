"""Sum gradients over replicas: embedding gradients by row, all others in buckets.

A step touches a few thousand of a hundred thousand rows, so the embedding's gradients are stored, sent and
applied by row. Row v belongs to replica v % d. That replica sums the row's gradients, holds its optimizer
state, updates it and sends the new row to the others (as ZeRO does with whole parameters; Rajbhandari et
al., 2020). Each replica therefore updates 1/d of the rows instead of all of them. A batch that is all padding
on one rank needs no special case: that rank sends no rows, whereas gloo's sparse all-reduce fails (PyTorch
issue 87497). Replicas on one host share one table in memory, so that new rows need not be sent.

Decision 5 explains why DistributedDataParallel is not used.

Shapes: V rows of the table, E embedding width, d replicas, U distinct rows in a rank's batch, N rows that
all replicas send to this one, R distinct rows among these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sentiscale.parallel.collectives import all_gather
from sentiscale.parallel.shared_memory import shared_on_host, slots_bytes
from sentiscale.parallel.world import Group, World
from sentiscale.text.vocab import PAD


@dataclass
class RowExchange:
    """Rows of one step while they are exchanged with their owners."""

    rows_U: Tensor
    """Distinct rows of this rank's batch without padding; sorted by owner if there are several replicas."""
    places_U: Tensor
    """Positions of these rows in the leaf tensor that `look_up` returned."""
    to_each: Tensor
    """Number of these rows that each replica owns, (d,)."""
    from_each: Tensor
    """Number of rows that each replica sends to this one, (d,)."""
    rows_N: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int32))
    """Rows owned by this rank, as sent by all replicas."""
    work: dist.Work | None = None


class EmbeddingTable:
    """A (V, E) weight, the same on every replica, with row-sparse gradients."""

    def __init__(self, weight: Tensor, world: World, wire_dtype: torch.dtype | None = None) -> None:
        """If `wire_dtype` is set, gradients are rounded to it before they are sent."""
        self.weight = weight.detach()
        self.group = world.replicas
        self.host = world.host_group
        self.replica, self.replicas = world.replica, world.layout.data
        self.neighbours: Group | None = None
        self.receivers = world.replicas
        """Group that receives the rows updated by this replica."""
        if world.neighbours is not None and (shared := shared_on_host(self.weight, world)) is not None:
            self.weight, self.neighbours, self.receivers = shared, world.neighbours, world.counterparts
        self.wire_dtype = wire_dtype or weight.dtype
        self.rows_R = torch.zeros(0, dtype=torch.int64, device=weight.device)
        """Rows of this replica that the current step changes, in ascending order."""
        self.gradient_RE = self.weight.new_zeros(0, weight.shape[1])
        self._leaf_UE = self.gradient_RE
        self._exchange: RowExchange | None = None

    @staticmethod
    def overhead_bytes(rows: int) -> int:
        """Bytes of shared memory needed for row numbers and counts, in addition to the rows themselves."""
        return slots_bytes(2**16, 4 * rows)

    @property
    def owned(self) -> Tensor:
        """View of the rows this replica owns, (about V / d, E), for reading and writing."""
        # Interleaved, because frequent words have small numbers: with contiguous ranges, the owner of the
        # first range would receive nearly all gradients of a step.
        return self.weight[self.replica :: self.replicas]

    @property
    def places_owned(self) -> Tensor:
        """Positions of `rows_R` in `owned`."""
        return self.rows_R // self.replicas

    def look_up(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Collect the rows of a batch in a leaf (U, E); return it and each token's position in it (B, T).

        `torch.nn.functional.embedding(places_BT, leaf_UE)` returns the batch's word vectors. Their gradients
        accumulate in the leaf, from which `reduce` takes them.
        """
        rows_U, places_BT = distinct(ids_BT, len(self.weight))
        self._leaf_UE = self.weight[rows_U].requires_grad_()
        self._exchange = self._begin_exchange(rows_U)
        return self._leaf_UE, places_BT

    def send_row_numbers(self) -> None:
        """Start sending the row numbers. Call this after the forward pass."""
        # The rows a step touches are known before its forward pass. Their counts are sent during that pass
        # and their numbers during the backward pass, so ranks wait only for the gradients themselves.
        exchange = self._exchange
        if exchange is None or exchange.work is None:
            return
        exchange.work.wait()
        exchange.rows_N = exchange.rows_U.new_empty(int(exchange.from_each.sum()), dtype=torch.int32)
        # int32 halves the bytes sent; row numbers are far below 2**31.
        exchange.work = self._send(exchange.rows_U.to(torch.int32), exchange.rows_N)

    def reduce(self) -> int:
        """Send the gradients of each row to its owner; return the number of bytes sent by this rank."""
        exchange, gradient_UE = self._exchange, self._leaf_UE.grad
        if exchange is None or gradient_UE is None:
            raise RuntimeError("no backward pass has reached the rows that were looked up")
        values_UE = gradient_UE[exchange.places_U]
        if self.group is None:
            self.rows_R, self.gradient_RE = exchange.rows_U, values_UE
            return 0
        outgoing = values_UE.to(self.wire_dtype)
        if self.host is not None:
            rows_N, values_NE = self.host.all_to_all(
                [exchange.rows_U.to(torch.int32), outgoing], exchange.to_each
            )
        else:
            rows_N, values_NE = self._receive(outgoing, exchange)
        # Several replicas may have used the same row: add up their gradients, in the order of replicas.
        owned_R, place_N = distinct(rows_N.to(torch.int64) // self.replicas, len(self.owned))
        self.rows_R = owned_R * self.replicas + self.replica
        self.gradient_RE = self.weight.new_zeros(len(owned_R), self.weight.shape[1])
        self.gradient_RE.index_add_(0, place_N, values_NE.to(self.weight.dtype))
        sent = len(exchange.rows_U) - int(exchange.to_each[self.replica])
        return sent * (rows_N.element_size() + outgoing.element_size() * outgoing.shape[1])

    def share(self) -> int:
        """Send changed rows to the other replicas and receive theirs; return the number of bytes sent."""
        sent = self._send_changed() if self.receivers is not None else 0
        if self.host is not None:
            self.host.barrier()  # no rank may look up rows before all have written
        elif self.neighbours is not None:
            all_gather(torch.zeros(1), self.neighbours)
        return sent

    def share_all(self) -> None:
        """Send all owned rows; needed after loading a checkpoint."""
        self.rows_R = torch.arange(self.replica, len(self.weight), self.replicas, device=self.weight.device)
        self.share()

    def _begin_exchange(self, rows_U: Tensor) -> RowExchange:
        padded = int(len(rows_U) > 0 and rows_U[0] == PAD)  # the padding vector stays zero
        places_U = torch.arange(padded, len(rows_U), device=rows_U.device)
        if self.group is None:
            nobody = torch.zeros(0)
            return RowExchange(rows_U[padded:], places_U, nobody, nobody)
        owner_U = rows_U[padded:] % self.replicas
        # Sorted by owner, because all-to-all sends one contiguous block to each replica.
        places_U = places_U[torch.argsort(owner_U, stable=True)]
        to_each = torch.bincount(owner_U, minlength=self.replicas)
        exchange = RowExchange(rows_U[places_U], places_U, to_each, torch.empty_like(to_each))
        if self.host is None:
            exchange.work = dist.all_to_all_single(
                exchange.from_each, to_each, group=self.group, async_op=True
            )
        return exchange

    def _receive(self, outgoing: Tensor, exchange: RowExchange) -> tuple[Tensor, Tensor]:
        assert exchange.work is not None
        exchange.work.wait()
        values_NE = outgoing.new_empty(len(exchange.rows_N), outgoing.shape[1])
        self._send(outgoing, values_NE).wait()
        return exchange.rows_N, values_NE

    def _send(self, outgoing: Tensor, incoming: Tensor) -> dist.Work:
        assert self._exchange is not None
        splits = self._exchange.from_each.tolist(), self._exchange.to_each.tolist()
        work: dist.Work = dist.all_to_all_single(incoming, outgoing, *splits, group=self.group, async_op=True)
        return work

    def _send_changed(self) -> int:
        sizes = all_gather(torch.tensor([len(self.rows_R)], device=self.weight.device), self.receivers)[:, 0]
        most = int(sizes.max())
        if most == 0:
            return 0
        # All-gather needs equal sizes, so shorter lists are padded; the receiver removes the padding.
        rows = self.rows_R.new_zeros(most)
        values = self.weight.new_zeros(most, self.weight.shape[1])
        rows[: len(self.rows_R)] = self.rows_R
        values[: len(self.rows_R)] = self.weight[self.rows_R]
        all_rows, all_values = all_gather(rows, self.receivers), all_gather(values, self.receivers)
        own = dist.get_rank(self.receivers)
        for member, size in enumerate(sizes.tolist()):
            if member != own:
                self.weight[all_rows[member, :size]] = all_values[member, :size]
        return most * (rows.element_size() + values.element_size() * values.shape[1])


def distinct(numbers: Tensor, below: int) -> tuple[Tensor, Tensor]:
    """Return the distinct values of `numbers` in ascending order, and the index of each number among them.

    Equivalent to `torch.unique` with inverse indices; all numbers must be in [0, below).
    """
    # Marking a table of all possible values avoids the sort in torch.unique.
    seen = torch.zeros(below, dtype=torch.bool, device=numbers.device)
    seen[numbers.flatten()] = True
    values = seen.nonzero().flatten()
    place = torch.empty(below, dtype=torch.int64, device=numbers.device)
    place[values] = torch.arange(len(values), device=numbers.device)
    return values, place[numbers]


BUCKET_BYTES = 512 * 1024
"""Size at which a bucket is closed: large enough for one message, small enough to overlap with backward."""


@dataclass
class Bucket:
    """Adjacent parameters whose gradients are sent together."""

    parameters: list[nn.Parameter]
    """Parameters in the order in which their gradients are computed."""
    gradients: Tensor
    """Flat buffer; the parameters' gradients are views of it."""
    missing: int = 0
    """Number of gradients that the current backward pass has not computed yet."""
    on_wire: Tensor | None = None
    """The tensor that is sent: `gradients` itself, or a rounded copy."""
    work: dist.Work | None = field(default=None, repr=False)


class DenseGradients:
    """Gradients of parameters, summed over the data axis in buckets while backward is still running."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], world: World, wire_dtype: torch.dtype | None = None
    ) -> None:
        """If `wire_dtype` is set, gradients are rounded to it before they are sent."""
        self.group = world.replicas
        self.host = world.host_group
        self.wire_dtype = wire_dtype
        self.buckets = [_bucket(chosen) for chosen in _groups(list(parameters.values()))]
        self.bytes_sent = 0
        self._next = 0
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                # The bucket must be bound here, so that each hook refers to its own bucket.
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    lambda _, bucket=bucket: self._count_gradient(bucket)
                )

    def reset(self, backward_passes: int) -> None:
        """Zero the gradients; the new ones are complete after `backward_passes` backward passes."""
        self.bytes_sent = self._next = 0
        for bucket in self.buckets:
            bucket.gradients.zero_()
            bucket.missing = backward_passes * len(bucket.parameters)

    def finish(self) -> int:
        """Wait until all sums are complete; return the number of bytes sent by this rank.

        Raises: RuntimeError when a gradient was never computed.
        """
        missing = [bucket for bucket in self.buckets if bucket.missing]
        if missing:
            raise RuntimeError(f"{len(missing)} of {len(self.buckets)} gradient buckets are not complete")
        for bucket in self.buckets:
            # With shared memory the rank's own thread does the additions, and during backward it is busy.
            if self.host is not None and bucket.on_wire is not None:
                self.host.all_reduce(bucket.on_wire)
            if bucket.work is not None:
                bucket.work.wait()
            if bucket.on_wire is not None and bucket.on_wire is not bucket.gradients:
                bucket.gradients.copy_(bucket.on_wire)
            bucket.work = bucket.on_wire = None
        return self.bytes_sent

    def norm_squared(self) -> float:
        return sum(torch.dot(bucket.gradients, bucket.gradients).item() for bucket in self.buckets)

    def _count_gradient(self, bucket: Bucket) -> None:
        bucket.missing -= 1
        # Send in the order of buckets, whatever the order of gradients: collectives must match on all ranks.
        while self._next < len(self.buckets) and self.buckets[self._next].missing == 0:
            self._send(self.buckets[self._next])
            self._next += 1

    def _send(self, bucket: Bucket) -> None:
        if self.group is None:
            return
        on_wire = bucket.gradients if self.wire_dtype is None else bucket.gradients.to(self.wire_dtype)
        bucket.on_wire = on_wire
        if self.host is None:
            bucket.work = dist.all_reduce(on_wire, group=self.group, async_op=True)
        self.bytes_sent += on_wire.numel() * on_wire.element_size()


def _groups(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Divide the parameters into buckets, last ones first: roughly the order in which gradients arrive."""
    groups: list[list[nn.Parameter]] = []
    size = BUCKET_BYTES
    for parameter in reversed(parameters):
        if size >= BUCKET_BYTES or parameter.device != groups[-1][0].device:
            groups.append([])
            size = 0
        groups[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return groups


def _bucket(parameters: list[nn.Parameter]) -> Bucket:
    first = parameters[0]
    flat = torch.zeros(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device)
    start = 0
    for parameter in parameters:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return Bucket(parameters, flat)
