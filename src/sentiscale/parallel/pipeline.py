"""Run the network on two ranks: one holds the embedding and the head, the other the recurrent layer.

Word vectors are sent inward and pooled rows outward, then their gradients in the opposite directions, in
micro-batches. While the recurrent rank computes one, the other rank scores the previous one and looks up
the next. A backward pass starts as soon as its gradient has arrived ("1F1B"; Narayanan et al., 2019,
"PipeDream"), so the recurrent rank holds the activations of at most two micro-batches. Order of sending n
micro-batches:

    inward    vectors 0, vectors 1, pooled-gradient 0, vectors 2, pooled-gradient 1, ...
    outward   pooled 0, pooled 1, vectors-gradient 0, pooled 2, vectors-gradient 1, ...

Shapes: b rows of a micro-batch, T tokens per row, E word vector size, D pooled vector size.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import embedding

from sentiscale.data.batches import Batch, micro_batches
from sentiscale.model.network import SentimentNet, logits_shape
from sentiscale.parallel.runner import FloatArray, Interval, Runner, RunnerConfig, WholeRunner
from sentiscale.parallel.world import Group, World

AHEAD = 2
"""Number of tensors to receive before they are needed, so that they arrive while the rank computes."""


def interleaved(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Interleave two kinds of tensors in sending order: 0, 1, 0', 2, 1', ... (see the module docstring)."""
    order = [first[0]]
    for index, tensor in enumerate(second):
        order += [*first[index + 1 : index + 2], tensor]
    return order


class Inbox:
    """Receives tensors of known shapes in a known order, some of them before they are needed."""

    def __init__(self, expected: Sequence[Tensor], sender: int, group: Group | None) -> None:
        """`expected` are the tensors to receive, in order; "meta" tensors that specify shape and dtype."""
        self.waits: list[Interval] = []
        self._expected = iter(expected)
        self._sender, self._group = sender, group
        self._incoming: list[tuple[dist.Work, Tensor]] = []

    def take(self, device: torch.device) -> Tensor:
        while len(self._incoming) < AHEAD and (shape := next(self._expected, None)) is not None:
            tensor = torch.empty_like(shape, device=device)
            work = dist.irecv(tensor, self._sender, group=self._group)
            assert work is not None
            self._incoming.append((work, tensor))
        work, tensor = self._incoming.pop(0)
        started_at = time.perf_counter()
        work.wait()
        self.waits.append((started_at, time.perf_counter()))
        return tensor


class PipelineRunner(Runner):
    """A stage with a partner: sends asynchronously, and records the time spent waiting to receive."""

    def __init__(self, config: RunnerConfig, world: World, parts: Sequence[str]) -> None:
        net = SentimentNet.build(config.model, config.vocab_size, config.seed, parts, config.outputs)
        super().__init__(net, config, world)
        groups = (world.inward, world.outward)
        self.send_group, self.receive_group = groups if world.stage == 0 else groups[::-1]
        self._sending: list[tuple[dist.Work, Tensor]] = []
        self._bytes_sent = 0

    def vectors_like(self, part: Batch) -> Tensor:
        """Shape and dtype of a micro-batch's word vectors as they are sent: (b, T, E)."""
        shape = (*part.ids_BT.shape, self.config.model.embedding_dim)
        return torch.empty(shape, dtype=self.config.precision.wire, device="meta")

    def pooled_like(self, part: Batch) -> Tensor:
        """Shape and dtype of a micro-batch's pooled rows: (b, D)."""
        shape = (len(part.lengths_B), self.net.recurrent.pooled_dim)
        return torch.empty(shape, dtype=self.config.precision.weights, device="meta")

    def inbox(self, expected: Sequence[Tensor]) -> Inbox:
        """Start receiving the tensors `expected` from the partner, in this order."""
        return Inbox(expected, self.world.partner, self.receive_group)

    def send(self, tensor: Tensor) -> None:
        """Start sending `tensor`, which is kept until `wait_for_sends`."""
        tensor = tensor.detach().contiguous()
        work = dist.isend(tensor, self.world.partner, group=self.send_group)
        assert work is not None
        self._sending.append((work, tensor))
        self._bytes_sent += tensor.numel() * tensor.element_size()

    def reduce_gradients(self) -> int:
        activations, self._bytes_sent = self._bytes_sent, 0
        return super().reduce_gradients() + activations

    def wait_for_sends(self, inbox: Inbox) -> None:
        """Wait until everything has been sent, and record all waits of the step."""
        started_at = time.perf_counter()
        for work, _ in self._sending:
            work.wait()
        self._sending.clear()
        self.waits += [*inbox.waits, (started_at, time.perf_counter())]

    def discard_traffic(self) -> None:
        """Exclude the bytes and waits of an evaluation from the statistics of the next step."""
        self.waits.clear()
        self._bytes_sent = 0


