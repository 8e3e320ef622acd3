"""The embedding's weights, its row-sparse gradients, and who owns which row.

A step touches a few thousand of a hundred thousand rows, so gradients are kept, sent and applied by row.
Row v belongs to replica v % d: that one adds up the row's gradients, holds its optimiser state, changes it
and sends the new row to the others (as ZeRO does with whole parameters; Rajbhandari et al., 2020). So each
replica updates 1/d of the rows, instead of every replica all of them, and a batch that is all padding on
one rank is no special case: that rank sends no rows.

Shapes: V rows of the table, E embedding width, d replicas, U different rows of a rank's batch, R rows of
all batches that this replica owns.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from sentiscale.parallel.collectives import all_gather
from sentiscale.parallel.world import Group
from sentiscale.text.vocab import PAD


class EmbeddingTable:
    """A (V, E) weight, the same on every replica, with row-sparse gradients."""

    def __init__(
        self, weight: Tensor, group: Group | None, replica: int, wire_dtype: torch.dtype | None = None
    ) -> None:
        """`wire_dtype`, where given, is what gradients are rounded to while they travel."""
        self.weight = weight.detach()
        self.group = group
        self.replica = replica
        self.replicas = 1 if group is None else dist.get_world_size(group)
        self.wire_dtype = wire_dtype or weight.dtype
        self.rows_R = torch.zeros(0, dtype=torch.int64, device=weight.device)
        """Rows that the step changes and this replica owns, rising."""
        self.gradient_RE = self.weight.new_zeros(0, weight.shape[1])
        """Their gradients, summed over replicas."""
        self._rows_U = self.rows_R
        self._leaf_UE = self.gradient_RE

    @property
    def owned(self) -> Tensor:
        """The rows this replica owns (about V / d, E): a view, to read and to write."""
        return self.weight[self.replica :: self.replicas]

    @property
    def places_owned(self) -> Tensor:
        """Where `rows_R` are in `owned`."""
        return self.rows_R // self.replicas

    def look_up(self, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Collect the rows of a batch in a leaf (U, E) and say where in it each token's row is (B, T).

        `torch.nn.functional.embedding(places_BT, leaf_UE)` are the batch's word vectors; their gradients
        add up in the leaf, which `reduce` then takes.
        """
        self._rows_U, places_BT = distinct(ids_BT, len(self.weight))
        self._leaf_UE = self.weight[self._rows_U].requires_grad_()
        return self._leaf_UE, places_BT

    def reduce(self) -> int:
        """Bring the gradients of each row to its owner; return the bytes this rank has sent."""
        rows_U, gradient_UE = self._rows_U, self._leaf_UE.grad
        if gradient_UE is None:
            raise RuntimeError("no backward pass has reached the rows that were looked up")
        real_U = rows_U != PAD  # the vector of padding stays zero
        rows_U, gradient_UE = rows_U[real_U], gradient_UE[real_U]
        if self.group is None:
            self.rows_R, self.gradient_RE = rows_U, gradient_UE
            return 0
        owner_U = rows_U % self.replicas
        order_U = torch.argsort(owner_U, stable=True)
        to_each = torch.bincount(owner_U, minlength=self.replicas)
        from_each = torch.empty_like(to_each)
        dist.all_to_all_single(from_each, to_each, group=self.group)
        splits = (from_each.tolist(), to_each.tolist())
        rows_N = self._exchange(rows_U[order_U].to(torch.int32), *splits).to(torch.int64)
        values_NE = self._exchange(gradient_UE[order_U].to(self.wire_dtype), *splits)
        owned_R, place_N = distinct(rows_N // self.replicas, len(self.owned))
        self.rows_R = owned_R * self.replicas + self.replica
        self.gradient_RE = self.weight.new_zeros(len(owned_R), self.weight.shape[1])
        self.gradient_RE.index_add_(0, place_N, values_NE.to(self.weight.dtype))
        sent: int = len(rows_U) - splits[1][self.replica]
        return sent * (4 + values_NE.element_size() * values_NE.shape[1])

    def share(self) -> int:
        """Send the changed rows to the other replicas and take theirs; return the bytes sent."""
        if self.group is None:
            return 0
        sizes = all_gather(torch.tensor([len(self.rows_R)], device=self.weight.device), self.group)[:, 0]
        most = int(sizes.max())
        if most == 0:
            return 0
        rows = self.rows_R.new_zeros(most)
        values = self.weight.new_zeros(most, self.weight.shape[1])
        rows[: len(self.rows_R)] = self.rows_R
        values[: len(self.rows_R)] = self.weight[self.rows_R]
        all_rows, all_values = all_gather(rows, self.group), all_gather(values, self.group)
        for replica, size in enumerate(sizes.tolist()):
            if replica != self.replica:
                self.weight[all_rows[replica, :size]] = all_values[replica, :size]
        return most * (rows.element_size() + values.element_size() * values.shape[1])

    def share_all(self) -> None:
        """Send all owned rows to the other replicas and take theirs: after loading."""
        self.rows_R = torch.arange(self.replica, len(self.weight), self.replicas, device=self.weight.device)
        self.share()

    def _exchange(self, outgoing: Tensor, from_each: list[int], to_each: list[int]) -> Tensor:
        incoming = outgoing.new_empty(sum(from_each), *outgoing.shape[1:])
        dist.all_to_all_single(incoming, outgoing, from_each, to_each, group=self.group)
        return incoming


def distinct(numbers: Tensor, below: int) -> tuple[Tensor, Tensor]:
    """The different values among `numbers`, rising, and where among them each one is.

    Like `torch.unique`, without its sorting: `numbers` are 0 or more and less than `below`.
    """
    seen = torch.zeros(below, dtype=torch.bool, device=numbers.device)
    seen[numbers.flatten()] = True
    values = seen.nonzero().flatten()
    place = torch.empty(below, dtype=torch.int64, device=numbers.device)
    place[values] = torch.arange(len(values), device=numbers.device)
    return values, place[numbers]
