"""Which tokens of a padded batch are real, and which rows attend together.

The encoder drops padding at its door. A packed batch holds the real tokens of all rows
one after another, longest row first, so that rows of like length stand side by side and
attention runs on a few dense groups of them.
"""

from dataclasses import dataclass, field, replace

import torch

# Packed length and group length are rounded up to these, so that kernels which are
# compiled for a shape (oneDNN's bfloat16 products: 1-2 ms for each new one) meet a
# few dozen shapes in a whole run and not one a batch.
TOKEN_MULTIPLE = 32
LENGTH_MULTIPLE = 8
# Rows that attend together, and the scores they may need at once: a group's scores
# should stay in the cache.
GROUP_ROWS = 16
GROUP_SCORES = 2**21


@dataclass(frozen=True)
class Group:
    """Rows of like length that attend together.

    Args:
        start: first packed token of the group.
        stop: one past its last packed token.
        first_row: first row of the group, in packed order.
        num_rows: number of rows.
        length: length the rows are padded to, in tokens.
        slots: int64 (stop - start,), where each token stands among the
            `num_rows * length` slots.
        tokens: int64 (num_rows * length,), packed token of each slot; of an empty one
            the spare token behind the real ones.
        bias: float32 (num_rows, 1, 1, length), 0 for tokens and -inf for empty
            slots; `None` when there is no empty slot.
    """

    start: int
    stop: int
    first_row: int
    num_rows: int
    length: int
    slots: torch.Tensor
    tokens: torch.Tensor
    bias: torch.Tensor | None
    _indexes: dict = field(default_factory=dict, repr=False, compare=False)

    def index_heads(self, num_parts: int, num_heads: int) -> torch.Tensor:
        """Return which head's vector of the packed batch goes where in the group.

        Args:
            num_parts: vectors side by side in a packed token: query, key and value.
            num_heads: heads a part.

        Returns:
            int64 (num_parts * num_rows * num_heads * length,): positions among the
            packed (num_tokens, num_parts, num_heads) vectors.
        """
        key = ("heads", num_parts, num_heads)
        if key not in self._indexes:
            device = self.tokens.device
            parts = torch.arange(num_parts, device=device)[:, None, None, None]
            heads = torch.arange(num_heads, device=device)[:, None]
            tokens = self.tokens.view(self.num_rows, 1, self.length)
            index = (tokens * num_parts + parts) * num_heads + heads
            self._indexes[key] = index.reshape(-1)
        return self._indexes[key]

    def index_tokens(self, num_parts: int, num_heads: int) -> torch.Tensor:
        """Return the way back: which vector of the group goes into which token.

        Returns:
            int64 ((stop - start) * num_parts * num_heads,): positions among the
            group's (num_parts, num_rows, num_heads, length) vectors.
        """
        key = ("tokens", num_parts, num_heads)
        if key not in self._indexes:
            device = self.slots.device
            parts = torch.arange(num_parts, device=device)[:, None]
            heads = torch.arange(num_heads, device=device)
            slots = self.slots[:, None, None]
            rows, columns = slots // self.length, slots % self.length
            index = (parts * self.num_rows + rows) * num_heads + heads
            self._indexes[key] = (index * self.length + columns).reshape(-1)
        return self._indexes[key]


@dataclass(frozen=True)
class Packing:
    """The real tokens of a padded batch, in packed order.

    Args:
        num_rows: rows of the padded batch.
        length: columns of the padded batch, in tokens.
        num_tokens: packed length: the real tokens, at least one spare, and what
            `TOKEN_MULTIPLE` adds.
        index: int64 (num_real_tokens,), position of each real token in the
            flattened padded batch.
        starts: int64 (num_rows,), first token of each packed row.
        packed_rows: int64 (num_rows,), packed row of each padded row.
        groups: what attends together; none for fused attention.
        bounds: for fused attention int32 (num_rows + 2,), where each packed row and
            the spare tokens begin, and where they end; longer where these make up
            several rows; else `None`.
        longest: tokens of the longest of them, for fused attention.
    """

    num_rows: int
    length: int
    num_tokens: int
    index: torch.Tensor
    starts: torch.Tensor
    packed_rows: torch.Tensor
    groups: tuple[Group, ...]
    bounds: torch.Tensor | None = None
    longest: int = 0

    @property
    def num_real_tokens(self) -> int:
        """Number of tokens that are not padding."""
        return self.index.shape[0]

    def gather(self, padded: torch.Tensor) -> torch.Tensor:
        """Take int (num_rows, length) to packed int64 (num_tokens,), 0 behind."""
        packed = padded.new_zeros(self.num_tokens, dtype=torch.int64)
        packed[: self.num_real_tokens] = padded.reshape(-1)[self.index]
        return packed

    def compute_positions(self) -> torch.Tensor:
        """Return each packed token's column, int64 (num_tokens,)."""
        positions = self.index.new_zeros(self.num_tokens)
        positions[: self.num_real_tokens] = self.index % self.length
        return positions

    def scatter(self, packed: torch.Tensor) -> torch.Tensor:
        """Take packed (num_tokens, dim) to (num_rows, length, dim), zeros between."""
        dim = packed.shape[-1]
        padded = packed.new_zeros(self.num_rows * self.length, dim)
        padded = padded.index_copy(0, self.index, packed[: self.num_real_tokens])
        return padded.view(self.num_rows, self.length, dim)

    def to(self, device: torch.device) -> "Packing":
        """Copy the index tensors to a device in one piece, without waiting for it."""
        if self.index.device == device:
            return self
        own = [self.index, self.starts, self.packed_rows]
        bounds = self.starts[:0] if self.bounds is None else self.bounds.long()
        pairs = [tensor for g in self.groups for tensor in (g.slots, g.tokens)]
        sent = _send_joined([*own, bounds, *pairs], device)
        index, starts, packed_rows, bounds = sent[:4]
        groups = tuple(
            replace(
                group,
                slots=slots,
                tokens=tokens,
                bias=_build_bias(tokens, group, self.num_real_tokens),
                _indexes={},
            )
            for group, slots, tokens in zip(
                self.groups, sent[4::2], sent[5::2], strict=True
            )
        )
        return replace(
            self,
            index=index,
            starts=starts,
            packed_rows=packed_rows,
            groups=groups,
            bounds=None if self.bounds is None else bounds.int(),
        )


