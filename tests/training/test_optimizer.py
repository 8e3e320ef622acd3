"""Adam over whole parameters and over rows, and its learning rate."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from sentiscale.parallel.gradients import EmbeddingTable
from sentiscale.parallel.world import single_rank
from sentiscale.training.optimizer import Adam, clip_factor, learning_rate


def gradients(number: int, *shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(number)]


def test_whole_parameters_move_as_torch_s_adam_moves_them():
    ours, theirs = (nn.Parameter(torch.ones(3, 2, dtype=torch.float64)) for _ in range(2))
    optimizer, reference = Adam({"w": ours}, {}), torch.optim.Adam([theirs], lr=0.1)
    for gradient in gradients(6, 3, 2):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step(0.1)
        reference.step()
    assert_close(ours, theirs, rtol=0, atol=1e-14)


def table_step(table: EmbeddingTable, ids: torch.Tensor, factor: float) -> None:
    leaf_UE, places_BT = table.look_up(ids)
    (nn.functional.embedding(places_BT, leaf_UE) ** 2 * factor).sum().backward()
    table.reduce()


def test_rows_move_as_torch_s_sparse_adam_moves_them():
    """Gradients are large, because SparseAdam adds its epsilon before the bias correction, Adam after it."""
    weight = torch.rand(9, 2, dtype=torch.float64) + 1
    table, reference = (
        EmbeddingTable(weight.clone(), single_rank(torch.device("cpu"))),
        nn.Embedding(9, 2, padding_idx=0, sparse=True),
    )
    reference.weight.data = weight.clone()
    optimizer = Adam({}, {"e": table})
    theirs = torch.optim.SparseAdam(reference.parameters(), lr=0.1)
    for ids in ([[3, 4, 4, 0]], [[4, 8, 1, 2]], [[3, 3, 3, 3]], [[0, 0, 0, 5]]):
        table_step(table, torch.tensor(ids), 1e4)
        optimizer.step(0.1)
        theirs.zero_grad()
        (reference(torch.tensor(ids)) ** 2 * 1e4).sum().backward()
        theirs.step()
    assert_close(table.weight, reference.weight.detach(), rtol=0, atol=1e-10)
    assert torch.equal(table.weight[[0, 6, 7]], weight[[0, 6, 7]]), "padding and unused rows stay"


def test_a_table_holds_gradients_of_the_batch_s_rows_only():
    table = EmbeddingTable(torch.ones(1000, 2), single_rank(torch.device("cpu")))
    table_step(table, torch.tensor([[3, 4, 4, 0]]), 0.5)
    assert table.rows_R.tolist() == [3, 4], "padding (row 0) must get no gradient"
    assert table.gradient_RE.tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_clipping_and_unscaling_multiply_the_gradient():
    def after(**factors: float) -> torch.Tensor:
        parameter = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        parameter.grad = torch.tensor([1e-8, 2e-8], dtype=torch.float64)  # of the size of Adam's epsilon
        Adam({"w": parameter}, {}).step(1.0, **factors)
        return parameter.detach()

    assert_close(after(clip=0.5, unscale=0.5), after(clip=0.25))
    assert not torch.allclose(after(), after(clip=0.5))


def test_clip_factor_brings_the_norm_to_its_limit_and_never_enlarges():
    assert clip_factor(10.0, 1.0) == pytest.approx(0.1)
    assert clip_factor(0.5, 1.0) == 1.0
    assert clip_factor(10.0, None) == 1.0


def test_learning_rate_rises_then_falls_to_zero():
    def rate(step: int) -> float:
        return learning_rate(step, 100, peak=1.0, warmup_steps=9, schedule="linear")

    assert rate(0) == pytest.approx(0.1)  # 1/10 of the peak at the first of ten warm-up steps
    assert rate(50) == pytest.approx(0.5)
    assert rate(100) == 0
    assert learning_rate(90, 100, peak=1.0, warmup_steps=0, schedule="constant") == 1.0
