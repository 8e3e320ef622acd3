"""What every rank does, whatever the layout: hold parts of the network, compute and sum their gradients."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding

from sentiscale.config import ModelSettings
from sentiscale.data.batches import Batch
from sentiscale.model.network import SentimentNet, dropout_mask
from sentiscale.parallel.gradients import DenseGradients, EmbeddingTable
from sentiscale.parallel.precision import Precision
from sentiscale.parallel.shared_memory import host_group
from sentiscale.parallel.world import World
from sentiscale.text.vocab import PAD

EMBEDDING = "embedding.weight"
"""The parameter that is looked up by row."""

FloatArray = npt.NDArray[np.float32]
Interval = tuple[float, float]
"""Begin and end on time.perf_counter()."""


@dataclass(frozen=True)
class RunnerConfig:
    """How a network is trained on a mesh; the same on every rank."""

    model: ModelSettings
    vocab_size: int
    precision: Precision
    seed: int = 0
    micro_batches: int = 1
    """Parts that a batch is cut into on its way through two stages."""
    wire_dtype: torch.dtype | None = None
    """Gradients are rounded to it while they travel between replicas; None leaves them as they are."""
    sparse_embedding: bool = True
    """False sends and applies the embedding's gradient as one dense matrix."""
    recurrent_device: torch.device | None = None
    """Where the recurrent layer is, in one process with two devices; None is where the rest is."""


