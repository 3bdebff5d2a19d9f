"""Self-attention over a packed batch, one dense group of like lengths after another."""

import torch

from kbert.engine.dropout import Dropout
from kbert.engine.fused import attend_fused
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
    if packing.bounds is not None:
        rate = 0.0 if dropout is None else dropout.rate
        return attend_fused(projected, query, packing, num_heads, rate)
    if torch.is_grad_enabled():
        return _Attention.apply(projected, query, packing, num_heads, dropout)
    width = projected.shape[-1] // (3 if query is None else 2)
    output = _empty_output(projected, query, packing, width)
    for group in packing.groups:
        q, k, v = _split(projected, query, group, num_heads)
        # Its scores stay in the cache: this beats torch's fused attention on a CPU.
        heads = _attend_group(q, k, v, group, dropout)[0]
        _put_heads(heads, output, group, single=query is not None)
    return output


def _empty_output(projected, query, packing, width):
    """Return an uninitialised output whose rows behind the last token are zero."""
    if query is not None:
        return torch.empty_like(query)
    output = projected.new_empty(projected.shape[0], width)
    output[packing.num_real_tokens :].zero_()
    return output


def _split(projected, query, group: Group, num_heads: int):
    """Take a group's query, key and value apart, (rows, heads, length, dim) each."""
    parts = _take_apart(projected, group, num_heads, 3 if query is None else 2)
    if query is None:
        return parts.unbind()
    rows = query[group.first_row : group.first_row + group.num_rows]
    q = rows.view(group.num_rows, num_heads, 1, -1)
    return q, *parts.unbind()


def _take_apart(packed, group: Group, num_heads: int, num_parts: int):
    """Return a group's tokens as (parts, rows, heads, length, dim).

    An empty slot holds the spare token. Nobody attends to it, and the gradient that
    reaches it is zero, as nothing is made of it.
    """
    dim = packed.shape[1] // (num_parts * num_heads)
    index = group.index_heads(num_parts, num_heads)
    x = packed.reshape(-1, dim).index_select(0, index)
    return x.view(num_parts, group.num_rows, num_heads, group.length, dim)


def _merge(parts, packed, group: Group) -> None:
    """Write (parts, rows, heads, length, dim) back into packed (tokens, width)."""
    num_parts, _, num_heads, _, dim = parts.shape
    index = group.index_tokens(num_parts, num_heads)
    target = packed[group.start : group.stop].view(-1, dim)
    torch.index_select(parts.reshape(-1, dim), 0, index, out=target)


def _put_heads(heads, output, group: Group, single: bool) -> None:
    """Write a group's (rows, heads, length, dim) into the output of attention."""
    if single:
        output[group.first_row : group.first_row + group.num_rows] = heads.flatten(1)
    else:
        _merge(heads[None], output, group)


def _cast_bias(group: Group, like: torch.Tensor):
    return None if group.bias is None else group.bias.to(like.dtype)


def _attend_group(q, k, v, group: Group, dropout: Dropout | None):
    """Return a group's outputs and its probabilities, those that are dropped marked."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3))
    if group.bias is not None:
        scores += _cast_bias(group, q)
    probabilities = torch.softmax(scores, -1)
    if dropout is None:
        return torch.matmul(probabilities, v), probabilities
    kept = torch.relu(dropout.mark(probabilities))
    return torch.matmul(kept, v).mul_(dropout.scale), probabilities


def _differentiate_group(q, k, v, probabilities, d_heads, outputs):
    """Write the gradients of a group's query, key and value into three tensors.

    Probabilities that were dropped have a minus sign; without dropout none has.
    """
    d_q, d_k, d_v = outputs
    kept = torch.relu(probabilities)
    torch.matmul(kept.transpose(2, 3), d_heads, out=d_v)
    d_kept = torch.matmul(d_heads, v.transpose(2, 3))
    # What reaches a probability of 0 is of no account: softmax multiplies by it.
    d_probabilities = torch.ops.aten.threshold_backward(d_kept, probabilities, 0)
    d_scores = torch._softmax_backward_data(
        d_probabilities, probabilities.abs(), -1, probabilities.dtype
    )
    d_scores *= q.shape[-1] ** -0.5
    torch.matmul(d_scores, k, out=d_q)
    torch.matmul(d_scores.transpose(2, 3), q, out=d_k)


class _Attention(torch.autograd.Function):
    """Keeps query, key, value and probabilities of each group between the passes."""

    @staticmethod
    def forward(ctx, projected, query, packing, num_heads, dropout):
        ctx.packing, ctx.num_heads = packing, num_heads
        ctx.scale = 1.0 if dropout is None else dropout.scale
        ctx.shapes = projected.shape, None if query is None else query.shape
        kept = []
        width = projected.shape[-1] // (3 if query is None else 2)
        output = _empty_output(projected, query, packing, width)
        for group in packing.groups:
            q, k, v = _split(projected, query, group, num_heads)
            heads, probabilities = _attend_group(q, k, v, group, dropout)
            _put_heads(heads, output, group, single=query is not None)
            kept += [q, k, v, probabilities]
        # So that autograd frees them layer by layer, as it goes back.
        ctx.save_for_backward(*kept)
        return output

    @staticmethod
    def backward(ctx, gradient):
        shape, query_shape = ctx.shapes
        d_projected = gradient.new_empty(shape)
        d_projected[ctx.packing.num_real_tokens :].zero_()
        d_query = None if query_shape is None else gradient.new_empty(query_shape)
        gradient = gradient * ctx.scale if ctx.scale != 1.0 else gradient
        kept = ctx.saved_tensors
        for number, group in enumerate(ctx.packing.groups):
            q, k, v, probabilities = kept[4 * number : 4 * number + 4]
            if query_shape is None:
                d_heads = _take_apart(gradient, group, ctx.num_heads, 1)[0]
                parts = k.new_empty(3, *k.shape)
                outputs = parts.unbind()
            else:
                rows = slice(group.first_row, group.first_row + group.num_rows)
                d_heads = gradient[rows].view(q.shape)
                d_q, parts = torch.empty_like(q), k.new_empty(2, *k.shape)
                outputs = (d_q, *parts.unbind())
            _differentiate_group(q, k, v, probabilities, d_heads, outputs)
            if d_query is not None:
                d_query[rows] = outputs[0].flatten(1)
            _merge(parts, d_projected, group)
        return d_projected, d_query, None, None, None
