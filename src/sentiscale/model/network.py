"""The whole network: embedding -> recurrent layer (LSTM or GRU, with pooling) -> head.

Design decisions:
- Input is padded and masked, never packed: PyTorch does not use oneDNN's fused LSTM kernel for packed
  sequences on the CPU.
- Each part draws its initial weights from its own random generator, so a rank that holds only one part starts
  with the same weights as a rank that holds all parts.
- Pooling belongs to the recurrent stage, so that its output is (B, D) rather than (B, T, D).
- Dropout applies to the pooled vector only: for (B, T, E) the CPU would draw a large mask serially. The
  caller draws the mask for a whole global batch, so that every layout drops the same units.
- For two classes, `forward` returns one logit per row; the probability of the second class is its sigmoid.
  For K > 2 classes, it returns K logits; their softmax is the probability of each class.

Shape suffixes: B rows, T tokens, E embedding width, H hidden units per direction, D pooled width, K classes.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from sentiscale.config import ModelSettings

PARTS = ("embedding", "recurrent", "head")
"""Names of the network's child modules, in the order in which data flows through them."""


class SentimentNet(nn.Module):
    """Classify token ids; the children `embedding`, `recurrent` and `head` can be pipeline stages."""

    def __init__(self, settings: ModelSettings, vocab_size: int, outputs: int = 1) -> None:
        super().__init__()
        # nn.Embedding(...) draws random weights; on the "meta" device this loads PyTorch's compiler, which
        # takes over a second.
        weight_VE = torch.empty(vocab_size, settings.embedding_dim)
        self.embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            weight_VE, freeze=False, padding_idx=0
        )
        self.recurrent = Recurrent(settings)
        self.head = Head(self.recurrent.pooled_dim, outputs, ordinal=settings.head == "ordinal")

    @classmethod
    def build(
        cls,
        settings: ModelSettings,
        vocab_size: int,
        seed: int,
        parts: Collection[str] = PARTS,
        outputs: int = 1,
    ) -> "SentimentNet":
        """Create a network with initial weights drawn from `seed`.

        `outputs` is 1 for two classes, or the number of classes if there are more. Parts that are not in
        `parts` stay on PyTorch's "meta" device, where they use no memory.
        """
        with torch.device("meta"):
            net = cls(settings, vocab_size, outputs)
        for index, name in enumerate(PARTS):
            if name in parts:
                part = getattr(net, name).to_empty(device="cpu")
                initialise(part, torch.Generator().manual_seed(seed * len(PARTS) + index))
        return net

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Compute logits, (B,) or (B, K), from token ids (B, T), padded at the end.

        `lengths_B` counts the real tokens of each row.
        """
        logits: Tensor = self.head(self.recurrent(self.embedding(ids_BT), lengths_B))
        return logits


class Recurrent(nn.Module):
    """A recurrent layer whose outputs are pooled over the real tokens.

    The backward direction is a separate layer that reads each row from its last real token. PyTorch's
    bidirectional layers would start in the padding, so a row's logit would depend on the other rows of its
    batch.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[settings.cell]
        shape = (settings.embedding_dim, settings.hidden_dim, settings.layers)
        self.cell = kind(*shape, batch_first=True)
        self.backward_cell = kind(*shape, batch_first=True) if settings.bidirectional else None
        self.pooling = settings.pooling
        directions = 2 if settings.bidirectional else 1
        self.pooled_dim = settings.hidden_dim * directions * (2 if settings.pooling == "max_mean" else 1)

    def forward(self, embedded_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """Apply the layer and pool its outputs: (B, T, E) and (B,) to (B, D)."""
        pooled_BH = self._pool(self.cell(embedded_BTE)[0], lengths_B)
        if self.backward_cell is None:
            return pooled_BH
        reversed_BTE = reverse_rows(embedded_BTE, lengths_B)
        return torch.cat([pooled_BH, self._pool(self.backward_cell(reversed_BTE)[0], lengths_B)], dim=1)

    def _pool(self, out_BTH: Tensor, lengths_B: Tensor) -> Tensor:
        if out_BTH.dtype in (torch.bfloat16, torch.float16):  # under autocast; sums need higher precision
            out_BTH = out_BTH.float()
        if self.pooling == "last":
            return last_pool(out_BTH, lengths_B)
        if self.pooling == "max":
            return max_pool(out_BTH, lengths_B)
        return torch.cat([max_pool(out_BTH, lengths_B), mean_pool(out_BTH, lengths_B)], dim=1)


class Head(nn.Module):
    """Linear layer from the pooled vector (B, D) to logits: (B,) for two classes, (B, K) for K > 2.

    An ordinal head has K - 1 outputs for K ordered classes; see `ordinal_logits`.
    """

    def __init__(self, pooled_dim: int, outputs: int = 1, *, ordinal: bool = False) -> None:
        super().__init__()
        self.outputs = outputs
        self.ordinal = ordinal and outputs > 1
        self.linear = nn.Linear(pooled_dim, outputs - self.ordinal)

    def forward(self, pooled_BD: Tensor, mask_BD: Tensor | None = None) -> Tensor:
        """Compute logits from pooled vectors (B, D), which are first multiplied by a mask if given."""
        if mask_BD is not None:
            pooled_BD = pooled_BD * mask_BD
        logits: Tensor = self.linear(pooled_BD)
        if self.ordinal:
            return ordinal_logits(logits)
        return logits.squeeze(1) if self.outputs == 1 else logits


def ordinal_logits(steps_BK: Tensor) -> Tensor:
    """Log-probabilities (B, K) of K ordered classes from K - 1 logits, (B, K - 1).

    Logit k decides whether the class is above k, given that it is not below k, so all probabilities are
    consistent with the order (CORN; Shi, Cao and Raschka, 2023, "Deep neural networks for rank-consistent
    ordinal regression based on conditional probabilities"). Log-probabilities are their own softmax logits,
    and their cross-entropy is CORN's loss, so loss and prediction are the same as without an order.
    """
    if steps_BK.dtype in (torch.bfloat16, torch.float16):
        steps_BK = steps_BK.float()
    start_B1 = steps_BK.new_zeros(len(steps_BK), 1)
    reached_BK = torch.cat([start_B1, logsigmoid(steps_BK).cumsum(dim=1)], dim=1)
    return reached_BK + torch.cat([logsigmoid(-steps_BK), start_B1], dim=1)


def logits_shape(rows: int, outputs: int) -> tuple[int, ...]:
    """Shape of the logits of `rows` rows: (rows,) for two classes, which have one output, or (rows, K)."""
    return (rows,) if outputs == 1 else (rows, outputs)


def dropout_mask(rows: int, width: int, dropout: float, generator: torch.Generator) -> Tensor | None:
    """Draw a factor of 0 or 1 / (1 - dropout) for each unit: (rows, width); None if `dropout` is 0."""
    if dropout == 0:
        return None
    return (torch.rand(rows, width, generator=generator) >= dropout).float() / (1 - dropout)


def reverse_rows(rows_BTE: Tensor, lengths_B: Tensor) -> Tensor:
    """Reverse the real tokens of each row and leave the padding at the end: (B, T, E) to (B, T, E)."""
    position_T = torch.arange(rows_BTE.shape[1], device=rows_BTE.device)
    mirrored_BT = lengths_B[:, None] - 1 - position_T
    source_BT = torch.where(mirrored_BT >= 0, mirrored_BT, position_T)
    return rows_BTE.gather(1, source_BT[:, :, None].expand_as(rows_BTE))


def real_tokens(lengths_B: Tensor, width: int) -> Tensor:
    """Return a mask (B, T, 1) that is true for real tokens and false for padding."""
    return (torch.arange(width, device=lengths_B.device) < lengths_B[:, None])[:, :, None]


def max_pool(out_BTH: Tensor, lengths_B: Tensor) -> Tensor:
    """Maximum of each unit over the real tokens: (B, T, H) to (B, H)."""
    lowest = torch.finfo(out_BTH.dtype).min
    return out_BTH.masked_fill(~real_tokens(lengths_B, out_BTH.shape[1]), lowest).amax(dim=1)


def mean_pool(out_BTH: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean of each unit over the real tokens: (B, T, H) to (B, H)."""
    mask_B1T = real_tokens(lengths_B, out_BTH.shape[1]).to(out_BTH.dtype).transpose(1, 2)
    # A matrix product avoids a masked copy of (B, T, H); with the mask on the left, also a transposed copy.
    sum_BH: Tensor = torch.bmm(mask_B1T, out_BTH).squeeze(1)
    return sum_BH / lengths_B[:, None]


def last_pool(out_BTH: Tensor, lengths_B: Tensor) -> Tensor:
    """Output at each row's last real token: (B, T, H) to (B, H)."""
    return out_BTH[torch.arange(len(lengths_B), device=out_BTH.device), lengths_B - 1]


def initialise(part: nn.Module, generator: torch.Generator) -> None:
    """Draw the initial weights of one part of the network."""
    with torch.no_grad():
        for module in part.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1, generator=generator)
                module.weight[0].zero_()
            elif isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                module.bias.zero_()
            elif isinstance(module, nn.RNNBase):
                initialise_cell(module, generator)


def initialise_cell(cell: nn.RNNBase, generator: torch.Generator) -> None:
    """Draw orthogonal recurrent weights and set the forget-gate bias to 1 (Jozefowicz et al., 2015)."""
    hidden = cell.hidden_size
    for name, parameter in cell.named_parameters():
        if name.startswith("weight_hh"):
            for gate in torch.split(parameter, hidden):
                nn.init.orthogonal_(gate, generator=generator)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter, generator=generator)
        else:
            parameter.zero_()
            if isinstance(cell, nn.LSTM) and name.startswith("bias_ih"):
                parameter[hidden : 2 * hidden] = 1.0


def step_flops(settings: ModelSettings, rows: int, tokens: int) -> int:
    """Count the floating-point operations in the matrix multiplications of one training step.

    The batch has `rows` x `tokens` positions, padding included. The backward pass costs twice the forward
    pass. A multiplication and an addition count as two operations.
    """
    gates = {"lstm": 4, "gru": 3}[settings.cell]
    directions = 2 if settings.bidirectional else 1
    hidden = settings.hidden_dim
    inputs = settings.embedding_dim + hidden * (settings.layers - 1)
    per_position = 2 * gates * hidden * (inputs + hidden * settings.layers) * directions
    return 3 * rows * tokens * per_position
