"""The fused attention kernels of a GPU, played on a CPU.

They follow what torch documents of the operations: rows of any lengths side by side,
bounded by cumulative lengths, heads in the middle. As the real ones do, they leave
whatever lies outside of the bounds unwritten; here that is NaN, which would be noticed.
Dropping values is left out, as no other kernel draws the same; what was asked for is
kept in `calls`.
"""

import contextlib

import torch

RNG_STATE = torch.tensor([7, 9])


@contextlib.contextmanager
def fake_flash():
    """Give torch kernels on a CPU for a block; yield the list of their calls."""
    calls = []

    def forward(q, k, v, bounds_q, bounds_k, longest_q, longest_k, rate, *flags, scale):
        check(q, bounds_q, longest_q)
        check(k, bounds_k, longest_k)
        assert flags == (False, False)
        calls.append(("forward", longest_q, longest_k, rate))
        output = torch.full_like(q, torch.nan)
        sums = torch.full((q.shape[1], q.shape[0]), torch.nan)
        for queries, keys in rows_of(bounds_q, bounds_k):
            scores = torch.einsum("qhd,khd->hqk", q[queries], k[keys]) * scale
            sums[:, queries] = scores.logsumexp(-1).float()
            output[queries] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[keys])
        return output, sums, RNG_STATE.clone(), torch.zeros(()), torch.zeros(0)

    def backward(d_out, q, k, v, out, sums, bounds_q, bounds_k, *rest, scale):
        longest_q, longest_k, rate, is_causal, rng_state, _ = rest
        assert torch.equal(rng_state, RNG_STATE) and not is_causal
        calls.append(("backward", longest_q, longest_k, rate))
        d_q, d_k, d_v = (torch.full_like(x, torch.nan) for x in (q, k, v))
        for queries, keys in rows_of(bounds_q, bounds_k):
            scores = torch.einsum("qhd,khd->hqk", q[queries], k[keys]) * scale
            p = (scores - sums[:, queries, None]).exp().to(q.dtype)
            d_p = torch.einsum("qhd,khd->hqk", d_out[queries], v[keys])
            delta = (d_out[queries] * out[queries]).sum(-1).t()[..., None]
            d_scores = p * (d_p - delta) * scale
            d_q[queries] = torch.einsum("hqk,khd->qhd", d_scores, k[keys])
            d_k[keys] = torch.einsum("hqk,qhd->khd", d_scores, q[queries])
            d_v[keys] = torch.einsum("hqk,qhd->khd", p, d_out[queries])
        return d_q, d_k, d_v

    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    try:
        yield calls
    finally:
        library._destroy()


def check(x, bounds, longest):
    """Refuse what the kernels refuse, or would read past the end of."""
    assert x.ndim == 3 and x.stride(-1) == 1
    assert bounds.dtype == torch.int32 and bounds[0] == 0 and bounds[-1] == len(x)
    assert int(bounds.diff().max()) <= longest and int(bounds.diff().min()) > 0


def rows_of(bounds_q, bounds_k):
    assert len(bounds_q) == len(bounds_k)
    starts = zip(bounds_q.tolist(), bounds_k.tolist(), strict=True)
    ends = zip(bounds_q.tolist()[1:], bounds_k.tolist()[1:], strict=True)
    for (q, k), (end_q, end_k) in zip(starts, ends, strict=False):
        yield slice(q, end_q), slice(k, end_k)
