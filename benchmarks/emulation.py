"""bfloat16 products for a CPU that has none, with the numerics of one that has.

Hardware multiplies bfloat16 values exactly, adds the products up in float32 and rounds
the sum once. So does this: the operands are widened, which loses nothing, the product
runs in float32 and its result is rounded. What it says about time is nothing.
"""

import contextlib
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

# In inference mode composite functions arrive whole, else as what they are made of.
_PRODUCTS = {
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "addbmm",
    "mv",
    "addmv",
    "dot",
    "matmul",
    "linear",
    "einsum",
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
}
# Below this speed of bfloat16 products over float32 ones they are not waited for.
_HOPELESS_GAIN = 0.5


def needs_emulation(device: str, dtype: torch.dtype) -> bool:
    """Say whether products of a format are too slow here to train whole workloads.

    Args:
        device: `cpu` or `cuda`.
        dtype: of the products.
    """
    from kbert.engine.precision import probe_cpu

    if device != "cpu" or dtype != torch.bfloat16:
        return False
    return probe_cpu().bfloat16_gain < _HOPELESS_GAIN


def emulate_if(needed: bool) -> contextlib.AbstractContextManager:
    """Return the mode that emulates bfloat16 products, or one that does nothing."""
    return EmulatedProducts() if needed else contextlib.nullcontext()


class EmulatedProducts(TorchDispatchMode):
    """Computes bfloat16 products in float32 and rounds each result to bfloat16.

    Attention that torch fuses (without gradients) is computed in float32 as a whole and
    rounded once. Operands of mixed formats are left to torch.

    Attributes:
        count: products computed so far.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Replace products of bfloat16 tensors; pass everything else on."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        product = name.removesuffix("_")
        if product not in _PRODUCTS or not _are_bfloat16((args, kwargs)):
            return func(*args, **kwargs)
        self.count += 1
        operands = {key: value for key, value in kwargs.items() if key != "out"}
        target = args[0] if name != product else kwargs.get("out")
        result = _multiply(getattr(torch.ops.aten, product), args, operands)
        if target is None:
            return result
        if target.shape != result.shape:
            target.resize_(result.shape)
        return target.copy_(result)


def _are_bfloat16(arguments: Any) -> bool:
    tensors = [one for one in tree_leaves(arguments) if isinstance(one, torch.Tensor)]
    return all(
        one.dtype == torch.bfloat16 for one in tensors if one.is_floating_point()
    )


def _multiply(function, args, kwargs):
    args, kwargs = tree_map_only(torch.Tensor, _widen, (args, kwargs))
    result = function(*args, **kwargs)
    if isinstance(result, tuple):  # attention, and its float32 log-sums
        return (result[0].bfloat16(), *result[1:])
    return result.bfloat16()


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
