"""Self-attention over a packed batch, one dense group of like lengths after another."""

import torch
from torch.nn import functional

from kbert.engine.dropout import Dropout
from kbert.engine.packing import Group, Packing


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    num_heads: int,
    dropout: Dropout | None,
) -> torch.Tensor:
    """Attend within each row of a packed batch.

    Args:
        query: (num_tokens, hidden_dim), or (num_rows, hidden_dim) in packed row order
            for one query a row.
        key: (num_tokens, hidden_dim).
        value: (num_tokens, hidden_dim).
        packing: which tokens make up a row.
        num_heads: attention heads.
        dropout: draws the masks of the attention probabilities; `None` for none.

    Returns:
        The shape of `query`; zeros behind the last real token.

    Source: Vaswani et al. (2017), dropout on the probabilities as in BERT.
    """
    if not torch.is_grad_enabled():
        return _attend_fused(query, key, value, packing, num_heads, dropout)
    return _Attention.apply(query, key, value, packing, num_heads, dropout)


class _Heads:
    """Takes one group between packed (tokens, hidden) and (rows, heads, length, dim).

    `single` groups have one query a row, which needs no slots.
    """

    def __init__(self, group: Group, num_heads: int, single: bool):
        self.group, self.num_heads, self.single = group, num_heads, single
        if single:
            self.span = slice(group.first_row, group.first_row + group.num_rows)
        else:
            self.span = slice(group.start, group.stop)

    def split(self, packed: torch.Tensor) -> torch.Tensor:
        """Take the group's part of a packed tensor apart into heads."""
        group, x = self.group, packed[self.span]
        if group.slots is not None and not self.single:
            slotted = x.new_zeros(group.num_rows * group.length, x.shape[-1])
            x = slotted.index_copy_(0, group.slots, x)
        heads = x.reshape(
            group.num_rows, -1, self.num_heads, x.shape[-1] // self.num_heads
        )
        return heads.transpose(1, 2)

    def merge(self, heads: torch.Tensor, packed: torch.Tensor) -> None:
        """Write heads back into the group's part of a packed tensor."""
        group = self.group
        x = heads.transpose(1, 2).reshape(-1, packed.shape[-1])
        if group.slots is not None and not self.single:
            torch.index_select(x, 0, group.slots, out=packed[self.span])
        else:
            packed[self.span] = x


def _attend_fused(query, key, value, packing, num_heads, dropout):
    """Attend without a gradient, through torch's fused kernel where nothing drops."""
    single = query.shape[0] == packing.num_rows
    output = _empty_like(query, packing, single)
    for group in packing.groups:
        queries, keys = (
            _Heads(group, num_heads, single),
            _Heads(group, num_heads, False),
        )
        q, k, v = queries.split(query), keys.split(key), keys.split(value)
        bias = None if group.bias is None else group.bias.to(q.dtype)
        if dropout is None:
            heads = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            heads = _forward_group(q, k, v, bias, dropout)[0]
        queries.merge(heads, output)
    return output


def _forward_group(q, k, v, bias, dropout):
    """Return outputs, probabilities and the mask of one group."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3))
    if bias is not None:
        scores += bias
    probabilities = torch.softmax(scores, -1)
    if dropout is None:
        return torch.matmul(probabilities, v), probabilities, None
    mask = dropout.draw(tuple(scores.shape))
    return torch.matmul(probabilities * mask, v * dropout.scale), probabilities, mask


def _empty_like(packed, packing, single):
    """Return an uninitialised tensor whose rows behind the last token are zero."""
    output = torch.empty_like(packed)
    if not single:
        output[packing.num_real_tokens :] = 0
    return output


class _Attention(torch.autograd.Function):
    """Keeps the probabilities of each group and nothing else between the passes."""

    @staticmethod
    def forward(ctx, query, key, value, packing, num_heads, dropout):
        ctx.single = single = query.shape[0] == packing.num_rows
        ctx.packing, ctx.num_heads = packing, num_heads
        ctx.scale = 1.0 if dropout is None else dropout.scale
        ctx.kept = []
        output = _empty_like(query, packing, single)
        for group in packing.groups:
            queries = _Heads(group, num_heads, single)
            keys = _Heads(group, num_heads, False)
            q, k, v = queries.split(query), keys.split(key), keys.split(value)
            bias = None if group.bias is None else group.bias.to(q.dtype)
            heads, *kept = _forward_group(q, k, v, bias, dropout)
            queries.merge(heads, output)
            ctx.kept.append(kept)
        ctx.save_for_backward(query, key, value)
        return output

    @staticmethod
    def backward(ctx, gradient):
        query, key, value = ctx.saved_tensors
        gradients = (
            _empty_like(query, ctx.packing, ctx.single),
            _empty_like(key, ctx.packing, False),
            _empty_like(value, ctx.packing, False),
        )
        for group, (probabilities, mask) in zip(
            ctx.packing.groups, ctx.kept, strict=True
        ):
            queries = _Heads(group, ctx.num_heads, ctx.single)
            keys = _Heads(group, ctx.num_heads, False)
            q, k, v = queries.split(query), keys.split(key), keys.split(value)
            d_out = queries.split(gradient) * ctx.scale
            d_p = torch.matmul(d_out, v.transpose(2, 3))
            dropped = probabilities
            if mask is not None:
                dropped = probabilities * mask
                d_p *= mask
            d_v = torch.matmul(dropped.transpose(2, 3), d_out)
            d_s = torch._softmax_backward_data(d_p, probabilities, -1, d_p.dtype)
            scale = q.shape[-1] ** -0.5
            queries.merge(torch.matmul(d_s, k * scale), gradients[0])
            keys.merge(torch.matmul(d_s.transpose(2, 3), q * scale), gradients[1])
            keys.merge(d_v, gradients[2])
        return *gradients, None, None, None