def _send_joined(tensors: list[torch.Tensor], device: torch.device):
    """Copy int64 (n,) tensors to a device as one; a copy costs more than its bytes."""
    joined = torch.cat(tensors)
    if device.type == "cuda":
        joined = joined.pin_memory()
    sent = joined.to(device, non_blocking=True)
    return sent.split([len(tensor) for tensor in tensors])


def _build_bias(tokens: torch.Tensor, group: Group, spare: int):
    """Return a group's bias, computed where its tokens are."""
    if group.bias is None:
        return None
    bias = torch.zeros(group.bias.shape, device=tokens.device)
    empty = (tokens == spare).view(bias.shape)
    return bias.masked_fill_(empty, float("-inf"))


def build_packing(padding_mask: torch.Tensor, num_heads: int | None) -> Packing:
    """Plan how to run a padded batch without its padding.

    Args:
        padding_mask: bool or int (num_rows, length) on the CPU, nonzero for real
            tokens. It need not be left-aligned: a token keeps its column's position.
        num_heads: attention heads, for the size of the groups; `None` for fused
            attention, which needs none.

    Returns:
        The plan, its index tensors on the CPU.

    Raises:
        ValueError: a row has no token.
    """
    mask = padding_mask != 0
    num_rows, length = mask.shape
    lengths = mask.sum(1)
    if num_rows and int(lengths.min()) == 0:
        row = int(lengths.argmin())
        raise ValueError(
            f"padding_mask must mark at least one token a row; row {row} of the batch "
            "is all zeros. Drop the row or keep its first token."
        )
    sorted_lengths, row_order = lengths.sort(descending=True, stable=True)
    index = mask[row_order].reshape(-1).nonzero()[:, 0]
    index = row_order[index // length] * length + index % length
    packed_rows = torch.empty_like(row_order)
    packed_rows[row_order] = torch.arange(num_rows)
    num_real = index.shape[0]
    packing = Packing(
        num_rows=num_rows,
        length=length,
        num_tokens=round_up(num_real + 1, TOKEN_MULTIPLE),
        index=index,
        starts=sorted_lengths.cumsum(0) - sorted_lengths,
        packed_rows=packed_rows,
        groups=(),
    )
    if num_heads is None:
        return _add_bounds(packing, sorted_lengths)
    groups = _build_groups(sorted_lengths.tolist(), num_heads)
    return replace(packing, groups=groups)


def _add_bounds(packing: Packing, lengths: torch.Tensor) -> Packing:
    """Mark the rows of a packing, longest first, for fused attention."""
    num_real, num_tokens = packing.num_real_tokens, packing.num_tokens
    ends = torch.tensor([num_real, num_tokens])
    longest = max(int(lengths[0]) if len(lengths) else 0, num_tokens - num_real)
    bounds = torch.cat([packing.starts, ends]).int()
    return replace(packing, bounds=bounds, longest=longest)


def round_up(value: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def _build_groups(lengths: list[int], num_heads: int) -> tuple[Group, ...]:
    """Cut rows, longest first, into groups of bounded size."""
    groups: list[Group] = []
    spare = sum(lengths)
    row = start = 0
    while row < len(lengths):
        longest = round_up(lengths[row], LENGTH_MULTIPLE)
        fitting = GROUP_SCORES // (num_heads * longest * longest)
        num_rows = min(len(lengths) - row, max(1, min(GROUP_ROWS, fitting)))
        chosen = lengths[row : row + num_rows]
        group = _build_group(start, row, chosen, longest, spare)
        groups.append(group)
        row += num_rows
        start = group.stop
    return tuple(groups)


def _build_group(
    start: int, first_row: int, lengths: list[int], length: int, spare: int
) -> Group:
    num_rows, num_tokens = len(lengths), sum(lengths)
    real = torch.arange(length) < torch.tensor(lengths)[:, None]
    slots = real.view(-1).nonzero()[:, 0]
    tokens = torch.full((num_rows * length,), spare)
    tokens[slots] = torch.arange(start, start + num_tokens)
    bias = None
    if num_tokens < num_rows * length:
        bias = torch.zeros(num_rows, 1, 1, length)
        bias.masked_fill_(~real[:, None, None, :], float("-inf"))
    stop = start + num_tokens
    return Group(start, stop, first_row, num_rows, length, slots, tokens, bias)
