"""What a measurement ran on, and how fast that machine multiplies matrices at all."""

import functools
import importlib
import os
import shutil
import subprocess
import sys
import time

from benchmarks.workloads import ROOT
from kbert.report.environment import describe_environment

PACKAGES = (
    "kbert",
    "keras",
    "keras-hub",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "onnxruntime",
    "sentence-transformers",
    "tensorflow-text",
    "numpy",
)
_SHAPES = {  # rows, inner, columns; small first, so that a slow format is found out
    "cpu": ((256, 256, 256), (512, 512, 512), (1024,) * 3, (2048, 768, 3072)),
    "cuda": ((1024,) * 3, (4096,) * 3, (8192,) * 3, (32_768, 768, 3072)),
}
_MAX_SECONDS = 0.5  # of one product
_HOPELESS_GAIN = 0.5
_NUM_SECONDS = 0.15  # that each product is repeated for
_MIN_GAIN = 1.3  # of bfloat16 over float32, as kbert asks for


def leave_out_tensorflow() -> None:
    """Let Keras and KerasHub find no TensorFlow."""
    for name in ("tensorflow", "tensorflow_text"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def prepare_process(device: str, *, tensorflow: bool = False) -> None:
    """Choose device and backend; call it before Keras is imported.

    Args:
        device: `cpu` or `cuda`.
        tensorflow: whether Keras and KerasHub may import TensorFlow, whose threads
            and seconds have no part in what is measured.

    Raises:
        SystemExit: there is no CUDA GPU.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["KERAS_TORCH_DEVICE"] = device
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not tensorflow:
        leave_out_tensorflow()
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("--device cuda needs a CUDA GPU; torch sees none.")


def clean_environment() -> dict[str, str]:
    """Return the environment a user's own process would have, for child processes."""
    own = ("KERAS_TORCH_DEVICE", "TRANSFORMERS_VERBOSITY")
    return {name: value for name, value in os.environ.items() if name not in own}


def describe_machine(device: str) -> dict:
    """Describe processor, device, driver, versions and the state of the sources."""
    found = describe_environment(PACKAGES)
    commit = _run("git", "-C", str(ROOT), "rev-parse", "HEAD")
    changes = _run("git", "-C", str(ROOT), "status", "--porcelain", "-uno")
    return {
        "device": _name_device(device, found["cpu"]),
        "driver": _read_driver(device),
        "cpu": found["cpu"],
        "versions": {"python": found["python"], **found["packages"]},
        "num_threads": _num_threads(),
        "commit": os.environ.get("KBERT_COMMIT") or commit,
        "dirty": None if changes is None else bool(changes),
    }


def _name_device(device: str, cpu: dict) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return f"{cpu['name']}, {cpu['num_cores']} cores"


def _read_driver(device: str) -> str | None:
    if device != "cuda" or not shutil.which("nvidia-smi"):
        return None
    query = ("--query-gpu=driver_version", "--format=csv,noheader")
    return _run("nvidia-smi", *query)


def _num_threads() -> int:
    return importlib.import_module("torch").get_num_threads()


def _run(*command: str) -> str | None:
    """Return a command's output, or `None` where it cannot be had."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def measure_matrix_peak(device: str, precision: str, *, quick: bool = False) -> float:
    """Return the best rate of a matrix product on this machine, now.

    Args:
        device: `cpu` or `cuda`.
        precision: name of the torch dtype.
        quick: measure one small product for a few milliseconds.

    Returns:
        Floating-point operations a second; of float32 on a CPU the better of torch's
        default kernels and of oneDNN's float32-accurate ones that kbert may choose.
    """
    import torch

    from kbert.engine.precision import use_fast_products

    dtype, where = getattr(torch, precision), torch.device(device)
    best, seconds = 0.0, 0.01 if quick else _NUM_SECONDS
    for shape in _SHAPES[device][: 1 if quick else None]:
        operations = 2 * shape[0] * shape[1] * shape[2]
        if best and operations / best > _MAX_SECONDS:
            break
        best = max(best, operations / _time_product(shape, dtype, where, seconds))
        with use_fast_products(dtype, where):
            best = max(best, operations / _time_product(shape, dtype, where, seconds))
    return best


def _time_product(shape, dtype, device, seconds: float) -> float:
    import torch

    from benchmarks.tasks import synchronize

    rows, inner, columns = shape
    x = torch.randn(rows, inner).to(device, dtype)
    kernel = torch.randn(inner, columns).to(device, dtype)
    torch.mm(x, kernel)
    best = float("inf")
    deadline = time.perf_counter() + seconds
    # A GPU is given several products at a time: one alone is shorter than its launch.
    count = 10 if device.type == "cuda" else 1
    while True:
        synchronize(device.type)
        started = time.perf_counter()
        for _ in range(count):
            torch.mm(x, kernel)
        synchronize(device.type)
        now = time.perf_counter()
        best = min(best, (now - started) / count)
        if now > deadline:
            return best


def measure_matrix_peaks(device: str, *, quick: bool = False) -> dict[str, float]:
    """Return `measure_matrix_peak` of the two precisions that sides choose between."""
    return {
        precision: measure_matrix_peak(device, precision, quick=quick)
        for precision in ("float32", "bfloat16")
    }


def sort_machine(peaks: dict[str, float]) -> str:
    """Say what sort of machine it is: `bfloat16` is fast on it, or `float32` only."""
    gain = peaks["bfloat16"] / peaks["float32"]
    return "bfloat16" if gain >= _MIN_GAIN else "float32"


@functools.cache
def is_bfloat16_hopeless(device: str) -> bool:
    """Say whether bfloat16 is so slow here that a trial would only cost hours.

    A machine without its instructions still multiplies, a hundred times slower.
    """
    peaks = measure_matrix_peaks(device, quick=True)
    return peaks["bfloat16"] < _HOPELESS_GAIN * peaks["float32"]


def prefers_bfloat16(device: str) -> bool:
    """Say whether bfloat16 products are clearly faster than float32 ones here."""
    return sort_machine(measure_matrix_peaks(device)) == "bfloat16"
