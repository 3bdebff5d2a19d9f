"""Self-attention over a packed batch in one kernel of a CUDA GPU.

torch's flash attention takes rows of any lengths side by side and drops values within
the kernel, so that no scores and no masks are ever written to memory. The operation
behind `scaled_dot_product_attention` on jagged tensors is called as it stands: such
tensors cost more of the host's time than a short batch costs of the GPU's, and torch's
own function for variable lengths drops nothing.
"""

import torch

from kbert.engine.packing import Packing

# What the kernels are built for, by torch's own checks.
_DTYPES = (torch.float16, torch.bfloat16)
_CAPABILITY = (8, 0)  # Ampere
_LARGEST_HEAD, _HEAD_MULTIPLE = 128, 8


def can_attend_fused(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the device has the fused kernel for heads of this sort.

    Args:
        device: where attention runs.
        dtype: of query, key and value.
        head_dim: values a head.
    """
    if device.type != "cuda" or dtype not in _DTYPES:
        return False
    if head_dim > _LARGEST_HEAD or head_dim % _HEAD_MULTIPLE:
        return False
    settings = torch.backends.cuda
    return (
        settings.is_flash_attention_available()
        and settings.flash_sdp_enabled()
        and torch.cuda.get_device_capability(device) >= _CAPABILITY
    )


def attend_fused(
    projected: torch.Tensor,
    query: torch.Tensor | None,
    packing: Packing,
    num_heads: int,
    rate: float,
) -> torch.Tensor:
    """Attend within each row of a packed batch; see `attention.attend`.

    The spare tokens behind the real ones are one more row, or several, so that the
    kernel writes all of its outputs and gradients.

    Args:
        projected: (num_tokens, 3 * hidden_dim), or 2 * hidden_dim beside a query.
        query: (num_rows, hidden_dim) in packed row order, or `None`.
        packing: with bounds.
        num_heads: attention heads.
        rate: share of the attention probabilities dropped, in [0, 1).

    Returns:
        (num_tokens, hidden_dim) or (num_rows, hidden_dim).

    Source: Dao (2023), FlashAttention-2.
    """
    num_parts = 3 if query is None else 2
    dim = projected.shape[1] // (num_parts * num_heads)
    parts = projected.view(-1, num_parts, num_heads, dim).unbind(1)
    bounds, longest = packing.bounds, packing.longest
    if query is None:
        q, k, v = parts
        output = _run_kernel(q, k, v, bounds, bounds, longest, longest, rate)
        return output.reshape(-1, num_heads * dim)
    k, v = parts
    assert bounds is not None
    num_rows, num_bounds = query.shape[0], bounds.shape[0]
    # One query for each row of spare tokens, too.
    spare = query[-1:].expand(num_bounds - 1 - num_rows, -1)
    q = torch.cat([query, spare]).view(-1, num_heads, dim)
    own = torch.arange(num_bounds, dtype=torch.int32, device=query.device)
    output = _run_kernel(q, k, v, own, bounds, 1, longest, rate)
    return output[:num_rows].reshape(num_rows, num_heads * dim)


def _run_kernel(q, k, v, bounds_q, bounds_k, longest_q, longest_k, rate):
    """Call the kernel on (tokens, heads, dim); autograd knows its backward pass."""
    is_causal = wants_debug_mask = False
    return torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        bounds_q,
        bounds_k,
        longest_q,
        longest_k,
        rate,
        is_causal,
        wants_debug_mask,
        scale=q.shape[-1] ** -0.5,
    )[0]