class OuterRunner(PipelineRunner):
    """Embedding and head: the first and the last stage, before and after the recurrent layer."""

    def __init__(self, config: RunnerConfig, world: World) -> None:
        super().__init__(config, world, ("embedding", "head"))

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Look up and send word vectors, score pooled rows, backpropagate the gradients that come back."""
        self.net.train()
        parts = micro_batches(batch, self.config.micro_batches)
        self.reset_gradients(backward_passes=len(parts))
        weights_UE, places_BT = self.look_up(self.on_device(batch.ids_BT))
        vectors = [
            embedding(places_bT[:, : part.ids_BT.shape[1]], weights_UE)
            for part, places_bT in zip(parts, places_BT.tensor_split(len(parts)), strict=True)
        ]
        factors_BD = self.dropout_factors(batch, step)
        factors = [None] * len(parts) if factors_BD is None else factors_BD.tensor_split(len(parts))
        inbox = self.inbox(
            interleaved(
                [self.pooled_like(part) for part in parts], [self.vectors_like(part) for part in parts]
            )
        )
        loss_sum = 0.0
        for vectors_bTE in vectors[:2]:
            self.send(vectors_bTE.to(self.config.precision.wire))
        self.send_row_numbers()
        for index, part in enumerate(parts):
            pooled_bD = inbox.take(self.device).requires_grad_()
            with self.config.precision.autocast(self.device):
                logits = self.net.head(pooled_bD, factors[index])
            loss = self.loss_sum(logits, part)
            (loss * (loss_scale / batch.rows_global)).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.item()
            self.send(_gradient(pooled_bD))
            if index + 2 < len(parts):
                self.send(vectors[index + 2].to(self.config.precision.wire))
            if index > 0:
                self._take_gradient(vectors[index - 1], inbox)
        self._take_gradient(vectors[-1], inbox)
        self.wait_for_sends(inbox)
        return loss_sum

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        self.net.eval()
        parts = micro_batches(batch, self.config.micro_batches)
        inbox = self.inbox([self.pooled_like(part) for part in parts])
        for part in parts:
            self.send(self.net.embedding(self.on_device(part.ids_BT)).to(self.config.precision.wire))
        with self.config.precision.autocast(self.device):
            scored = [self.net.head(inbox.take(self.device)).float() for _ in parts]
        self.wait_for_sends(inbox)
        self.discard_traffic()
        return np.asarray(torch.cat(scored).cpu())

    def full_state(self) -> dict[str, Tensor]:
        absent = {name: value for name, value in self.net.state_dict().items() if value.is_meta}
        inbox = self.inbox(list(absent.values()))
        received = {name: inbox.take(self.device).cpu() for name in absent}
        return super().full_state() | received

    def _take_gradient(self, vectors_bTE: Tensor, inbox: Inbox) -> None:
        vectors_bTE.backward(inbox.take(self.device).to(vectors_bTE.dtype))  # type: ignore[no-untyped-call]


class InnerRunner(PipelineRunner):
    def __init__(self, config: RunnerConfig, world: World) -> None:
        super().__init__(config, world, ("recurrent",))

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Pool word vectors one micro-batch ahead of gradients; return 0, as the other stage has the loss."""
        self.net.train()
        parts = micro_batches(batch, self.config.micro_batches)
        self.reset_gradients(backward_passes=len(parts))
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
        self.wait_for_sends(inbox)
        return 0.0

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        """Pool for the other stage; return zeros, so that the sum over ranks is the other stage's logits."""
        self.net.eval()
        parts = micro_batches(batch, self.config.micro_batches)
        inbox = self.inbox([self.vectors_like(part) for part in parts])
        for part in parts:
            self.send(self._pool(inbox.take(self.device), part))
        self.wait_for_sends(inbox)
        self.discard_traffic()
        return np.zeros(logits_shape(len(batch.lengths_B), self.config.outputs), np.float32)

    def full_state(self) -> dict[str, Tensor]:
        """Send the recurrent layer's weights to the other stage and return them."""
        for value in self.net.state_dict().values():
            if not value.is_meta:
                self.send(value)
        self.wait_for_sends(self.inbox([]))
        self.discard_traffic()
        return super().full_state()

    def _pool_next(self, part: Batch, inbox: Inbox) -> tuple[Tensor, Tensor]:
        vectors_bTE = inbox.take(self.device).requires_grad_()
        pooled_bD = self._pool(vectors_bTE, part)
        self.send(pooled_bD)
        return vectors_bTE, pooled_bD

    def _pool(self, vectors_bTE: Tensor, part: Batch) -> Tensor:
        with self.config.precision.autocast(self.device):
            pooled_bD: Tensor = self.net.recurrent(vectors_bTE, self.on_device(part.lengths_B))
        return pooled_bD.to(self.config.precision.weights)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def build_runner(config: RunnerConfig, world: World) -> Runner:
    """Build the runner of this rank; the only place that maps layouts to runners."""
    if world.layout.model == 1:
        return WholeRunner(config, world)
    return OuterRunner(config, world) if world.stage == 0 else InnerRunner(config, world)
