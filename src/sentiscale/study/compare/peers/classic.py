"""The classic recipe: two wide LSTM layers over left-padded tokens, dense Adam; its speed only."""

import numpy as np
import torch
from torch import Tensor, nn

from sentiscale.data.batches import IntArray
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.scoring import FloatArray
from sentiscale.study.compare.peers.stepping import time_steps
from sentiscale.study.compare.records import JobFile, Outcome
from sentiscale.text.vocab import PAD


def train(task: JobFile) -> Outcome:
    """Time some steps and project the epochs from them; denormal numbers stay as the CPU treats them."""
    dataset, job = PreparedDataset.open(task.data, verify=False), task.job
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.conditions.threads)
    return time_steps(task, ClassicNetwork(job.recipe, dataset.manifest.vocab_size), dataset)


class ClassicLSTM(nn.Module):
    """Embedding, stacked LSTM layers whose last output is read, a linear head."""

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, layers, dropout=0.5, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden_dim, 1)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits (B,)."""
        outputs_BTH, _ = self.lstm(self.embedding(ids_BT))
        logits_B: Tensor = self.head(self.dropout(outputs_BTH[:, -1])).squeeze(1)
        return logits_B


class ClassicNetwork:
    """The module with its optimiser."""

    packages: tuple[str, ...] = ("torch",)

    def __init__(self, recipe: dict[str, float], vocab_size: int) -> None:
        sizes = (int(recipe[name]) for name in ("embedding_dim", "hidden_dim", "layers"))
        self.max_tokens = int(recipe["max_tokens"])
        self.module = ClassicLSTM(vocab_size, *sizes)
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=recipe["lr"])

    def step(self, split: Split, rows: IntArray) -> None:
        """Take one training step on these rows."""
        self.optimizer.zero_grad()
        ids_BT = torch.from_numpy(left_padded(split, rows, self.max_tokens))
        labels_B = torch.from_numpy(split.labels[rows].astype(np.float32))
        loss = nn.functional.binary_cross_entropy_with_logits(self.module(ids_BT), labels_B)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimizer.step()

    def logits(self, split: Split, rows: IntArray) -> FloatArray:
        """Logits (rows,) of these rows."""
        with torch.inference_mode():
            logits: FloatArray = self.module(
                torch.from_numpy(left_padded(split, rows, self.max_tokens))
            ).numpy()
        return logits


def left_padded(split: Split, rows: IntArray, width: int) -> IntArray:
    """The first `width` tokens of each row, at the right end of ids_BT (rows, width)."""
    ids_BT = np.full((len(rows), width), PAD, np.int64)
    for place, row in enumerate(rows):
        tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]][:width]
        ids_BT[place, width - len(tokens) :] = tokens
    return ids_BT
