"""The network: pooling, padding, row-sparse gradients, operations counted."""

import pytest
import torch
from torch.testing import assert_close

from sentiscale.config import ModelSettings
from sentiscale.model.network import (
    PARTS,
    SentimentNet,
    dropout_mask,
    last_pool,
    max_pool,
    mean_pool,
    reverse_rows,
    step_flops,
)

OUT_BTH = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [9.0, 9.0]], [[-2.0, 4.0], [8.0, 8.0], [8.0, 8.0]]])
LENGTHS_B = torch.tensor([2, 1])


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (max_pool, [[3.0, -5.0], [-2.0, 4.0]]),
        (mean_pool, [[2.0, -6.0], [-2.0, 4.0]]),
        (last_pool, [[3.0, -7.0], [-2.0, 4.0]]),
    ],
)
def test_pooling_sees_real_tokens_only(pool, expected):
    assert_close(pool(OUT_BTH, LENGTHS_B), torch.tensor(expected))


def test_rows_are_turned_round_within_their_length():
    rows_BT1 = torch.tensor([[1.0, 2.0, 3.0, 0.0], [4.0, 0.0, 0.0, 0.0]])[:, :, None]
    turned = reverse_rows(rows_BT1, torch.tensor([3, 1]))[:, :, 0]
    assert turned.tolist() == [[3.0, 2.0, 1.0, 0.0], [4.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("pooling", ["max", "max_mean", "last"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_logit_does_not_depend_on_how_much_padding_follows(cell, pooling, bidirectional):
    settings = ModelSettings(
        cell=cell, pooling=pooling, bidirectional=bidirectional, embedding_dim=6, hidden_dim=5
    )
    net = SentimentNet.build(settings, 20, seed=0).eval().double()
    ids_BT, lengths_B = torch.tensor([[3, 4, 5, 0, 0]]), torch.tensor([3])
    more_BT = torch.nn.functional.pad(ids_BT, (0, 7))
    assert_close(net(ids_BT, lengths_B), net(more_BT, lengths_B), rtol=0, atol=1e-12)


def test_word_order_matters():
    net = SentimentNet.build(ModelSettings(embedding_dim=6, hidden_dim=5), 20, seed=0).eval()
    first, second = net(torch.tensor([[3, 4, 5], [5, 4, 3]]), torch.tensor([3, 3])).tolist()
    assert first != second


def test_a_part_built_alone_starts_with_the_numbers_it_has_in_the_whole():
    settings = ModelSettings(embedding_dim=6, hidden_dim=5, bidirectional=True)
    whole = SentimentNet.build(settings, 20, seed=4).state_dict()
    for part in PARTS:
        alone = SentimentNet.build(settings, 20, 4, [part]).state_dict()
        assert {name.partition(".")[0] for name, value in alone.items() if not value.is_meta} == {part}
        assert_close(
            {n: v for n, v in alone.items() if not v.is_meta},
            {n: whole[n] for n in whole if n.startswith(part)},
        )


def test_first_weights_depend_on_the_seed_and_padding_is_zero():
    settings = ModelSettings(embedding_dim=6, hidden_dim=5)
    first, second = (SentimentNet.build(settings, 20, seed) for seed in (1, 2))
    assert not torch.equal(first.recurrent.cell.weight_hh_l0, second.recurrent.cell.weight_hh_l0)
    assert not torch.equal(first.embedding.weight, second.embedding.weight)
    assert not first.embedding.weight[0].any()


def test_dropout_keeps_the_mean_and_is_absent_at_zero():
    kept = dropout_mask(200, 300, 0.25, torch.Generator().manual_seed(0))
    assert sorted(set(kept.flatten().tolist())) == [0.0, pytest.approx(1 / 0.75)]
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    assert dropout_mask(2, 3, 0.0, torch.Generator()) is None


def test_stages_are_the_three_children():
    assert [name for name, _ in SentimentNet(ModelSettings(), 10).named_children()] == [
        "embedding",
        "recurrent",
        "head",
    ]


def test_operations_of_a_step():
    """4 gates x H=3 units x (E=2 + H=3) inputs x 2 operations = 120 a position; 10 positions; x3."""
    assert step_flops(ModelSettings(embedding_dim=2, hidden_dim=3), 2, 5) == 3600


def test_operations_agree_with_torch_s_own_count():
    """PyTorch's counter sees single matrix products: spell the LSTM out as such and compare."""
    from torch.utils.flop_counter import FlopCounterMode

    settings = ModelSettings(embedding_dim=8, hidden_dim=4)
    rows, tokens = 3, 5
    weights = torch.randn(16, 8, requires_grad=True), torch.randn(16, 4, requires_grad=True)
    inputs = torch.randn(tokens, rows, 8, requires_grad=True)
    hidden = torch.zeros(rows, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        total = sum((inputs[t] @ weights[0].T).sum() + (hidden @ weights[1].T).sum() for t in range(tokens))
        total.backward()
    assert step_flops(settings, rows, tokens) == counter.get_total_flops()


def test_bad_shapes_are_refused_before_any_work():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        ModelSettings(hidden_dim=0)
