"""Train LSTMs in plain PyTorch: on packed sequences, as in most tutorials, and with the classic recipe."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from sentiscale.data.batches import IntArray, padded_ids
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.training import FloatArray, time_network, train_network
from sentiscale.study.compare.records import CompareOutcome, CompareTask
from sentiscale.text.vocab import PAD


def train_packed(task: CompareTask, folder: Path) -> CompareOutcome:
    """Train and score one LSTM layer on packed sequences, or only time steps."""
    dataset, recipe = _prepare(task), task.job.recipe
    sizes = (recipe["embedding_dim"], recipe["hidden_dim"])
    module = PackedLSTM(dataset.manifest.vocab_size, *sizes, dataset.manifest.class_set.outputs)
    width = recipe["max_tokens"]

    def inputs(split: Split, rows: IntArray) -> tuple[IntArray, ...]:
        return padded_ids(split.tokens, split.offsets, rows, width)

    return train_network(task.job, TorchNetwork(module, inputs, recipe["lr"]), dataset)


def time_classic(task: CompareTask, folder: Path) -> CompareOutcome:
    """Time steps of the classic recipe: two wide LSTM layers on left-padded tokens, with dense Adam.

    Denormal numbers are not flushed to zero.
    """
    dataset, recipe = _prepare(task), task.job.recipe
    sizes = (recipe["embedding_dim"], recipe["hidden_dim"], recipe["layers"])
    module = ClassicLSTM(dataset.manifest.vocab_size, *sizes, dataset.manifest.class_set.outputs)

    def inputs(split: Split, rows: IntArray) -> tuple[IntArray, ...]:
        return (left_padded(split, rows, recipe["max_tokens"]),)

    network = TorchNetwork(module, inputs, recipe["lr"], max_norm=5.0)
    return time_network(task.job, network, dataset)


def _prepare(task: CompareTask) -> PreparedDataset:
    torch.manual_seed(task.job.seed)
    torch.set_num_threads(task.job.conditions.threads)
    return PreparedDataset.open(task.data, verify=False)


class PackedLSTM(nn.Module):
    """Embedding with dense gradients, one LSTM layer, and a linear head on its last state."""

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.head = nn.Linear(hidden_dim, outputs)

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Logits (B, 1) of two classes, or (B, K)."""
        packed = pack_padded_sequence(
            self.embedding(ids_BT), lengths_B, batch_first=True, enforce_sorted=False
        )
        _, (state_1BH, _) = self.lstm(packed)
        logits: Tensor = self.head(state_1BH[-1])
        return logits


class ClassicLSTM(nn.Module):
    """Embedding, stacked LSTM layers, and a linear head on the last output."""

    def __init__(
        self, vocab_size: int, embedding_dim: int, hidden_dim: int, layers: int, outputs: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, layers, dropout=0.5, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden_dim, outputs)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits (B, 1) of two classes, or (B, K)."""
        outputs_BTH, _ = self.lstm(self.embedding(ids_BT))
        logits: Tensor = self.head(self.dropout(outputs_BTH[:, -1]))
        return logits


class TorchNetwork:
    """A module that is trained with Adam; `inputs` converts rows of a split to its arguments."""

    packages: tuple[str, ...] = ("torch",)

    def __init__(
        self,
        module: nn.Module,
        inputs: Callable[[Split, IntArray], tuple[IntArray, ...]],
        lr: float,
        max_norm: float | None = None,
    ) -> None:
        self.module, self.inputs, self.max_norm = module, inputs, max_norm
        self.optimizer = torch.optim.Adam(module.parameters(), lr=lr)

    def step(self, split: Split, rows: IntArray) -> None:
        self.optimizer.zero_grad()
        logits, labels_B = self._forward(split, rows), torch.from_numpy(split.labels[rows].astype(np.int64))
        if logits.dim() == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels_B.float())
        else:
            loss = nn.functional.cross_entropy(logits, labels_B)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.max_norm)
        self.optimizer.step()

    def logits(self, split: Split, rows: IntArray) -> FloatArray:
        with torch.inference_mode():
            logits: FloatArray = self._forward(split, rows).numpy()
        return logits

    def _forward(self, split: Split, rows: IntArray) -> Tensor:
        logits: Tensor = self.module(*map(torch.from_numpy, self.inputs(split, rows)))
        return logits.squeeze(1) if logits.shape[1] == 1 else logits


def left_padded(split: Split, rows: IntArray, width: int) -> IntArray:
    """The first `width` tokens of each row, padded on the left, as ids_BT (rows, width)."""
    ids_BT = np.full((len(rows), width), PAD, np.int64)
    for place, row in enumerate(rows):
        tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]][:width]
        ids_BT[place, width - len(tokens) :] = tokens
    return ids_BT
