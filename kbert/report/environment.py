"""What a run ran on: versions, processor, accelerator; nothing that names a user."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "kbert",
    "keras",
    "torch",
    "numpy",
    "tokenizers",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "datasets",
    "keras-hub",
    "transformers",
)
# Instructions that decide how fast an encoder runs on a processor.
CPU_FEATURES = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)


def describe_environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Describe the software and the processor, without importing what it names.

    Args:
        packages: distributions to name the versions of.

    Returns:
        `python`, `platform`, `packages` (name to version, of those installed) and
        `cpu`: `name`, `num_cores` (that this process may use), `features` (`None`
        where the system does not tell) and `memory_bytes` (`None` likewise).
    """
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    name, features = _read_cpu()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": versions,
        "cpu": {
            "name": name,
            "num_cores": _num_cores(),
            "features": features,
            "memory_bytes": _memory_bytes(),
        },
    }


def describe_device() -> dict[str, Any]:
    """Describe where torch computes, by Keras's rule: the GPU if there is one.

    Returns:
        `kind` (`cuda`, `mps` or `cpu`), `name`, `num_threads` (of torch on the
        processor), `memory_bytes` (`None` where unknown) and for CUDA `cuda` (its
        version) and `capability`.
    """
    import torch

    threads = {"num_threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return {
            "kind": "cuda",
            "name": properties.name,
            **threads,
            "memory_bytes": int(properties.total_memory),
            "cuda": torch.version.cuda,
            "capability": f"{properties.major}.{properties.minor}",
        }
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    name, _ = _read_cpu()
    return {"kind": kind, "name": name, **threads, "memory_bytes": _memory_bytes()}


def _read_cpu() -> tuple[str, list[str] | None]:
    """Read the processor's name and the features that matter here."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields.setdefault(key.strip(), value.strip())
    except OSError:  # not Linux: the name is all the standard library knows
        return platform.processor() or platform.machine(), None
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return name, [feature for feature in CPU_FEATURES if feature in flags]


def _num_cores() -> int:
    """Count the cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
