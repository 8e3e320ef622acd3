"""What every rank does in any layout: hold parts of the network, compute and sum their gradients."""

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
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, embedding

from sentiscale.config import ModelSettings
from sentiscale.data.batches import Batch
from sentiscale.model.network import SentimentNet, dropout_mask
from sentiscale.parallel.gradients import DenseGradients, EmbeddingTable
from sentiscale.parallel.precision import Precision
from sentiscale.parallel.shared_memory import host_group
from sentiscale.parallel.world import World
from sentiscale.text.vocab import PAD

EMBEDDING = "embedding.weight"
"""Name of the parameter that is looked up by row."""

FloatArray = npt.NDArray[np.float32]
Interval = tuple[float, float]
"""Start and end on time.perf_counter()."""


@dataclass(frozen=True)
class RunnerConfig:
    """How a network is trained on a mesh; the same on every rank."""

    model: ModelSettings
    vocab_size: int
    precision: Precision
    outputs: int = 1
    """Logits per row: 1 for two classes, or the number of classes."""
    seed: int = 0
    micro_batches: int = 1
    """Number of parts that a batch is split into on its way through two stages."""
    wire_dtype: torch.dtype | None = None
    """Dtype that gradients are rounded to when sent between replicas; None sends them unchanged."""
    sparse_embedding: bool = True
    """Whether the embedding's gradient is sent and applied by row; False uses one dense matrix."""
    recurrent_device: torch.device | None = None
    """Device of the recurrent layer when one process uses two devices; None means the same device."""


