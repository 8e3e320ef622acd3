"""Run the network in two ranks: one holds embedding and head, the other the recurrent layer.

Word vectors go inward and pooled rows come back, then their gradients the other way round, in micro-batches:
while the recurrent rank computes one, the other scores the one before and looks up the next. A backward pass
starts as soon as its gradient is there ("1F1B"; Narayanan et al., 2019, "PipeDream"), so the recurrent rank
holds the activations of two micro-batches, however many there are. In the order of sending, n micro-batches:

    inward    vectors 0, vectors 1, pooled-gradient 0, vectors 2, pooled-gradient 1, ...
    outward   pooled 0, pooled 1, vectors-gradient 0, pooled 2, vectors-gradient 1, ...

Shapes: b rows of a micro-batch, T its tokens, E word vector, D pooled vector.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sentiscale.data.batches import Batch, micro_batches
from sentiscale.model.network import SentimentNet
from sentiscale.parallel.runner import FloatArray, Interval, Plan, Stage, word_vectors
from sentiscale.parallel.world import Group, World

AHEAD = 2
"""Tensors a rank is ready to receive before it needs them, so that they travel while it computes."""


def interleaved(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Order in which two kinds of tensors travel the same way: 0, 1, 0', 2, 1', ... (see above)."""
    order = [first[0]]
    for index, tensor in enumerate(second):
        order += [*first[index + 1 : index + 2], tensor]
    return order


class Inbox:
    """Receives tensors of known shapes in a known order, some of them ahead of time."""

    def __init__(self, expected: Sequence[Tensor], sender: int, group: Group | None) -> None:
        """`expected` are what is received into, in order; "meta" tensors that say shape and type."""
        self.waits: list[Interval] = []
        self._expected = iter(expected)
        self._sender, self._group = sender, group
        self._coming: list[tuple[dist.Work, Tensor]] = []

    def take(self, device: torch.device) -> Tensor:
        """Wait for the next tensor."""
        while len(self._coming) < AHEAD and (shape := next(self._expected, None)) is not None:
            tensor = torch.empty_like(shape, device=device)
            work = dist.irecv(tensor, self._sender, group=self._group)
            assert work is not None
            self._coming.append((work, tensor))
        work, tensor = self._coming.pop(0)
        started_at = time.perf_counter()
        work.wait()
        self.waits.append((started_at, time.perf_counter()))
        return tensor


class Link(Stage):
    """A stage with a partner: sends without waiting, and counts the time it waits for what it receives."""

    def __init__(self, plan: Plan, world: World, parts: Sequence[str]) -> None:
        super().__init__(SentimentNet.build(plan.model, plan.vocab_size, plan.seed, parts), plan, world)
        groups = (world.inward, world.outward)
        self.sending, self.receiving = groups if world.stage == 0 else groups[::-1]
        self._on_their_way: list[tuple[dist.Work, Tensor]] = []
        self._bytes_sent = 0

    def vectors_like(self, part: Batch) -> Tensor:
        """Shape and type of a micro-batch's word vectors as they travel: (b, T, E)."""
        shape = (*part.ids_BT.shape, self.plan.model.embedding_dim)
        return torch.empty(shape, dtype=self.plan.precision.wire, device="meta")

    def pooled_like(self, part: Batch) -> Tensor:
        """The same of its pooled rows: (b, D)."""
        shape = (len(part.lengths_B), self.net.recurrent.pooled_dim)
        return torch.empty(shape, dtype=self.plan.precision.weights, device="meta")

    def inbox(self, expected: Sequence[Tensor]) -> Inbox:
        """What the partner is going to send."""
        return Inbox(expected, self.world.partner, self.receiving)

    def send(self, tensor: Tensor) -> None:
        """Begin to send; the tensor is kept until `settle`."""
        tensor = tensor.detach().contiguous()
        work = dist.isend(tensor, self.world.partner, group=self.sending)
        assert work is not None
        self._on_their_way.append((work, tensor))
        self._bytes_sent += tensor.numel() * tensor.element_size()

    def reduce_gradients(self) -> int:
        """Sum gradients over replicas; return the bytes this rank has sent, activations included."""
        activations, self._bytes_sent = self._bytes_sent, 0
        return super().reduce_gradients() + activations

    def settle(self, inbox: Inbox) -> None:
        """Wait until everything sent has arrived, and count what was waited for."""
        started_at = time.perf_counter()
        for work, _ in self._on_their_way:
            work.wait()
        self._on_their_way.clear()
        self.waits += [*inbox.waits, (started_at, time.perf_counter())]

    def forget_traffic(self) -> None:
        """Leave what was sent and waited for out of the next step's account: it was for evaluation."""
        self.waits.clear()
        self._bytes_sent = 0


