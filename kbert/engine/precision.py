"""Which number format the matrix products run in, decided by timing it.

A flag or an instruction set does not tell: on a CPU without bfloat16 instructions the
products still work and are a hundred times slower, without a warning.
"""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]

_logger = logging.getLogger("kbert")

# As wide as a feed-forward layer: in smaller products the formats differ less.
_SHAPE = (128, 384, 1536)
# A format this many times slower in a small product is not tried in a large one.
_SMALL_SHAPE = (32, 128, 128)
_HOPELESS = 5
# A product is timed until this many of its times agree, at most so long: a busy
# machine interrupts some, and every process shall come to the same answer.
_AGREEING, _TOLERANCE = 3, 1.1
_MAX_SECONDS = 0.25
# bfloat16 must pay for its rounding: it is taken when it is clearly faster.
_MIN_GAIN = 1.3
# The other float32 kernel is about as fast on one thread and far faster on several.
_MIN_FLOAT32_GAIN = 0.9
# What the faster float32 products may be off by, relative to the largest output.
_MAX_ERROR = 5e-6

# The setting is the process's: of several threads the first sets it, the last one
# back. One entry for each block that is inside, what the setting was before.
_SETTING_LOCK = threading.Lock()
_settings_before: list[str] = []


def resolve_precision(
    precision: Precision, device: torch.device, saved: str | None = None
) -> torch.dtype:
    """Return the dtype of the matrix products on a device.

    Args:
        precision: `auto` takes bfloat16 where a probe of some milliseconds (run
            once a process) shows that it is faster, float16 on GPUs without bfloat16
            (before Ampere), float32 elsewhere.
        device: where the products run.
        saved: what `auto` was when the model was saved; it stays so, bit for bit,
            unless the device is slow at it.

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
    if saved is not None and not _is_slow(saved, device):
        return getattr(torch, saved)
    best = _find_best(device)
    if saved is not None:
        _say_what_changes(saved, device.type, str(best).removeprefix("torch."))
    return best


def _find_best(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if _has_fast_bfloat16_gpu(device) else torch.float16
    if device.type == "cpu" and probe_cpu().bfloat16_gain >= _MIN_GAIN:
        return torch.bfloat16
    return torch.float32


def _is_slow(saved: str, device: torch.device) -> bool:
    """Whether a device is made for another format, or has not this one at all."""
    if device.type == "cuda":
        bfloat16 = saved == "bfloat16" and _has_fast_bfloat16_gpu(device)
        return not (saved == "float16" or bfloat16)
    if device.type == "cpu" and saved == "bfloat16":
        return probe_cpu().bfloat16_gain < 1
    return saved != "float32"


@functools.cache
def _say_what_changes(saved: str, device: str, taken: str) -> None:
    """Say it once, not at every step."""
    _logger.warning(
        "the model was saved computing in %s, which is slow on this %s; it computes in "
        "%s here, so its outputs differ a little from what they were",
        saved,
        device,
        taken,
    )


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
    """Time matrix products in each format; takes a few tens of milliseconds."""
    with _one_thread():  # several wait for one another: that times the machine's load
        x, kernel = _draw(_SHAPE)
        with fast_float32_products():
            is_accurate = _measure_error(x, kernel) <= _MAX_ERROR
        products = [_multiply(x, kernel), _multiply_fast(x, kernel)]
        if not _is_bfloat16_hopeless():
            products.append(_multiply(x.bfloat16(), kernel.bfloat16()))
        plain, fast, *half = _time_in_turns(products)
    gain = plain / half[0] if half else 0.0
    return CpuProbe(gain, plain / fast if is_accurate else 0.0)


def _is_bfloat16_hopeless() -> bool:
    x, kernel = _draw(_SMALL_SHAPE)
    half = _multiply(x.bfloat16(), kernel.bfloat16())
    times = _time_in_turns([_multiply(x, kernel), half])
    return times[1] > _HOPELESS * times[0]


def _draw(shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows, inner, columns = shape
    x = torch.randn(rows, inner, generator=generator)
    return x, torch.randn(inner, columns, generator=generator)


def _multiply(x: torch.Tensor, kernel: torch.Tensor) -> Callable[[], object]:
    return functools.partial(torch.mm, x, kernel)


def _multiply_fast(x: torch.Tensor, kernel: torch.Tensor) -> Callable[[], object]:
    def multiply() -> None:
        with fast_float32_products():
            torch.mm(x, kernel)

    return multiply


def _time_in_turns(products: list[Callable[[], object]]) -> list[float]:
    """Return the best time of each product, in seconds, once its best times agree.

    In turns, so that a busy machine slows all alike.
    """
    times: list[list[float]] = [[] for _ in products]
    until = time.perf_counter() + _MAX_SECONDS
    while not all(map(_agree, times)):
        for product, own in zip(products, times, strict=True):
            own.append(_time(product))
        if time.perf_counter() > until and len(times[0]) >= _AGREEING:
            break
    return [min(own) for own in times]


def _agree(times: list[float]) -> bool:
    best = sorted(times)[:_AGREEING]
    return len(best) == _AGREEING and best[-1] <= _TOLERANCE * best[0]


def _time(product: Callable[[], object]) -> float:
    started = time.perf_counter()
    product()
    return time.perf_counter() - started


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    with _SETTING_LOCK:
        if not _settings_before:
            _settings_before.append(settings.fp32_precision)
            settings.fp32_precision = "bf16"
        else:
            _settings_before.append(_settings_before[0])
    try:
        yield
    finally:
        with _SETTING_LOCK:
            before = _settings_before.pop()
            if not _settings_before:
                settings.fp32_precision = before


def use_fast_products(
    dtype: torch.dtype, device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """Return the context in which this machine multiplies `dtype` matrices best."""
    if dtype == torch.float32 and device.type == "cpu":
        if probe_cpu().fast_float32_gain >= _MIN_FLOAT32_GAIN:
            return fast_float32_products()
    return contextlib.nullcontext()
