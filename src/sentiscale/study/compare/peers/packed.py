"""An LSTM on packed sequences in plain PyTorch, the way most tutorials write it."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from sentiscale.data.batches import IntArray, padded_ids
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.scoring import FloatArray
from sentiscale.study.compare.peers.stepping import time_steps, train_network
from sentiscale.study.compare.records import JobFile, Outcome


def train(task: JobFile) -> Outcome:
    """Train and score, or time some steps."""
    dataset, job = PreparedDataset.open(task.data, verify=False), task.job
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.conditions.threads)
    network = PackedNetwork(job.recipe, dataset.manifest.vocab_size)
    if job.conditions.steps:
        return time_steps(task, network, dataset)
    return train_network(task, network, dataset)


class PackedLSTM(nn.Module):
    """Embedding, one LSTM layer whose last state is read, a linear head; dense gradients."""

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.head = nn.Linear(hidden_dim, 1)

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Logits (B,)."""
        packed = pack_padded_sequence(
            self.embedding(ids_BT), lengths_B, batch_first=True, enforce_sorted=False
        )
        _, (state_1BH, _) = self.lstm(packed)
        logits_B: Tensor = self.head(state_1BH[-1]).squeeze(1)
        return logits_B


class PackedNetwork:
    """The module with its optimiser."""

    packages: tuple[str, ...] = ("torch",)

    def __init__(self, recipe: dict[str, float], vocab_size: int) -> None:
        self.max_tokens = int(recipe["max_tokens"])
        self.module = PackedLSTM(vocab_size, int(recipe["embedding_dim"]), int(recipe["hidden_dim"]))
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=recipe["lr"])

    def step(self, split: Split, rows: IntArray) -> None:
        """Take one training step on these rows."""
        self.optimizer.zero_grad()
        labels_B = torch.from_numpy(split.labels[rows].astype(np.float32))
        loss = nn.functional.binary_cross_entropy_with_logits(self._forward(split, rows), labels_B)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def logits(self, split: Split, rows: IntArray) -> FloatArray:
        """Logits (rows,) of these rows."""
        with torch.inference_mode():
            logits: FloatArray = self._forward(split, rows).numpy()
        return logits

    def _forward(self, split: Split, rows: IntArray) -> Tensor:
        ids_BT, lengths_B = padded_ids(split.tokens, split.offsets, rows, self.max_tokens)
        logits_B: Tensor = self.module(torch.from_numpy(ids_BT), torch.from_numpy(lengths_B))
        return logits_B