class Runner(ABC):
    """One rank's parts of the network. The parts of other stages are on PyTorch's "meta" device.

    The training loop sees this class only; it never asks which layout it runs under.
    """

    def __init__(self, net: SentimentNet, config: RunnerConfig, world: World) -> None:
        self.config = config
        self.device = world.device
        self.net = net.to(config.precision.weights)
        self.recurrent_device = config.recurrent_device or world.device
        for name, child in net.named_children():
            if not any(parameter.is_meta for parameter in child.parameters()):
                child.to(self.recurrent_device if name == "recurrent" else self.device)
        mine = {name: p for name, p in net.named_parameters() if not p.is_meta}
        host = None
        if world.replicas is not None:
            # At most one exchange of a step is in shared memory at once: all gradients, or all rows.
            whole = sum(parameter.numel() * parameter.element_size() for parameter in mine.values())
            host = host_group(world, whole + EmbeddingTable.overhead_bytes(config.vocab_size))
        self.world = world = replace(world, host=host)
        weight = mine.pop(EMBEDDING, None)
        self.clipped = DenseGradients(mine, world, config.wire_dtype)
        self.parameters: dict[str, nn.Parameter] = mine
        """Summed and updated as a whole."""
        self.tables: dict[str, EmbeddingTable] = {}
        """Summed and updated by row."""
        self.embedding_gradient: DenseGradients | None = None
        if weight is not None and config.sparse_embedding:
            weight.requires_grad_(False)
            self.tables[EMBEDDING] = EmbeddingTable(weight, world, config.wire_dtype)
            weight.data = self.tables[EMBEDDING].weight  # one copy on a host, if it can be
        elif weight is not None:
            self.embedding_gradient = DenseGradients({EMBEDDING: weight}, world, config.wire_dtype)
            self.parameters = {EMBEDDING: weight, **mine}
        self.forward_ended_at: float | None = None
        """time.perf_counter() of the running step; None where passes alternate, between stages."""
        self.waits: list[Interval] = []
        """When this step has waited for the other stage so far."""
        self.last_waits: list[Interval] = []
        """The same of the step that `pop_wait_seconds` was last called for."""

    @abstractmethod
    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Compute the step's gradients; return this rank's loss *sum* over its real rows, in nats."""

    @abstractmethod
    def logits(self, batch: Batch) -> FloatArray:
        """Logits (B,) of this rank's rows, without gradients; zeros where another stage computes them."""

    def pop_wait_seconds(self) -> float:
        """Seconds spent waiting for the other stage since the last call."""
        self.last_waits, self.waits = self.waits, []
        return sum(end - begin for begin, end in self.last_waits)

    def reset_gradients(self, backward_passes: int) -> None:
        """Zero the gradients; the new ones are complete after this many backward passes."""
        self.clipped.reset(backward_passes)
        if self.embedding_gradient:
            self.embedding_gradient.reset(backward_passes)

    def reduce_gradients(self) -> int:
        """Sum gradients over replicas; return the bytes this rank has sent."""
        sent = sum(table.reduce() for table in self.tables.values()) + self.clipped.finish()
        if self.embedding_gradient:
            sent += self.embedding_gradient.finish()
            self.embedding_gradient.buckets[0].gradients.view_as(self.net.embedding.weight)[PAD] = 0
        return sent

    def share_updates(self) -> int:
        """Send the rows that this rank has updated to all replicas; return the bytes sent."""
        return sum(table.share() for table in self.tables.values())

    def gradients_finite(self, norm_squared: float) -> bool:
        """Whether all gradients of this rank are numbers, given the squared norm of the clipped ones."""
        sums = [table.gradient_RE.sum().item() for table in self.tables.values()]
        if self.embedding_gradient:
            sums.append(self.embedding_gradient.norm_squared())
        return all(math.isfinite(value) for value in (norm_squared, *sums))

    def owned(self) -> dict[str, Tensor]:
        """What this rank is responsible for, to read and to write: parameters, and its rows of the table."""
        whole = {name: parameter.detach() for name, parameter in self.parameters.items()}
        return whole | {name: table.owned for name, table in self.tables.items()}

    def restore(self, owned: Mapping[str, Tensor]) -> None:
        """Load weights that `owned` returned, here or in an earlier run."""
        for name, tensor in self.owned().items():
            tensor.copy_(owned[name])
        for table in self.tables.values():
            table.share_all()

    def start_from(self, vectors: FloatArray | None) -> None:
        """Take rank 0's word vectors (V, E) as the embedding's first weights; other ranks pass None."""
        weight = self.net.embedding.weight
        if weight.is_meta:
            return
        with torch.no_grad():
            if vectors is not None:
                weight.copy_(torch.from_numpy(vectors))
            if self.world.replicas is not None:
                dist.broadcast(weight.detach(), 0, group=self.world.replicas)

    def full_state(self) -> dict[str, Tensor]:
        """Weights on the CPU, by name: of the whole network on stage 0, own ones elsewhere.

        All ranks must call this: stage 0 receives what it does not hold.
        """
        return {name: value.cpu() for name, value in self.net.state_dict().items() if not value.is_meta}

    def on_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        """Copy an array of the batch to this rank's device; a GPU does not wait for pinned memory."""
        tensor = torch.from_numpy(array)
        if tensor.is_floating_point():
            tensor = tensor.to(self.config.precision.weights)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def look_up(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Weights to take word vectors from, and the places of the tokens' rows in them (B, T)."""
        if self.tables:
            return self.tables[EMBEDDING].look_up(ids_BT)
        return self.net.embedding.weight, ids_BT

    def send_row_numbers(self) -> None:
        """Tell the other replicas which rows of the table this step needs; call it after the forward pass."""
        for table in self.tables.values():
            table.send_row_numbers()

    def dropout_factors(self, batch: Batch, step: int) -> Tensor | None:
        """The dropout factors of this rank's rows (B, D), cut from those of the whole global batch."""
        generator = torch.Generator().manual_seed((self.config.seed << 32) + step)
        width = self.net.recurrent.pooled_dim
        factors = dropout_mask(batch.rows_global, width, self.config.model.dropout, generator)
        return None if factors is None else self.on_device(factors[torch.from_numpy(batch.places_B)].numpy())

    def loss_sum(self, logits_B: Tensor, batch: Batch) -> Tensor:
        """Loss of a batch's real rows, summed, in nats."""
        labels_B, weights_B = self.on_device(batch.labels_B), self.on_device(batch.weights_B)
        return binary_cross_entropy_with_logits(
            logits_B.to(labels_B.dtype), labels_B, weights_B, reduction="sum"
        )


class WholeRunner(Runner):
    """Layouts `1x1` and `nx1`."""

    def __init__(self, config: RunnerConfig, world: World) -> None:
        super().__init__(SentimentNet.build(config.model, config.vocab_size, config.seed), config, world)

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Local loss sum divided by the global number of rows: summed over ranks, that is the serial step."""
        self.net.train()
        self.reset_gradients(backward_passes=1)
        weights_UE, places_BT = self.look_up(self.on_device(batch.ids_BT))
        with self.config.precision.autocast(self.device):
            # No padding_idx: what padding's row receives is dropped when gradients are summed.
            pooled_BD = self._pool(embedding(places_BT, weights_UE), batch)
            logits_B = self.net.head(pooled_BD, self.dropout_factors(batch, step))
        loss_sum = self.loss_sum(logits_B, batch)
        self.send_row_numbers()
        self.forward_ended_at = time.perf_counter()
        (loss_sum * (loss_scale / batch.rows_global)).backward()  # type: ignore[no-untyped-call]
        return loss_sum.item()

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        self.net.eval()
        with self.config.precision.autocast(self.device):
            vectors_BTE = self.net.embedding(self.on_device(batch.ids_BT))
            logits_B = self.net.head(self._pool(vectors_BTE, batch))
        return np.asarray(logits_B.float().cpu())

    def _pool(self, vectors_BTE: Tensor, batch: Batch) -> Tensor:
        """The recurrent layer, on a device of its own if there are two."""
        lengths_B = self.on_device(batch.lengths_B).to(self.recurrent_device)
        pooled_BD: Tensor = self.net.recurrent(vectors_BTE.to(self.recurrent_device), lengths_B)
        return pooled_BD.to(self.device)