class Runner(ABC):
    """One rank's parts of the network. The parts of other stages are on PyTorch's "meta" device.

    The training loop uses only this class and does not depend on the layout.
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
            # A step has at most one exchange in shared memory at a time: all gradients, or all rows.
            whole = sum(parameter.numel() * parameter.element_size() for parameter in mine.values())
            host = host_group(world, whole + EmbeddingTable.overhead_bytes(config.vocab_size))
        self.world = world = replace(world, host_group=host)
        weight = mine.pop(EMBEDDING, None)
        self.clipped = DenseGradients(mine, world, config.wire_dtype)
        self.parameters: dict[str, nn.Parameter] = mine
        """Parameters that are summed and updated as a whole."""
        self.tables: dict[str, EmbeddingTable] = {}
        """Parameters that are summed and updated by row."""
        self.embedding_gradient: DenseGradients | None = None
        if weight is not None and config.sparse_embedding:
            weight.requires_grad_(False)
            self.tables[EMBEDDING] = EmbeddingTable(weight, world, config.wire_dtype)
            weight.data = self.tables[EMBEDDING].weight  # one copy per host where possible
        elif weight is not None:
            self.embedding_gradient = DenseGradients({EMBEDDING: weight}, world, config.wire_dtype)
            self.parameters = {EMBEDDING: weight, **mine}
        self.forward_ended_at: float | None = None
        """Value of time.perf_counter() for the current step; None with two stages, where passes alternate."""
        self.waits: list[Interval] = []
        """Intervals during which the current step has waited for the other stage."""
        self.last_waits: list[Interval] = []
        """`waits` of the step for which `pop_wait_seconds` was last called."""

    @abstractmethod
    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Compute the step's gradients; return this rank's loss *sum* over its real rows, in nats."""

    @abstractmethod
    def logits(self, batch: Batch) -> FloatArray:
        """Return the logits of this rank's rows, (B,) or (B, K), without gradients.

        A rank whose partner stage has the head returns zeros.
        """

    def pop_wait_seconds(self) -> float:
        """Return the seconds spent waiting for the other stage since the last call."""
        self.last_waits, self.waits = self.waits, []
        return sum(end - begin for begin, end in self.last_waits)

    def reset_gradients(self, backward_passes: int) -> None:
        """Zero the gradients; the new ones are complete after `backward_passes` backward passes."""
        self.clipped.reset(backward_passes)
        if self.embedding_gradient:
            self.embedding_gradient.reset(backward_passes)

    def reduce_gradients(self) -> int:
        """Sum gradients over replicas; return the number of bytes sent by this rank."""
        sent = sum(table.reduce() for table in self.tables.values()) + self.clipped.finish()
        if self.embedding_gradient:
            sent += self.embedding_gradient.finish()
            self.embedding_gradient.buckets[0].gradients.view_as(self.net.embedding.weight)[PAD] = 0
        return sent

    def share_updates(self) -> int:
        """Send the rows that this rank has updated to all replicas; return the number of bytes sent."""
        return sum(table.share() for table in self.tables.values())

    def gradients_finite(self, norm_squared: float) -> bool:
        """Whether all gradients of this rank are finite, given the squared norm of the clipped ones."""
        sums = [table.gradient_RE.sum().item() for table in self.tables.values()]
        if self.embedding_gradient:
            sums.append(self.embedding_gradient.norm_squared())
        return all(math.isfinite(value) for value in (norm_squared, *sums))

    def owned(self) -> dict[str, Tensor]:
        """Tensors owned by this rank, for reading and writing: parameters, and its rows of the table."""
        whole = {name: parameter.detach() for name, parameter in self.parameters.items()}
        return whole | {name: table.owned for name, table in self.tables.items()}

    def restore(self, owned: Mapping[str, Tensor]) -> None:
        """Load weights returned by `owned`, in this run or an earlier one."""
        for name, tensor in self.owned().items():
            tensor.copy_(owned[name])
        for table in self.tables.values():
            table.share_all()

    def start_from(self, vectors: FloatArray | None) -> None:
        """Use rank 0's word vectors (V, E) as initial weights of the embedding; other ranks pass None."""
        weight = self.net.embedding.weight
        if weight.is_meta:
            return
        with torch.no_grad():
            if vectors is not None:
                weight.copy_(torch.from_numpy(vectors))
            if self.world.replicas is not None:
                dist.broadcast(weight.detach(), 0, group=self.world.replicas)

    def full_state(self) -> dict[str, Tensor]:
        """Weights on the CPU by name: the whole network on stage 0, only the stage's own part elsewhere.

        All ranks must call this, because stage 0 receives the parts that it does not hold.
        """
        return {name: value.cpu() for name, value in self.net.state_dict().items() if not value.is_meta}

    def on_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        """Copy an array of the batch to this rank's device; to a GPU, asynchronously from pinned memory."""
        tensor = torch.from_numpy(array)
        if tensor.is_floating_point():
            tensor = tensor.to(self.config.precision.weights)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def look_up(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return a matrix of word vectors, and the index in it of each token's row (B, T)."""
        if self.tables:
            return self.tables[EMBEDDING].look_up(ids_BT)
        return self.net.embedding.weight, ids_BT

    def send_row_numbers(self) -> None:
        """Send the other replicas the row numbers of this step. Call this after the forward pass."""
        for table in self.tables.values():
            table.send_row_numbers()

    def dropout_factors(self, batch: Batch, step: int) -> Tensor | None:
        """Dropout factors of this rank's rows (B, D), taken from those of the whole global batch."""
        generator = torch.Generator().manual_seed((self.config.seed << 32) + step)
        width = self.net.recurrent.pooled_dim
        factors = dropout_mask(batch.rows_global, width, self.config.model.dropout, generator)
        return None if factors is None else self.on_device(factors[torch.from_numpy(batch.places_B)].numpy())

    def loss_sum(self, logits: Tensor, batch: Batch) -> Tensor:
        """Weighted sum of the cross-entropies of a batch's real rows, in nats."""
        labels_B, weights_B = self.on_device(batch.labels_B), self.on_device(batch.weights_B)
        logits = logits.to(labels_B.dtype)
        if logits.dim() == 1:
            return binary_cross_entropy_with_logits(logits, labels_B, weights_B, reduction="sum")
        return (cross_entropy(logits, labels_B.long(), reduction="none") * weights_B).sum()


class WholeRunner(Runner):
    """Runner for the layouts `1x1` and `nx1`: every rank holds the whole network."""

    def __init__(self, config: RunnerConfig, world: World) -> None:
        net = SentimentNet.build(config.model, config.vocab_size, config.seed, outputs=config.outputs)
        super().__init__(net, config, world)

    def forward_backward(self, batch: Batch, step: int, loss_scale: float = 1.0) -> float:
        """Divide the local loss sum by the global number of rows; the sum over ranks is the serial step."""
        self.net.train()
        self.reset_gradients(backward_passes=1)
        weights_UE, places_BT = self.look_up(self.on_device(batch.ids_BT))
        with self.config.precision.autocast(self.device):
            # No padding_idx: the gradient of the padding row is discarded when gradients are summed.
            pooled_BD = self._pool(embedding(places_BT, weights_UE), batch)
            logits = self.net.head(pooled_BD, self.dropout_factors(batch, step))
        loss_sum = self.loss_sum(logits, batch)
        self.send_row_numbers()
        self.forward_ended_at = time.perf_counter()
        (loss_sum * (loss_scale / batch.rows_global)).backward()  # type: ignore[no-untyped-call]
        return loss_sum.item()

    @torch.inference_mode()
    def logits(self, batch: Batch) -> FloatArray:
        self.net.eval()
        with self.config.precision.autocast(self.device):
            vectors_BTE = self.net.embedding(self.on_device(batch.ids_BT))
            logits = self.net.head(self._pool(vectors_BTE, batch))
        return np.asarray(logits.float().cpu())

    def _pool(self, vectors_BTE: Tensor, batch: Batch) -> Tensor:
        """Apply the recurrent layer, on its own device if there are two."""
        lengths_B = self.on_device(batch.lengths_B).to(self.recurrent_device)
        pooled_BD: Tensor = self.net.recurrent(vectors_BTE.to(self.recurrent_device), lengths_B)
        return pooled_BD.to(self.device)
