"""Dropout whose masks are cheap to draw and follow a seed."""

import torch
from torch.nn import functional

_RANGE = 2**16


class Dropout:
    """Draws the masks of a forward pass.

    On a CPU a mask takes 16 random bits a value, unpacked from 64-bit draws, which is
    several times faster than `bernoulli_`; the rate is exact to 1/65,536 and the scale
    is that of the rate really used. On a GPU torch's own kernels draw from its default
    generator, the only one that fused attention knows, so this seeds it.

    Args:
        rate: share of values dropped, in [0, 1).
        seed: of this pass; equal seeds give equal masks on one device.
        device: where the masks are used.
    """

    def __init__(self, rate: float, seed: int, device: torch.device):
        self.rate = rate
        self._device = device
        self._is_native = device.type == "cuda"
        self._threshold = round(rate * _RANGE)
        kept = _RANGE - self._threshold
        self.scale = 1 / (1 - rate) if self._is_native else _RANGE / kept
        self._generator = None if self._is_native else torch.Generator(device)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start another pass, whose masks follow this seed."""
        if self._generator is None:
            torch.cuda.manual_seed(seed)
        else:
            self._generator.manual_seed(seed)

    def draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a bool mask, true for the values that stay."""
        if self._is_native:
            return torch.rand(shape, device=self._device) >= self.rate
        count = 1
        for size in shape:
            count *= size
        draws = torch.empty(-(-count // 4), dtype=torch.int64, device=self._device)
        draws.random_(-(2**63), None, generator=self._generator)
        kept = draws.view(torch.int16) >= self._threshold - _RANGE // 2
        return kept[:count].view(shape)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return `residual` plus `x` after dropout, of the same shape."""
        if self._is_native:
            return residual + functional.dropout(x, self.rate)
        return _DropoutAdd.apply(x, residual, self.draw(tuple(x.shape)), self.scale)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` after dropout."""
        if self._is_native:
            return functional.dropout(x, self.rate)
        return _Dropout.apply(x, self.draw(tuple(x.shape)), self.scale)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mask, scale):
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    def backward(ctx, gradient):
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), None, None


class _DropoutAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, mask, scale):
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return torch.add(residual, x * mask, alpha=scale)

    @staticmethod
    def backward(ctx, gradient):
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), gradient, None, None
