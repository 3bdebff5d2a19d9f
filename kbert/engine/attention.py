"""Self-attention over a packed batch, one dense group of like lengths after another."""

import torch
from torch.nn import functional

from kbert.engine.dropout import Dropout
from kbert.engine.packing import Group, Packing


def attend(
    projected: torch.Tensor,
    query: torch.Tensor | None,
    packing: Packing,
    num_heads: int,
    dropout: Dropout | None,
) -> torch.Tensor:
    """Attend within each row of a packed batch.

    Args:
        projected: (num_tokens, 3 * hidden_dim), query, key and value of every token
            side by side; without the query if that is given apart.
        query: (num_rows, hidden_dim) in packed row order, for one query a row, or
            `None`.
        packing: which tokens make up a row.
        num_heads: attention heads.
        dropout: draws the masks of the attention probabilities; `None` for none.

    Returns:
        (num_tokens, hidden_dim), zeros behind the last real token; or
        (num_rows, hidden_dim).

    Source: Vaswani et al. (2017), dropout on the probabilities as in BERT.
    """
    if torch.is_grad_enabled():
        return _Attention.apply(projected, query, packing, num_heads, dropout)
    width = projected.shape[-1] // (3 if query is None else 2)
    output = _empty_output(projected, query, packing, width)
    for group in packing.groups:
        q, k, v = _split(projected, query, group, num_heads)
        if dropout is None:
            bias = _cast_bias(group, q)
            heads = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            heads = _attend_group(q, k, v, group, dropout)[0]
        _merge(heads[None], output, group, single=query is not None)
    return output


def _empty_output(projected, query, packing, width):
    """Return an uninitialised output whose rows behind the last token are zero."""
    if query is not None:
        return torch.empty_like(query)
    output = projected.new_empty(projected.shape[0], width)
    output[packing.num_real_tokens :] = 0
    return output


def _split(projected, query, group: Group, num_heads: int):
    """Take a group's query, key and value apart, (rows, heads, length, dim) each."""
    parts = _take_apart(projected, group, num_heads, 3 if query is None else 2)
    if query is None:
        return parts.unbind()
    rows = query[group.first_row : group.first_row + group.num_rows]
    q = rows.view(group.num_rows, num_heads, 1, -1)
    return q, *parts.unbind()


def _take_apart(
    packed, group: Group, num_heads: int, num_parts: int, empty_is_zero: bool = False
):
    """Return a group's tokens as (parts, rows, heads, length, dim), contiguous.

    An empty slot repeats a token, as nobody attends to it; the gradient that comes
    back through it has to be zero.
    """
    x = packed[group.start : group.stop]
    if group.slots is not None and empty_is_zero:
        slotted = x.new_zeros(group.num_rows * group.length, x.shape[1])
        x = slotted.index_copy_(0, group.slots, x)
    elif group.sources is not None:
        x = x.index_select(0, group.sources)
    x = x.reshape(group.num_rows, group.length, num_parts, num_heads, -1)
    return x.permute(2, 0, 3, 1, 4).contiguous()


def _merge(parts, packed, group: Group, single: bool) -> None:
    """Write (parts, rows, heads, length, dim) back into packed (tokens, width)."""
    x = parts.permute(1, 3, 0, 2, 4).reshape(-1, packed.shape[1])
    if single:
        packed[group.first_row : group.first_row + group.num_rows] = x
    elif group.slots is None:
        packed[group.start : group.stop] = x
    else:
        torch.index_select(x, 0, group.slots, out=packed[group.start : group.stop])


def _cast_bias(group: Group, like: torch.Tensor):
    return None if group.bias is None else group.bias.to(like.dtype)


def _attend_group(q, k, v, group: Group, dropout: Dropout | None):
    """Return a group's outputs, probabilities and dropout mask."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3))
    if group.bias is not None:
        scores += _cast_bias(group, q)
    probabilities = torch.softmax(scores, -1)
    if dropout is None:
        return torch.matmul(probabilities, v), probabilities, None
    mask = dropout.draw(tuple(scores.shape))
    heads = torch.matmul(probabilities * mask, v).mul_(dropout.scale)
    return heads, probabilities, mask


def _differentiate_group(q, k, v, d_heads, probabilities, mask):
    """Return the gradients of a group's query, key and value."""
    d_probabilities = torch.matmul(d_heads, v.transpose(2, 3))
    dropped = probabilities
    if mask is not None:
        dropped = probabilities * mask
        d_probabilities *= mask
    d_v = torch.matmul(dropped.transpose(2, 3), d_heads)
    d_scores = torch._softmax_backward_data(
        d_probabilities, probabilities, -1, probabilities.dtype
    )
    d_scores *= q.shape[-1] ** -0.5
    return torch.matmul(d_scores, k), torch.matmul(d_scores.transpose(2, 3), q), d_v


class _Attention(torch.autograd.Function):
    """Keeps the probabilities of each group and nothing else between the passes."""

    @staticmethod
    def forward(ctx, projected, query, packing, num_heads, dropout):
        ctx.packing, ctx.num_heads = packing, num_heads
        ctx.scale = 1.0 if dropout is None else dropout.scale
        ctx.kept = []
        width = projected.shape[-1] // (3 if query is None else 2)
        output = _empty_output(projected, query, packing, width)
        for group in packing.groups:
            q, k, v = _split(projected, query, group, num_heads)
            heads, *kept = _attend_group(q, k, v, group, dropout)
            _merge(heads[None], output, group, single=query is not None)
            ctx.kept.append(kept)
        ctx.save_for_backward(projected, query)
        return output

    @staticmethod
    def backward(ctx, gradient):
        projected, query = ctx.saved_tensors
        d_projected = torch.empty_like(projected)
        d_projected[ctx.packing.num_real_tokens :] = 0
        d_query = None if query is None else torch.empty_like(query)
        gradient = gradient * ctx.scale if ctx.scale != 1.0 else gradient
        for group, kept in zip(ctx.packing.groups, ctx.kept, strict=True):
            q, k, v = _split(projected, query, group, ctx.num_heads)
            if query is None:
                d_heads = _take_apart(
                    gradient, group, ctx.num_heads, 1, empty_is_zero=True
                )[0]
                parts = _differentiate_group(q, k, v, d_heads, *kept)
            else:
                rows = slice(group.first_row, group.first_row + group.num_rows)
                d_heads = gradient[rows].view(q.shape)
                d_q, *parts = _differentiate_group(q, k, v, d_heads, *kept)
                assert d_query is not None
                d_query[rows] = d_q.flatten(1)
            _merge(torch.stack(tuple(parts)), d_projected, group, single=False)
        return d_projected, d_query, None, None, None