class OuterRunner(Link):
    """Embedding and head: the first stage and, after the recurrent one, the last."""

    def __init__(self, plan: Plan, world: World) -> None:
        super().__init__(plan, world, ("embedding", "head"))

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Look up and send, score what comes back, take the word vectors' gradients."""
        self.net.train()
        parts = micro_batches(batch, self.plan.micro_batches)
        self.expect(backward_passes=len(parts))
        weights_UE, places_BT = self.look_up(self.on_device(batch.ids_BT))
        vectors = [
            word_vectors(places_bT[:, : part.ids_BT.shape[1]], weights_UE)
            for part, places_bT in zip(parts, places_BT.tensor_split(len(parts)), strict=True)
        ]
        kept_BD = self.kept(batch, step)
        kept = [None] * len(parts) if kept_BD is None else kept_BD.tensor_split(len(parts))
        inbox = self.inbox(
            interleaved(
                [self.pooled_like(part) for part in parts], [self.vectors_like(part) for part in parts]
            )
        )
        loss_sum = 0.0
        for vectors_bTE in vectors[:2]:
            self.send(vectors_bTE.to(self.plan.precision.wire))
        self.announce()
        for index, part in enumerate(parts):
            pooled_bD = inbox.take(self.device).requires_grad_()
            with self.plan.precision.autocast(self.device):
                logits_b = self.net.head(pooled_bD, kept[index])
            loss = self.loss_sum(logits_b, part)
            (loss * (loss_scale / batch.rows_global)).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.item()
            self.send(_gradient(pooled_bD))
            if index + 2 < len(parts):
                self.send(vectors[index + 2].to(self.plan.precision.wire))
            if index > 0:
                self._take_gradient(vectors[index - 1], inbox)
        self._take_gradient(vectors[-1], inbox)
        self.settle(inbox)
        return loss_sum

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        """Logits (B,) of the batch's rows."""
        self.net.eval()
        parts = micro_batches(batch, self.plan.micro_batches)
        inbox = self.inbox([self.pooled_like(part) for part in parts])
        for part in parts:
            self.send(self.net.embedding(self.on_device(part.ids_BT)).to(self.plan.precision.wire))
        with self.plan.precision.autocast(self.device):
            scored = [self.net.head(inbox.take(self.device)).float() for _ in parts]
        self.settle(inbox)
        self.forget_traffic()
        return np.asarray(torch.cat(scored).cpu())

    def full_state(self) -> dict[str, Tensor]:
        """All weights, those of the recurrent layer from the other stage."""
        absent = {name: value for name, value in self.net.state_dict().items() if value.is_meta}
        inbox = self.inbox(list(absent.values()))
        received = {name: inbox.take(self.device).cpu() for name in absent}
        return super().full_state() | received

    def _take_gradient(self, vectors_bTE: Tensor, inbox: Inbox) -> None:
        vectors_bTE.backward(inbox.take(self.device).to(vectors_bTE.dtype))  # type: ignore[no-untyped-call]


class InnerRunner(Link):
    """The recurrent layer with its pooling."""

    def __init__(self, plan: Plan, world: World) -> None:
        super().__init__(plan, world, ("recurrent",))

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Pool what arrives, one micro-batch ahead of the gradients; returns 0, the loss is elsewhere."""
        self.net.train()
        parts = micro_batches(batch, self.plan.micro_batches)
        self.expect(backward_passes=len(parts))
        inbox = self.inbox(
            interleaved(
                [self.vectors_like(part) for part in parts], [self.pooled_like(part) for part in parts]
            )
        )
        ahead = self._pool_next(parts[0], inbox)
        for index in range(len(parts)):
            vectors_bTE, pooled_bD = ahead
            if index + 1 < len(parts):
                ahead = self._pool_next(parts[index + 1], inbox)
            pooled_bD.backward(inbox.take(self.device))  # type: ignore[no-untyped-call]
            self.send(_gradient(vectors_bTE))
        self.settle(inbox)
        return 0.0

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        """Pools for the other stage; its logits are 0 here, so that they add up."""
        self.net.eval()
        parts = micro_batches(batch, self.plan.micro_batches)
        inbox = self.inbox([self.vectors_like(part) for part in parts])
        for part in parts:
            self.send(self._pool(inbox.take(self.device), part))
        self.settle(inbox)
        self.forget_traffic()
        return np.zeros(len(batch.lengths_B), np.float32)

    def full_state(self) -> dict[str, Tensor]:
        """The recurrent layer's weights, which the other stage gets as well; nothing is sent back."""
        for value in self.net.state_dict().values():
            if not value.is_meta:
                self.send(value)
        self.settle(self.inbox([]))
        self.forget_traffic()
        return super().full_state()

    def _pool_next(self, part: Batch, inbox: Inbox) -> tuple[Tensor, Tensor]:
        vectors_bTE = inbox.take(self.device).requires_grad_()
        pooled_bD = self._pool(vectors_bTE, part)
        self.send(pooled_bD)
        return vectors_bTE, pooled_bD

    def _pool(self, vectors_bTE: Tensor, part: Batch) -> Tensor:
        with self.plan.precision.autocast(self.device):
            pooled_bD: Tensor = self.net.recurrent(vectors_bTE, self.on_device(part.lengths_B))
        return pooled_bD.to(self.plan.precision.weights)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad
