"""Fused attention of a GPU against the grouped path of a CPU."""

import engine_cases as cases
import pytest
import torch
from fake_flash import fake_flash
from hypothesis import given, settings
from hypothesis import strategies as st

from kbert.engine import backbone as backbone_module
from kbert.engine.attention import attend
from kbert.engine.dropout import Dropout
from kbert.engine.fused import attend_fused, can_attend_fused
from kbert.engine.packing import TOKEN_MULTIPLE, build_packing

NUM_HEADS, DIM = 2, 8
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def plan(lengths, num_heads):
    columns = torch.arange(max(lengths))
    return build_packing(columns < torch.tensor(lengths)[:, None], num_heads)


def run(function, projected, query, packing, *rest):
    """Return the outputs of real tokens or rows, and all gradients."""
    inputs = [x.clone().requires_grad_() for x in (projected, query) if x is not None]
    output = function(*inputs, *[None] * (query is None), packing, NUM_HEADS, *rest)
    size = packing.num_real_tokens if query is None else len(query)
    probe = torch.linspace(-1, 1, size * output.shape[1]).view(size, -1)
    gradients = torch.autograd.grad((output[:size] * probe).sum(), inputs)
    return output[:size].detach(), *gradients


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    is_single=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_fused_and_grouped_attention_agree_forward_and_backward(
    lengths, is_single, seed
):
    generator = torch.Generator().manual_seed(seed)
    grouped, fused = plan(lengths, NUM_HEADS), plan(lengths, None)
    width = NUM_HEADS * DIM
    shape = fused.num_tokens, (2 if is_single else 3) * width
    projected = torch.randn(shape, generator=generator)
    query = torch.randn(len(lengths), width, generator=generator)
    query = query if is_single else None
    with fake_flash() as calls:
        ours = run(attend_fused, projected, query, fused, 0.0)
    theirs = run(attend, projected, query, grouped, None)
    assert [name for name, *_ in calls] == ["forward", "backward"]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("read", ["sequence_output", "pooled_output", "first_output"])
def test_an_encoder_on_fused_attention_is_the_same_encoder(monkeypatch, read):
    backbone = cases.build_backbone(hidden_dim=16)
    inputs = cases.to_tensors(cases.build_batch("bert", (5, 17, 2, 9)))
    inputs["padding_mask"][1, 3] = 0  # not left-aligned
    results = []
    for is_fused in (False, True):
        monkeypatch.setattr(
            backbone_module, "can_attend_fused", lambda *_, fused=is_fused: fused
        )
        with fake_flash() as calls:
            outputs = {read: backbone.encode(inputs, outputs=[read])[read]}
            gradients = cases.differentiate(backbone, outputs)
        assert bool(calls) == is_fused
        results.append(({read: outputs[read].detach().numpy()}, gradients))
    cases.assert_same(*results)


def test_the_kernel_drops_at_the_rate_of_the_pass(monkeypatch):
    packing = plan((5, 3), None)
    dropout = Dropout(0.25, 1, CPU)
    projected = torch.randn(packing.num_tokens, 3 * NUM_HEADS * DIM, requires_grad=True)
    with fake_flash() as calls:
        attend(projected, None, packing, NUM_HEADS, dropout).sum().backward()
    assert packing.num_tokens == TOKEN_MULTIPLE
    spare = TOKEN_MULTIPLE - 8  # the longest row is that of the spare tokens
    assert calls == [
        ("forward", spare, spare, 0.25),
        ("backward", spare, spare, 0.25),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"dtype": torch.float16}, True),
        ({"dtype": torch.float32}, False),
        ({"device": CPU}, False),
        ({"device": torch.device("mps")}, False),
        ({"head_dim": 12}, False),
        ({"head_dim": 256}, False),
        ({"capability": (7, 5)}, False),
        ({"available": False}, False),
        ({"enabled": False}, False),
    ],
    ids=str,
)
def test_what_has_no_fused_kernel_takes_the_grouped_path(
    monkeypatch, changes, expected
):
    case = {"device": GPU, "dtype": torch.bfloat16, "head_dim": 64}
    case |= {"capability": (8, 0), "available": True, "enabled": True} | changes
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: case["capability"]
    )
    flash = torch.backends.cuda
    monkeypatch.setattr(
        flash, "is_flash_attention_available", lambda: case["available"]
    )
    monkeypatch.setattr(flash, "flash_sdp_enabled", lambda: case["enabled"])
    found = can_attend_fused(case["device"], case["dtype"], case["head_dim"])
    assert found is expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
@pytest.mark.parametrize("is_single", [False, True])
def test_the_real_kernel_agrees_with_the_grouped_path(is_single):
    lengths = (3, 64, 17, 130, 1)
    grouped, fused = plan(lengths, NUM_HEADS).to(GPU), plan(lengths, None).to(GPU)
    width = NUM_HEADS * DIM
    shape = fused.num_tokens, (2 if is_single else 3) * width
    projected = torch.randn(shape, device=GPU, dtype=torch.bfloat16)
    query = torch.randn(len(lengths), width, device=GPU, dtype=torch.bfloat16)
    query = query if is_single else None
    with torch.device(GPU):
        ours = run(attend_fused, projected, query, fused, 0.0)
        theirs = run(attend, projected, query, grouped, None)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
