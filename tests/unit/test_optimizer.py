"""The two-part Adam and its learning rate."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from sentiscale.config import ModelSettings
from sentiscale.model import SentimentNet
from sentiscale.training.optimizer import RowSparseAdam, learning_rate


def tiny() -> SentimentNet:
    torch.manual_seed(0)
    return SentimentNet(ModelSettings(embedding_dim=4, hidden_dim=3, dropout=0), 8).double()


def loss(net: nn.Module) -> torch.Tensor:
    """Large on purpose: SparseAdam adds its epsilon before the bias correction, Adam after it."""
    return 1e4 * net(torch.tensor([[2, 3, 4, 5, 6, 7, 1]]), torch.tensor([7])).sum()


def steps(net: nn.Module, optimizer: RowSparseAdam, number: int) -> None:
    for _ in range(number):
        loss(net).backward()
        optimizer.step(0.01)


def test_sparse_rows_move_as_plain_adam_moves_them_when_all_are_touched():
    sparse, dense = tiny(), tiny()
    dense.embedding.sparse = False
    steps(sparse, RowSparseAdam(dict(sparse.named_parameters()), 0.01), 5)
    adam = torch.optim.Adam(dense.parameters(), lr=0.01)
    for _ in range(5):
        adam.zero_grad()
        loss(dense).backward()
        adam.step()
    assert_close(dict(sparse.named_parameters()), dict(dense.named_parameters()))


def test_state_travels_through_plain_tensors():
    whole, half = tiny(), tiny()
    steps(whole, RowSparseAdam(dict(whole.named_parameters()), 0.01), 6)
    first = RowSparseAdam(dict(half.named_parameters()), 0.01)
    steps(half, first, 3)
    second = RowSparseAdam(dict(half.named_parameters()), 0.01)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    steps(half, second, 3)
    assert_close(dict(whole.named_parameters()), dict(half.named_parameters()), rtol=0, atol=0)


def test_learning_rate_rises_then_falls_to_zero():
    def rate(step: int) -> float:
        return learning_rate(step, 100, peak=1.0, warmup_steps=9, schedule="linear")

    assert rate(0) == pytest.approx(0.1)  # 1/10 of the peak at the first of ten warm-up steps
    assert rate(50) == pytest.approx(0.5)
    assert rate(100) == 0
    assert learning_rate(90, 100, peak=1.0, warmup_steps=0, schedule="constant") == 1.0
