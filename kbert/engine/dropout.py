"""Dropout whose masks are cheap to draw, cheap to apply and follow a seed."""

import math

import torch
from torch.nn import functional

_RANGE = 2**15


class Dropout:
    """Draws the masks of a forward pass.

    On a CPU a mask takes 15 random bits a value, unpacked from 64-bit draws, which is
    several times faster than `bernoulli_`; the rate is exact to 1/32,768 and the scale
    is that of the rate really used. Masks are in the format of what they mask: a CPU
    multiplies bool and bfloat16 ten times slower than bfloat16 and bfloat16. On a GPU
    torch's own kernels draw from its default generator, the only one that fused
    attention knows, so this seeds it.

    Args:
        rate: share of values dropped, in [0, 1); on a CPU at most 32,767 of 32,768.
        seed: of this pass; equal seeds give equal masks on one device.
        device: where the masks are used.
    """

    def __init__(self, rate: float, seed: int, device: torch.device):
        self.rate = rate
        self._device = device
        self._is_native = device.type == "cuda"
        self._threshold = min(round(rate * _RANGE), _RANGE - 1)
        kept = _RANGE - self._threshold
        self.scale = 1 / (1 - rate) if self._is_native else _RANGE / kept
        self._generator = None if self._is_native else torch.Generator(device)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start another pass, whose masks follow this seed."""
        if self._generator is None:
            index = self._device.index
            if index is None or torch.cuda.device_count() < 2:
                torch.cuda.manual_seed(seed)
            else:  # it need not be the current one
                torch.cuda.default_generators[index].manual_seed(seed)
        else:
            self._generator.manual_seed(seed)

    def draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a mask: 1 for the values that stay, 0 for the others."""
        kept = torch.empty(shape, dtype=dtype, device=self._device)
        return torch.ge(self._draw_signs(shape), 0, out=kept)

    def mark(self, x: torch.Tensor) -> torch.Tensor:
        """Give the values to drop a minus sign, in place.

        That takes no memory for a mask: of what is marked, `relu` has the values that
        stay and `abs` all of them.

        Args:
            x: no negative values.

        Returns:
            `x`.
        """
        signs = self._draw_signs(tuple(x.shape))
        # Integers of the size of bfloat16 have their sign where it has its own.
        is_alike = signs.element_size() == x.element_size()
        signs = signs.view(x.dtype) if is_alike else signs.to(x.dtype)
        return torch.copysign(x, signs, out=x)

    def _draw_signs(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return numbers, negative for the values that are dropped."""
        if self._is_native:
            return torch.rand(shape, device=self._device) - self.rate
        count = math.prod(shape)
        draws = torch.empty(-(-count // 4), dtype=torch.int64, device=self._device)
        draws.random_(-(2**63), None, generator=self._generator)
        numbers = draws.view(torch.int16)[:count].view(shape)
        # Of 16 bits the difference would not fit.
        return numbers.bitwise_right_shift_(1).sub_(self._threshold - _RANGE // 2)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return `residual` plus `x` after dropout, of the same shape."""
        if self._is_native:
            return residual + functional.dropout(x, self.rate)
        return _DropoutAdd.apply(x, residual, self._draw_like(x), self.scale)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` after dropout."""
        if self._is_native:
            return functional.dropout(x, self.rate)
        return _Dropout.apply(x, self._draw_like(x), self.scale)

    def _draw_like(self, x: torch.Tensor) -> torch.Tensor:
        return self.draw(tuple(x.shape), x.dtype)


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
