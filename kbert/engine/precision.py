"""Which number format the matrix products run in, decided by timing it.

A flag or an instruction set does not tell: on a CPU without bfloat16 instructions the
products still work and are a hundred times slower, without a warning.
"""

import contextlib
import functools
import time
from collections.abc import Iterator
from typing import Literal, get_args

import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]

_SHAPE = (128, 256, 384)
_ROUNDS = 12
# A format this many times slower than float32 is not timed again.
_HOPELESS = 4
# bfloat16 must pay for its rounding: it is taken when it is clearly faster.
_MIN_GAIN = 1.3
# What the faster float32 products may be off by, relative to the largest output.
_MAX_ERROR = 5e-6


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of the matrix products on a device.

    Args:
        precision: `auto` takes bfloat16 where a probe of a few milliseconds (run
            once a process) shows that it is faster, float16 on GPUs without bfloat16
            (before Ampere), float32 elsewhere.
        device: where the products run.

    Raises:
        ValueError: `precision` is not one of the four, or is float16 on a CPU.
    """
    if precision not in get_args(Precision):
        raise ValueError(
            f"precision must be one of {', '.join(get_args(Precision))}; "
            f"received {precision!r}."
        )
    if precision == "float16" and device.type == "cpu":
        raise ValueError(
            "precision='float16' needs a GPU; received device 'cpu'. "
            "Use 'bfloat16', 'float32' or 'auto'."
        )
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if _has_fast_bfloat16_gpu(device) else torch.float16
    if device.type == "cpu" and probe_cpu().bfloat16_gain >= _MIN_GAIN:
        return torch.bfloat16
    return torch.float32


def _has_fast_bfloat16_gpu(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


class CpuProbe:
    """How fast this CPU multiplies matrices; measured once a process.

    Attributes:
        bfloat16_gain: speed of bfloat16 products over float32 ones.
        fast_float32_gain: speed of oneDNN's float32 products over the default ones,
            0 where they are not float32-accurate or not available.
    """

    def __init__(self, bfloat16_gain: float, fast_float32_gain: float):
        self.bfloat16_gain = bfloat16_gain
        self.fast_float32_gain = fast_float32_gain


@functools.cache
def probe_cpu() -> CpuProbe:
    """Time matrix products in each format; takes a few milliseconds."""
    generator = torch.Generator().manual_seed(0)
    rows, inner, columns = _SHAPE
    x = torch.randn(rows, inner, generator=generator)
    kernel = torch.randn(inner, columns, generator=generator)
    half_x, half_kernel = x.bfloat16(), kernel.bfloat16()
    with fast_float32_products():
        is_accurate = _measure_error(x, kernel) <= _MAX_ERROR
    torch.mm(half_x, half_kernel)  # the first product of a shape compiles a kernel
    plain = fast = _time_product(x, kernel)
    half = _time_product(half_x, half_kernel)
    # In turns and the best of each, so that a busy machine slows all alike.
    for _ in range(_ROUNDS):
        plain = min(plain, _time_product(x, kernel))
        if half < _HOPELESS * plain:
            half = min(half, _time_product(half_x, half_kernel))
        with fast_float32_products():
            fast = min(fast, _time_product(x, kernel))
    return CpuProbe(plain / half, plain / fast if is_accurate else 0.0)


def _time_product(x: torch.Tensor, kernel: torch.Tensor) -> float:
    """Return the time of one product, in seconds."""
    started = time.perf_counter()
    torch.mm(x, kernel)
    return time.perf_counter() - started


def _measure_error(x: torch.Tensor, kernel: torch.Tensor) -> float:
    exact = torch.mm(x.double(), kernel.double())
    error = (torch.mm(x, kernel) - exact).abs().max() / exact.abs().max()
    return float(error)


@contextlib.contextmanager
def fast_float32_products() -> Iterator[None]:
    """Let oneDNN compute float32 products its faster way.

    Without AMX its "bf16" mode still accumulates float32-accurate results through
    another kernel; with AMX it would round to bfloat16. `use_fast_products` asks the
    probe, which measures the error, before it enters this.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None or not hasattr(settings, "fp32_precision"):
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


def use_fast_products(
    dtype: torch.dtype, device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """Return the context in which this machine multiplies `dtype` matrices best."""
    if dtype == torch.float32 and device.type == "cpu":
        if probe_cpu().fast_float32_gain >= 1.05:
            return fast_float32_products()
    return contextlib.nullcontext()
